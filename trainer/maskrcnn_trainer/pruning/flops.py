"""Floating-point operations of a network, from the shapes of its layers."""

from __future__ import annotations

import math

import keras

from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.pruning.walk import Call, calls

Shape = tuple[int, ...]


def network_flops(network: MaskRCNN, canvas: tuple[int, int], *, proposals: int, detections: int) -> int:
    """Operations for one image, a multiplication and an addition counted as two.

    Convolutions and dense layers alone: what lies between them is a few per cent. The box head counts once a proposal,
    the mask head, with the masks of all classes, once a detection.

    Args:
        canvas: (H, W) in pixels.
        proposals: regions an image that the box head sees.
        detections: regions an image that the mask head sees.
    """
    return (
        model_flops(network.feature_extractor, (1, *canvas, 3))
        + proposals * model_flops(network.box_head, _one_of(network.box_head))
        + detections * model_flops(network.mask_head, _one_of(network.mask_head))
    )


def model_flops(model: keras.Model, input_shape: Shape) -> int:
    """Operations of a functional model with one input of ``input_shape``, batch first."""
    shapes: dict[int, Shape] = {id(model.inputs[0]): input_shape}
    total = 0
    for call in calls(model):
        shape = shapes[id(call.inputs[0])]
        several = [shapes[id(tensor)] for tensor in call.inputs]
        made = call.layer.compute_output_shape(several if len(several) > 1 else shape)
        shapes[id(call.outputs[0])] = made
        total += 2 * _products(call, shape, made)
    return total


def _products(call: Call, shape: Shape, made: Shape) -> int:
    layer = call.layer
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return math.prod(shape) * math.prod(layer.kernel_size) * layer.filters
    if isinstance(layer, keras.layers.Conv2D):
        return math.prod(made) * math.prod(layer.kernel_size) * shape[-1]
    if isinstance(layer, keras.layers.Dense):
        return math.prod(made) * shape[-1]
    return 0


def _one_of(head: keras.Model) -> Shape:
    return (1, *(int(side) for side in head.inputs[0].shape[1:]))
