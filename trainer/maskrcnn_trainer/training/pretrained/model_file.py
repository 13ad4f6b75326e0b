"""Reader of this trainer's ``.tlt`` files as initial weights of another training."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file
from maskrcnn_trainer.spec.errors import shown
from maskrcnn_trainer.training.pretrained.source import Source

# Fields whose difference shows in shapes or class rows, or that a spec may change at any time. Of all others the
# weights can be loaded, but have another meaning.
_WITHOUT_NOTE = (
    "nlayers", "min_level", "num_classes", "fast_rcnn_mlp_head_dim", "mrcnn_resolution", "filters",
    "score_threshold", "candidate_limit",
)  # fmt: skip


def read_our_model(path: Path, key: str | None) -> ModelFile:
    """Read a model file as the start of a training, without the state of its optimizer.

    Args:
        path: of the file.
        key: encryption key, required if the file is encrypted.

    Raises:
        InvalidInput: the key is wrong, the file is damaged, or it is a pruned model.
    """
    model = read_model_file(path, key, with_optimizer=False)
    if architecture_of(model).filters:
        raise InvalidInput(
            f"checkpoint: {path} is a pruned model, whose layers have fewer filters; give it as prunedModelPath, "
            "which builds the network from the file"
        )
    return model


def source_of(model: ModelFile, architecture: Architecture) -> Source:
    """Return the variables of a model file, with a remark for each field in which a network differs.

    Args:
        model: the result of `read_our_model`.
        architecture: of the network for which the values are read.
    """
    theirs = architecture_of(model)
    notes = tuple(
        f"{f.name}: the model in the file was trained with {shown(getattr(theirs, f.name))}, "
        f"but this network has {shown(getattr(architecture, f.name))}"
        for f in fields(Architecture)
        if f.name not in _WITHOUT_NOTE and getattr(theirs, f.name) != getattr(architecture, f.name)
    )
    return Source("model file", dict(model.variables), notes)
