"""The interface of a backbone: all that the rest of the trainer knows of one."""

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
    """A feature map that the backbone gives to the FPN.

    Attributes:
        level: of the pyramid; the map has a stride of 2^level.
        layer: name of the layer whose output it is.
    """

    level: int
    layer: str


class Backbone(Protocol):
    """A family of backbones of several depths under one value of ``maskrcnnConfig.arch``.

    Layers have the names of the original template where it has them. Keras HDF5 files, checkpoints of TensorFlow and
    ``.tlt`` files of the original bear the same names, so they need no translation; those of torchvision do.

    The sets of layers that are pruned together are no part of this: pruning finds them in the built network, by the
    rules of its types of layers (`maskrcnn_trainer.pruning.groups`).
    """

    @property
    def arch(self) -> str:
        """The value of ``maskrcnnConfig.arch``."""

    @property
    def title(self) -> str:
        """Name of the family for messages, such as ``ResNet``."""

    @property
    def depths(self) -> tuple[int, ...]:
        """The values of ``maskrcnnConfig.nlayers`` that can be built, ascending."""

    @property
    def stem(self) -> str:
        """Name of the convolution that takes the image."""

    @property
    def epsilon(self) -> float:
        """Number that the batch norms add to the variance."""

    def stages(self, nlayers: int) -> tuple[Stage, ...]:
        """Return the feature maps for the FPN, levels 2 to 5 ascending."""

    def blocks(self, nlayers: int) -> Mapping[int, tuple[str, ...]]:
        """Return the names of the layers with variables by the number that ``freezeBlocks`` has for them.

        Together they are all layers with variables, each in one block.
        """

    def build(self, images: keras.KerasTensor, nlayers: int, layers: BackboneLayers) -> Mapping[str, keras.KerasTensor]:
        """Build the backbone on ``images`` [B, H, W, 3].

        Args:
            layers: makes the layers with variables, in listing order.

        Returns:
            Outputs by layer name, those of all `stages` among them.
        """

    def owns(self, variable: str) -> bool:
        """Return whether a variable (``conv1/kernel``) is of this family, at any depth."""

    def found_instead(self, variables: Collection[str], nlayers: int) -> str | None:
        """Return what the variables of a file are of, such as ``a ResNet-18``, where that is not ``nlayers``."""

    def torch_prefix(self, tensors: Collection[str]) -> str | None:
        """Return what precedes torchvision's names in a file (``""``, ``module.``), or None: the stem is absent."""

    @property
    def torch_stem(self) -> str:
        """torchvision's name for the kernel of the stem."""

    @property
    def torch_misfit(self) -> str:
        """Weights of the family that do not fit, for messages, such as ``a variant with another stem``."""

    def torch_name(self, tensor: str) -> str | None:
        """Return the variable (``block_1a_conv_1/kernel``) that torchvision's name without its prefix stands for."""

    def torch_rest(self, variables: Collection[str], nlayers: int) -> Mapping[str, NDArray[Any]]:
        """Return values for layers that torchvision's network does not have, so that they change nothing.

        Args:
            variables: names of those that the file has.
        """

    def torch_notes(self, rest: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Return what a user should know about torchvision's weights in this backbone.

        Args:
            rest: the outcome of `torch_rest`.
        """
