"""Our own ``.tlt`` as a starting point for another training."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.spec.errors import shown
from maskrcnn_trainer.training.pretrained.source import Source

# Fields that shapes don't show: weights load all the same but mean something else.
_SILENT = ("arch", "anchor_scale", "aspect_ratios", "num_scales", "bbox_reg_weights", "max_level")


def read_our_model(path: Path, key: str | None, architecture: Architecture) -> Source:
    """Read the variables of a model file.

    Raises:
        InvalidInput: a wrong key, a damaged file, or a pruned model whose widths this network does not have.
    """
    from maskrcnn_trainer.model_files.model_file import read_model_file

    model = read_model_file(path, key, with_optimizer=False)
    theirs = architecture_of(model)
    if dict(theirs.filters) != dict(architecture.filters):
        raise InvalidInput(
            f"checkpoint: {path} is a pruned model, whose layers are narrower; give it as prunedModelPath, "
            "which builds the network from the file"
        )
    notes = tuple(
        f"{f.name}: the file's model was trained with {shown(getattr(theirs, f.name))}, "
        f"this network has {shown(getattr(architecture, f.name))}"
        for f in fields(Architecture)
        if f.name in _SILENT and getattr(theirs, f.name) != getattr(architecture, f.name)
    )
    return Source("model file", dict(model.variables), notes)
