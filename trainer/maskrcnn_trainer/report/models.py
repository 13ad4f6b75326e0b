"""Every model of an experiment side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from maskrcnn_trainer.report.content import ModelRow
from maskrcnn_trainer.report.inputs.detections import Metrics
from maskrcnn_trainer.report.inputs.experiment_directory import ExperimentDirectory
from maskrcnn_trainer.report.inputs.files import whole
from maskrcnn_trainer.report.inputs.step import Step, StoredFile
from maskrcnn_trainer.results.facts import ModelFacts, read_model_facts
from maskrcnn_trainer.spec.task_name import TaskName

SHOWN_METRICS = ("AP", "AP50", "mask_AP", "mask_AP50")
BYTES_PER_MB = 1e6
UNKNOWN_KIND = "not recorded"


def model_rows(
    found: ExperimentDirectory, evaluations: Mapping[Step, Metrics], *, retrained: frozenset[str]
) -> tuple[ModelRow, ...]:
    """Return a row for each model that a step made, in the order of the steps, and for each other evaluated one.

    Args:
        found: steps of the experiment.
        evaluations: metrics of each evaluate step that can be read; the last one of a model counts.
        retrained: names of the train steps that started from a pruned model.
    """
    rows = []
    listed: list[str] = []
    for step, name, file in _made(found):
        evaluation = _evaluation_of(found, evaluations, file.path)
        # an engine, a calibration cache, or an earlier checkpoint is a model of its own only where it was evaluated
        if name != "model" and evaluation is None:
            continue
        listed.append(file.path)
        kind = kind_of(step, retrained=step.name in retrained)
        title = kind if name == "model" else f"{kind}, {name}"
        made = ModelRow(step.name, title, file.path, {}, _megabytes(file.size), parameters_of(step))
        rows.append(_evaluated(made, evaluation, evaluations))
    for of_another in evaluations:
        model = of_another.model_path
        if model is None or any(found.paths.same_file(model, path) for path in listed):
            continue
        listed.append(model)
        maker = found.maker(model)
        kind = UNKNOWN_KIND if maker is None else kind_of(maker, retrained=maker.name in retrained)
        weights = None if maker is None else parameters_of(maker)
        made = ModelRow("" if maker is None else maker.name, kind, model, {}, _megabytes(_size(found, model)), weights)
        rows.append(_evaluated(made, _evaluation_of(found, evaluations, model), evaluations))
    return tuple(rows)


def kind_of(step: Step, *, retrained: bool) -> str:
    """Return the kind of the model that a step made, such as "trained" or "int8".

    An export of an earlier release doesn't record its data type, but only INT8 has a calibration cache.
    """
    if step.task is TaskName.TRAIN:
        return "retrained" if retrained else "trained"
    if step.task is TaskName.PRUNE:
        return "pruned"
    facts = read_model_facts(step.directory)
    recorded = facts.dtype if isinstance(facts, ModelFacts) else None
    return recorded or ("int8" if "calibration_cache" in step.artifacts else "exported")


def parameters_of(step: Step) -> int | None:
    """Return the number of weights of the model that a step made; prune of earlier releases has it as a metric."""
    facts = read_model_facts(step.directory)
    return facts.parameters if isinstance(facts, ModelFacts) else whole(step.metrics.get("param_count"))


def _made(found: ExperimentDirectory) -> Iterator[tuple[Step, str, StoredFile]]:
    for step in found.steps:
        if step.task in (TaskName.TRAIN, TaskName.PRUNE, TaskName.EXPORT):
            for name, file in step.artifacts.items():
                yield step, name, file


def _evaluation_of(found: ExperimentDirectory, evaluations: Mapping[Step, Metrics], model: str) -> Step | None:
    of_model = [
        step for step in evaluations if step.model_path is not None and found.paths.same_file(step.model_path, model)
    ]
    return of_model[-1] if of_model else None


def _evaluated(row: ModelRow, evaluation: Step | None, evaluations: Mapping[Step, Metrics]) -> ModelRow:
    if evaluation is None:
        return row
    metrics = evaluations[evaluation]
    shown = {name: metrics.values[name] for name in SHOWN_METRICS if name in metrics.values}
    return replace(row, metrics=shown, images_per_second=metrics.images_per_second, evaluation=evaluation.name)


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / BYTES_PER_MB


def _size(found: ExperimentDirectory, model: str) -> int | None:
    try:
        return found.paths.present(model).stat().st_size
    except (OSError, ValueError):
        return None
