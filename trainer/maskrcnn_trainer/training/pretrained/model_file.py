"""Reader of this trainer's ``.tlt`` files as initial weights of another training."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.spec.errors import shown
from maskrcnn_trainer.training.pretrained.source import Source

# Fields whose difference shows in shapes. Of all others the weights can be loaded, but have another meaning.
_IN_SHAPES = ("nlayers", "min_level", "num_classes", "fast_rcnn_mlp_head_dim", "mrcnn_resolution", "filters")


def read_our_model(path: Path, key: str | None, architecture: Architecture) -> Source:
    """Read the variables of a model file.

    Args:
        path: of the file.
        key: encryption key, required if the file is encrypted.
        architecture: of the network for which the values are read.

    Raises:
        InvalidInput: the key is wrong, the file is damaged, or it is a pruned model with other widths than the network.
    """
    from maskrcnn_trainer.model_files.model_file import read_model_file

    model = read_model_file(path, key, with_optimizer=False)
    theirs = architecture_of(model)
    if dict(theirs.filters) != dict(architecture.filters):
        raise InvalidInput(
            f"checkpoint: {path} is a pruned model, whose layers have fewer filters; give it as prunedModelPath, "
            "which builds the network from the file"
        )
    notes = tuple(
        f"{f.name}: the model in the file was trained with {shown(getattr(theirs, f.name))}, "
        f"but this network has {shown(getattr(architecture, f.name))}"
        for f in fields(Architecture)
        if f.name not in _IN_SHAPES and getattr(theirs, f.name) != getattr(architecture, f.name)
    )
    return Source("model file", dict(model.variables), notes)
