"""Building a network from a model file of this project."""

from __future__ import annotations

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model_files.model_file import ModelFile


def assign_variables(network: MaskRCNN, model: ModelFile) -> None:
    """Assign the values stored in ``model`` to all variables of ``network``.

    Raises:
        InvalidInput: a variable is missing, unknown, or of another shape or dtype; the message names the file.
    """
    source = model.source or "the model file"
    variables = network.named_variables
    unmatched = sorted(set(variables) ^ set(model.variables))
    if unmatched:
        raise InvalidInput(
            f"{source}: the file and the network of its architecture have different variables ({len(unmatched)}): "
            f"{', '.join(unmatched[:5])}",
            reason="InvalidModel",
        )
    for name, variable in variables.items():
        stored = model.variables[name]
        if stored.shape != tuple(variable.shape):
            raise InvalidInput(
                f"{source}: {name} is {stored.shape} in the file, {tuple(variable.shape)} in the network of its "
                "architecture",
                reason="InvalidModel",
            )
        if stored.dtype != variable.dtype.as_numpy_dtype:
            raise InvalidInput(
                f"{source}: {name} is {stored.dtype} in the file, {variable.dtype.name} in the network",
                reason="InvalidModel",
            )
        variable.assign(stored)


def _refuse_other_widths(model: ModelFile, architecture: Architecture) -> None:
    """Raise InvalidInput if the widths do not match the weights, before a network of any size is built from them."""
    for name, width in (
        *architecture.filters.items(),
        ("class-predict", architecture.num_classes),
        ("rpn-class", architecture.num_anchors_per_cell),
        ("fc6", architecture.width("fc6", architecture.fast_rcnn_mlp_head_dim)),
    ):
        # The bias is checked first, since the kernel of a transposed convolution has its filters on another axis.
        weights = model.variables.get(f"{name}/bias", model.variables.get(f"{name}/kernel"))
        found = "no such layer" if weights is None else f"{weights.shape[-1]} filters" if weights.ndim else "no filters"
        if found != f"{width} filters":
            raise InvalidInput(
                f"{model.source or 'the model file'}: {name} has {width} filters in the architecture of model.json, "
                f"but the weights have {found}",
                reason="InvalidModel",
            )


def network_of(model: ModelFile, *, dtype: str = "float32") -> MaskRCNN:
    """Return the network of a model file, for inference: batch norms use their stored statistics.

    Raises:
        InvalidInput: the architecture is invalid or does not match the weights; the message names the file.
    """
    architecture = architecture_of(model)
    _refuse_other_widths(model, architecture)
    network = MaskRCNN(architecture, freeze_bn=True, dtype=dtype)
    assign_variables(network, model)
    return network
