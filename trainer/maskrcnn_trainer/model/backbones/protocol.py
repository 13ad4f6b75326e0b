"""Interface of a backbone: everything that the rest of the trainer uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

    from maskrcnn_trainer.model.backbones.layers import BackboneLayers


@dataclass(frozen=True)
class Stage:
    """Feature map that the backbone passes to the FPN.

    Attributes:
        level: of the pyramid; the map has a stride of 2^level.
        layer: name of the layer whose output is the map.
    """

    level: int
    layer: str


class Backbone(Protocol):
    """Family of backbones of several depths, with one value of ``maskrcnnConfig.arch``.

    Layers that TAO Toolkit's template also has use its names. Keras HDF5 files, TensorFlow checkpoints, and ``.tlt``
    files of TAO Toolkit use the same names and need no translation; torchvision uses others.

    The sets of layers that are pruned together are not part of this interface: pruning finds them in the built network,
    with its rules for the types of layers (`maskrcnn_trainer.pruning.groups`).
    """

    @property
    def arch(self) -> str:
        """Value of ``maskrcnnConfig.arch``."""

    @property
    def title(self) -> str:
        """Name of the family for messages, such as ``ResNet``."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Supported values of ``maskrcnnConfig.nlayers``, ascending."""

    @property
    def stem(self) -> str:
        """Name of the convolution whose input is the image."""

    @property
    def epsilon(self) -> float:
        """Number that the batch norms add to the variance, unless the architecture has another one."""

    def stages(self, nlayers: int) -> tuple[Stage, ...]:
        """Return the feature maps for the FPN, levels 2 to 5 ascending."""

    def blocks(self, nlayers: int) -> Mapping[int, tuple[str, ...]]:
        """Return the names of the layers with variables by their block's number in ``freezeBlocks``.

        Every layer with variables is in exactly one block.
        """

    def build(self, images: keras.KerasTensor, nlayers: int, layers: BackboneLayers) -> Mapping[str, keras.KerasTensor]:
        """Build the backbone.

        Args:
            images: float32 [B, H, W, 3], normalized.
            nlayers: one of `depths`.
            layers: creates the layers with variables, in listing order.

        Returns:
            Outputs by layer name, including those of all `stages`.
        """

    def owns(self, variable: str) -> bool:
        """Return whether a variable (``conv1/kernel``) belongs to this family, at any depth."""

    def found_instead(self, variables: Collection[str], nlayers: int) -> str | None:
        """Return the network that a file's variables belong to (``a ResNet-18``), None if its depth is ``nlayers``."""

    def torch_prefix(self, tensors: Collection[str]) -> str | None:
        """Return the prefix of torchvision's names in a file (``""``, ``module.``), None if the stem is missing."""

    @property
    def torch_stem(self) -> str:
        """Name of the stem's kernel in torchvision."""

    @property
    def torch_misfit(self) -> str:
        """Weights of the family that do not fit, for messages, such as ``a variant with another stem``."""

    def torch_name(self, tensor: str) -> str | None:
        """Return the variable (``block_1a_conv_1/kernel``) of torchvision's name without prefix, None if unknown."""

    def torch_rest(self, variables: Collection[str], nlayers: int, epsilon: float) -> Mapping[str, NDArray[Any]]:
        """Return values with which the layers that torchvision's network does not have are identities.

        Args:
            variables: names of the variables in the file.
            nlayers: depth of the backbone.
            epsilon: of the batch norms.
        """

    def torch_notes(self, rest: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Return remarks to the user about torchvision's weights in this backbone.

        Args:
            rest: the result of `torch_rest`.
        """
