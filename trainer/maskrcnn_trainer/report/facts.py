"""Facts of an experiment as texts by label: hardware, seed, versions, durations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskrcnn_trainer.report.inputs.step import Step
from maskrcnn_trainer.shared.text import format_seconds
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.task_name import TaskName

COMPUTES = (TaskName.TRAIN, TaskName.EVALUATE, TaskName.PRUNE, TaskName.EXPORT)


def facts_of(steps: Sequence[Step], spec: ExperimentSpec | None) -> dict[str, str]:
    """Return the facts of all steps.

    Args:
        steps: in their order.
        spec: of the training; None if it isn't recorded.
    """
    facts: dict[str, str] = {}
    if spec is not None:
        heads = spec.maskrcnn_config
        facts["network"] = f"{heads.arch}-{heads.nlayers}"
        facts["seed"] = str(spec.seed)
    facts |= _by_steps("hardware", steps, _hardware)
    facts |= _by_steps("versions", [step for step in steps if step.task in COMPUTES], _versions)
    facts |= _by_steps("image", steps, lambda step: step.image)
    for step in steps:
        if step.started is not None and step.completed is not None and step.completed >= step.started:
            facts[f"duration of {step.name}"] = format_seconds((step.completed - step.started).total_seconds())
    return facts


def _by_steps(label: str, steps: Sequence[Step], value: Callable[[Step], str | None]) -> dict[str, str]:
    """Return one fact if all steps that have a value agree, else one for each value with its steps."""
    groups: dict[str, list[str]] = {}
    for step in steps:
        if found := value(step):
            groups.setdefault(found, []).append(step.name)
    alike = len(groups) == 1
    return {label if alike else f"{label} of {', '.join(names)}": found for found, names in groups.items()}


def _hardware(step: Step) -> str | None:
    if step.task not in COMPUTES or step.processes is None or step.threads is None:
        return None
    processes = f"{step.processes} {'process' if step.processes == 1 else 'processes'}"
    threads = f"{step.threads} CPU {'thread' if step.threads == 1 else 'threads'}"
    device = "" if step.device is None else f", {step.device}"
    return f"{processes} with {threads}{'' if step.processes == 1 else ' each'}{device}"


def _versions(step: Step) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in step.versions.items()) or None
