"""Notes before a local run: fields that are ignored, and steps that will be slow."""

from __future__ import annotations

from collections.abc import Collection

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.task_kinds import ON_GPUS

_CLUSTER_FIELDS = {
    "image": "image",
    "queue_name": "queueName",
    "pod_overrides": "podOverrides",
    "ttl_seconds_after_finished": "ttlSecondsAfterFinished",
    "pre_running_deadline_seconds": "preRunningDeadlineSeconds",
}


def ignored_fields(experiment: MaskRCNNExperiment, *, in_store: bool = False) -> tuple[str, ...]:
    """Return a sentence for each given field that only has an effect on a cluster.

    Args:
        experiment: the manifest.
        in_store: whether the workspace is in object storage.
    """
    spec = experiment.spec
    given = [
        f"spec.{name}"
        for field, name in _CLUSTER_FIELDS.items()
        if field in spec.model_fields_set and getattr(spec, field)
    ]
    given += [
        f"spec.steps[{index}].{_CLUSTER_FIELDS[field]}"
        for index, step in enumerate(spec.steps)
        for field in ("image", "pod_overrides")
        if getattr(step, field)
    ]
    given += [
        f"spec.steps[{index}].resources"
        for index, step in enumerate(spec.steps)
        if step.resources.requests or step.resources.limits
    ]
    if spec.cache is not None and spec.cache.persistent_volume_claim is not None:
        given.append("spec.cache.persistentVolumeClaim")
    kind = "URL" if in_store else "directory"
    notes = [f"spec.workspace is ignored in a local run: --workspace is the {kind} for /workspace"]
    return (*notes, *(f"{name} is ignored in a local run: it only has an effect on a cluster" for name in given))


def unmet_gpus(experiment: MaskRCNNExperiment, *, has_device: bool) -> tuple[str, ...]:
    """Return a sentence with the steps that run on the CPUs although they request GPUs; none if there is a device."""
    steps = _steps_on_gpus(experiment)
    if has_device or not steps:
        return ()
    return (
        f"gpusPerNode of {', '.join(steps)} isn't met: this machine has no NVIDIA device (/dev/nvidia0), so the "
        f"step{'s run' if len(steps) > 1 else ' runs'} on the CPUs",
    )


def shared_gpus(experiment: MaskRCNNExperiment, *, jobs: int, has_device: bool) -> tuple[str, ...]:
    """Return a sentence with the steps that may compute on the same GPU at the same time; none with one job."""
    steps = _steps_on_gpus(experiment)
    if jobs == 1 or not has_device or len(steps) == 1 or not steps:
        return ()
    return (
        f"--jobs {jobs}: {', '.join(steps)} request GPUs, and each starts with the first one, so steps that run at the "
        "same time share GPUs; use --jobs 1 unless they depend on each other",
    )


def _steps_on_gpus(experiment: MaskRCNNExperiment) -> list[str]:
    return [step.name for step in experiment.spec.steps if step.gpus_per_node and step.task_name in ON_GPUS]


def crowding(experiment: MaskRCNNExperiment, cpus: int) -> tuple[str, ...]:
    """Return a sentence for each step that runs more processes than there are CPUs."""
    return tuple(
        f"step {step.name} runs {step.processes} processes on {cpus} CPU(s); it will be slow"
        for step in experiment.spec.steps
        if step.processes > cpus
    )


def owner_to_take_over(experiment: str, reasons: Collection[str]) -> tuple[str, ...]:
    """Return a sentence about the flags with which a run continues that another owner keeps from its results.

    Args:
        experiment: name of the experiment.
        reasons: of the failed steps.
    """
    if Reason.ANOTHERS_OWNER not in reasons:
        return ()
    return (
        f"Another owner has the experiment {experiment} in the workspace. If it may lose it, run the same command once "
        "with --take-over-from and the value above; if the owner is an earlier run of yours, run it "
        "with --owner-id and that owner's id",
    )
