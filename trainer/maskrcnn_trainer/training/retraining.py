"""Training a pruned model again: what it fixes, and what is advised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file
from maskrcnn_trainer.spec import ExperimentSpec


def open_pruned(spec: ExperimentSpec, key: str | None) -> ModelFile | None:
    """The pruned model of ``prunedModelPath``; its widths, and all else that the architecture fixes, win.

    A pruned model that was trained since is one too: it can be trained further.

    Returns:
        The model without its momentum, or None where the spec names none.

    Raises:
        InvalidInput: it was never pruned, or the spec contradicts it, by field name.
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
    contradictions = architecture.contradictions(spec)
    if contradictions:
        raise InvalidInput(
            f"prunedModelPath {spec.pruned_model_path} was built otherwise: {'; '.join(contradictions)}. A pruned "
            f"model fixes {', '.join(Architecture.fixed_fields())}; every other field may change"
        )
    return model


def check_same_pruning(spec: ExperimentSpec, key: str | None, resumed: Mapping[str, Any]) -> None:
    """A re-training goes on from its own checkpoint and needs the pruned file no more; one pruned anew is told apart.

    Args:
        spec: of this run.
        key: for a pruned model that is encrypted.
        resumed: the architecture in the checkpoint, as `Architecture.to_json` gives it.

    Raises:
        InvalidInput: the file of ``prunedModelPath`` is there and holds other widths than the checkpoint.
    """
    if spec.pruned_model_path is None or not Path(spec.pruned_model_path).is_file():
        return
    pruned = read_model_file(spec.pruned_model_path, key, with_optimizer=False)
    before = Architecture.from_json(resumed).filters
    now = architecture_of(pruned).filters
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        raise InvalidInput(
            f"prunedModelPath {spec.pruned_model_path} was pruned otherwise than the model that the results directory "
            f"holds a checkpoint of ({len(changed)} layers differ, {changed[0]} first: {before.get(changed[0], 'all')} "
            f"filters there, {now.get(changed[0], 'all')} here). Give another results directory to train it, or put "
            "the old file back to go on",
            reason="OtherExperiment",
        )


def retraining_advice(spec: ExperimentSpec) -> list[str]:
    """Sentences for the log about a training that starts from a pruned model; none for other trainings."""
    decays = {"l1WeightDecay": spec.l1_weight_decay, "l2WeightDecay": spec.l2_weight_decay}
    on = [f"{name} is {value:g}" for name, value in decays.items() if value > 0]
    if spec.pruned_model_path is None or not on:
        return []
    return [
        f"Re-training a pruned model with the regulariser on ({' and '.join(on)}); users are advised to turn it off: "
        "set both l1WeightDecay and l2WeightDecay to 0"
    ]
