"""Number of floating-point operations of a network, from the shapes of its layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras

from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.layer_rules import LayerRules
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.pruning.walk import Call, calls

Shape = tuple[int, ...]

_RULES: LayerRules[Callable[[Call, Shape, Shape], int]] = LayerRules("counting operations", __name__)
"""Multiplications of one call, from the call and the shapes of its first input and its output."""
rule_for = _RULES.rule_for


def network_flops(network: MaskRCNN, image_size: tuple[int, int], *, proposals: int, detections: int) -> int:
    """Return the number of operations for one image; a multiplication and an addition count as two.

    Only convolutions and dense layers are counted; the other layers add a few percent. The box head counts once for
    each proposal, and the mask head, with the masks of all classes, once for each detection.

    Args:
        network: the network.
        image_size: (H, W) of the padded image in pixels.
        proposals: number of proposals of an image, the inputs of the box head.
        detections: number of detections of an image, the inputs of the mask head.
    """
    return (
        model_flops(network.feature_extractor, (1, *image_size, 3))
        + proposals * model_flops(network.box_head, _one_of(network.box_head))
        + detections * model_flops(network.mask_head, _one_of(network.mask_head))
    )


def model_flops(model: keras.Model, input_shape: Shape) -> int:
    """Return the number of operations of a functional model with one input of ``input_shape``, batch first.

    Raises:
        UnknownLayerError: a layer's type has no rule; the message names the layer.
    """
    shapes: dict[int, Shape] = {id(model.inputs[0]): input_shape}
    total = 0
    for call in calls(model):
        shape = shapes[id(call.inputs[0])]
        several = [shapes[id(tensor)] for tensor in call.inputs]
        made = call.layer.compute_output_shape(several if len(several) > 1 else shape)
        shapes[id(call.outputs[0])] = made
        total += 2 * _RULES.of(call.layer)(call, shape, made)
    return total


@rule_for(Convolution)
def _convolution(call: Call, shape: Shape, made: Shape) -> int:
    return math.prod(made) * int(math.prod(call.layer.kernel_size)) * shape[-1]


@rule_for(keras.layers.Conv2DTranspose)
def _transposed(call: Call, shape: Shape, _made: Shape) -> int:
    return math.prod(shape) * int(math.prod(call.layer.kernel_size)) * int(call.layer.filters)


@rule_for(keras.layers.Dense)
def _dense(_call: Call, shape: Shape, made: Shape) -> int:
    return math.prod(made) * shape[-1]


@rule_for(
    BatchNorm,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Flatten,
    keras.layers.MaxPooling2D,
    keras.layers.Permute,
    keras.layers.ReLU,
    keras.layers.Reshape,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding2D,
)
def _not_counted(_call: Call, _shape: Shape, _made: Shape) -> int:
    return 0


def _one_of(head: keras.Model) -> Shape:
    return (1, *(int(side) for side in head.inputs[0].shape[1:]))
