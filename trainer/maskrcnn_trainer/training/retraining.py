"""Retraining of a pruned model: opening it, checking it against the spec, and advice to the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model.contradictions import refuse_contradictions
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file
from maskrcnn_trainer.spec import ExperimentSpec


def open_pruned(spec: ExperimentSpec, key: str | None) -> ModelFile | None:
    """Open the pruned model of ``prunedModelPath``, whose architecture the training uses.

    A pruned model that was retrained is accepted too, and is trained further.

    Args:
        spec: of this run.
        key: encryption key of the pruned model.

    Returns:
        The model without its momentum, or None if the spec names none.

    Raises:
        InvalidInput: the model was never pruned, or the spec contradicts it; the message names the fields.
    """
    if spec.pruned_model_path is None:
        return None
    model = read_model_file(spec.pruned_model_path, key, with_optimizer=False)
    architecture = architecture_of(model)
    if not (model.retrain_required or architecture.filters):
        raise InvalidInput(
            f"prunedModelPath {spec.pruned_model_path} is not pruned; give it as checkpoint, or prune it first",
            reason="InvalidModel",
        )
    refuse_contradictions(f"prunedModelPath {spec.pruned_model_path}", architecture.contradictions(spec))
    return model


def check_same_pruning(spec: ExperimentSpec, key: str | None, resumed: Mapping[str, Any]) -> None:
    """Refuse to resume a retraining if the pruned model has changed since.

    The retraining continues from its own checkpoint and does not need the pruned model, which may be missing.

    Args:
        spec: of this run.
        key: encryption key of the pruned model.
        resumed: the architecture in the checkpoint, from `Architecture.to_json`.

    Raises:
        InvalidInput: the file of ``prunedModelPath`` exists and has other widths than the checkpoint.
    """
    if spec.pruned_model_path is None or not Path(spec.pruned_model_path).is_file():
        return
    pruned = read_model_file(spec.pruned_model_path, key, with_optimizer=False)
    before = Architecture.from_json(resumed).filters
    now = architecture_of(pruned).filters
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        raise InvalidInput(
            f"prunedModelPath {spec.pruned_model_path} is not the pruned model of the checkpoint in the results "
            f"directory ({len(changed)} layers differ, the first is {changed[0]}: {before.get(changed[0], 'all')} "
            f"filters in the checkpoint, {now.get(changed[0], 'all')} in the file). Give another results directory to "
            "train it, or restore the old file to continue",
            reason="OtherExperiment",
        )


def retraining_advice(spec: ExperimentSpec) -> list[str]:
    """Return advice for the log about a training that starts from a pruned model; none for other trainings."""
    decays = {"l1WeightDecay": spec.l1_weight_decay, "l2WeightDecay": spec.l2_weight_decay}
    on = [f"{name} is {value:g}" for name, value in decays.items() if value > 0]
    if spec.pruned_model_path is None or not on:
        return []
    return [
        f"Retraining a pruned model with weight decay ({' and '.join(on)}); it is recommended to turn it off: set both "
        "l1WeightDecay and l2WeightDecay to 0"
    ]
