"""What of a manifest has no meaning on this machine, and what may not go well on it."""

from __future__ import annotations

from maskrcnn_operator.api.experiment import MaskRCNNExperiment

_OF_THE_CLUSTER = {
    "image": "image",
    "queue_name": "queueName",
    "pod_overrides": "podOverrides",
    "ttl_seconds_after_finished": "ttlSecondsAfterFinished",
    "pre_running_deadline_seconds": "preRunningDeadlineSeconds",
}


def ignored_fields(experiment: MaskRCNNExperiment) -> tuple[str, ...]:
    """A sentence for each field that is given, and ignored without a cluster."""
    spec = experiment.spec
    given = [
        f"spec.{name}"
        for field, name in _OF_THE_CLUSTER.items()
        if field in spec.model_fields_set and getattr(spec, field)
    ]
    given += [
        f"spec.steps[{index}].{_OF_THE_CLUSTER[field]}"
        for index, step in enumerate(spec.steps)
        for field in ("image", "pod_overrides")
        if getattr(step, field)
    ]
    given += [
        f"spec.steps[{index}].resources"
        for index, step in enumerate(spec.steps)
        if step.resources.requests or step.resources.limits
    ]
    notes = ["spec.workspace is ignored here: --workspace says where /workspace is"]
    return (*notes, *(f"{name} is ignored here: it has a meaning on a cluster only" for name in given))


def crowding(experiment: MaskRCNNExperiment, cpus: int) -> tuple[str, ...]:
    """A sentence for each step that would run more processes than there are CPUs."""
    return tuple(
        f"step {step.name} runs {step.processes} processes on {cpus} CPU(s): it will be slow"
        for step in experiment.spec.steps
        if step.processes > cpus
    )
