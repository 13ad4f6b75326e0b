"""Layouts: each layer gives the same result with the other project's tensor as with this network's variable."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_trainer.weights.layouts import in_network_layout

RANDOM = np.random.default_rng(5)
Array = NDArray[np.float64]


def random(*shape: int) -> Array:
    return RANDOM.normal(size=shape)


def converted(variable: str, tensor: Array, *, background_last: bool = False) -> NDArray[np.float32]:
    return in_network_layout(variable, tensor, background_last=background_last)


def test_convolution_is_a_correlation_in_both() -> None:
    theirs, image = random(5, 3, 2, 4), random(3, 2, 4)
    ours = converted("l2/kernel", theirs)
    assert ours.shape == (2, 4, 3, 5)
    np.testing.assert_allclose(
        np.einsum("hwi,hwio->o", image.transpose(1, 2, 0), ours), np.einsum("ihw,oihw->o", image, theirs), rtol=1e-5
    )


def test_transposed_convolution_is_not_flipped() -> None:
    """PyTorch: y[o, 2i + h, 2j + w] = sum of x[c, i, j] k[c, o, h, w]; Keras' kernel is H, W, O, I."""
    theirs, pixel = random(3, 5, 2, 2), random(3)
    ours = converted("conv5-mask/kernel", theirs)
    assert ours.shape == (2, 2, 5, 3)
    np.testing.assert_allclose(
        np.einsum("i,hwoi->hwo", pixel, ours), np.einsum("c,cohw->hwo", pixel, theirs), rtol=1e-5
    )


def test_dense_layer_after_flattening_reads_channels_first_in_both() -> None:
    theirs, pooled = random(6, 4 * 3 * 3), random(4, 3, 3)
    ours = converted("fc6/kernel", theirs)
    channels_last = pooled.transpose(1, 2, 0)
    flattened = channels_last.transpose(2, 0, 1).reshape(-1)  # Permute((3, 1, 2)) and Flatten of the box head
    np.testing.assert_allclose(flattened @ ours, theirs @ pooled.reshape(-1), rtol=1e-5)


@pytest.mark.parametrize("background_last", [False, True])
def test_rpn_deltas_change_from_x_first_to_y_first_within_each_anchor(background_last: bool) -> None:
    theirs = np.arange(12.0)
    ours = converted("rpn-box/bias", theirs, background_last=background_last)
    assert ours.tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    kernel = converted("rpn-box/kernel", theirs.reshape(12, 1, 1, 1), background_last=background_last)
    assert kernel[0, 0, 0].tolist() == ours.tolist()


@pytest.mark.parametrize("variable", ["rpn-class/bias", "rpn/bias", "fc6/bias", "mask-conv-l0/bias", "bn_conv1/gamma"])
@pytest.mark.parametrize("background_last", [False, True])
def test_other_layers_keep_their_order(variable: str, background_last: bool) -> None:
    assert converted(variable, np.arange(12.0), background_last=background_last).tolist() == list(range(12))


def test_classes_with_the_background_first_keep_their_rows() -> None:
    assert converted("class-predict/bias", np.arange(3.0)).tolist() == [0, 1, 2]
    assert converted("mask_fcn_logits/bias", np.arange(3.0)).tolist() == [0, 1, 2]
    assert converted("box-predict/bias", np.arange(8.0)).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_background_moves_from_the_last_row_to_the_first() -> None:
    assert converted("class-predict/bias", np.array([1.0, 2, 0]), background_last=True).tolist() == [0, 1, 2]
    kernel = converted("class-predict/kernel", np.array([[1.0, 10], [2, 20], [0, 0.5]]), background_last=True)
    assert kernel.tolist() == [[0, 1, 2], [0.5, 10, 20]]


def test_boxes_and_masks_get_rows_of_zeros_for_the_background() -> None:
    boxes = converted("box-predict/bias", np.arange(1.0, 9), background_last=True)
    assert boxes.tolist() == [0, 0, 0, 0, 2, 1, 4, 3, 6, 5, 8, 7]
    masks = converted("mask_fcn_logits/kernel", np.array([1.0, 2]).reshape(2, 1, 1, 1), background_last=True)
    assert masks.tolist() == [[[[0, 1, 2]]]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.float32])
def test_result_is_contiguous_and_float32(dtype: type[np.floating]) -> None:
    ours = converted("fc7/kernel", random(3, 2).astype(dtype))
    assert (ours.dtype, ours.flags.c_contiguous) == (np.float32, True)
