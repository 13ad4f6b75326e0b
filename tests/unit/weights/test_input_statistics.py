"""Folding of another normalization into the first convolution, and the check that weights fit the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_trainer.data import padded_image
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.input_statistics import (
    NETWORK_DEVIATION,
    NETWORK_MEAN,
    InputNormalization,
    InputScale,
    check_input_scale,
    fold_input,
    input_scale_of,
)

RANDOM = np.random.default_rng(9)
DEVIATED = InputNormalization("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
PIXELS = InputNormalization("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
OTHER_MEAN = InputNormalization("BGR", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
Array = NDArray[np.float64]


def normalized(pixels: Array, by: InputNormalization) -> Array:
    """Return RGB pixels [h, w, 3] as the input of a model."""
    ordered = pixels if by.channels == "RGB" else pixels[..., ::-1]
    return (ordered - np.asarray(by.mean)) / np.asarray(by.deviation)


def test_constants_are_those_of_the_padded_image() -> None:
    assert np.allclose(NETWORK_MEAN, np.multiply(padded_image.MEAN, 255))
    assert np.isclose(NETWORK_DEVIATION, padded_image.STD * 255)


@pytest.mark.parametrize("model", [DEVIATED, PIXELS], ids=["RGB divided by deviations", "BGR of 0..255"])
def test_folded_kernel_gives_the_same_result_on_the_input_of_the_network(model: InputNormalization) -> None:
    kernel, pixels = RANDOM.normal(size=(7, 7, 3, 4)), RANDOM.integers(0, 256, (7, 7, 3)).astype(np.float64)
    folded = fold_input(kernel, model)
    assert folded.mean is None
    ours = normalized(pixels, InputNormalization("RGB", NETWORK_MEAN, (NETWORK_DEVIATION,) * 3))
    expected = np.einsum("hwi,hwio->o", normalized(pixels, model), kernel)
    result = np.einsum("hwi,hwio->o", ours, folded.kernel)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def test_other_mean_is_returned_in_the_order_red_green_blue() -> None:
    folded = fold_input(np.ones((7, 7, 3, 4)), OTHER_MEAN)
    assert folded.mean == (122.7717, 115.9465, 102.9801)
    assert folded.kernel[0, 0, :, 0] == pytest.approx([NETWORK_DEVIATION] * 3)


def test_normalizations_agree_within_the_rounding_of_written_numbers() -> None:
    assert DEVIATED.agrees_with(InputNormalization("RGB", NETWORK_MEAN, (58.395, 57.12, 57.375)))
    assert not DEVIATED.agrees_with(InputNormalization("BGR", DEVIATED.mean, DEVIATED.deviation))
    assert not PIXELS.agrees_with(OTHER_MEAN)
    assert not PIXELS.agrees_with(InputNormalization("BGR", PIXELS.mean, (57.375, 57.12, 58.395)))


def stem(scale: float, *, kernel_scale: float = 1.0) -> dict[str, Array]:
    """Return a stem whose folded kernel has about the size ``0.02 * scale``, and whose kernel has another."""
    return {
        "conv1/kernel": RANDOM.normal(size=(7, 7, 3, 64)) * 0.02 * kernel_scale,
        "bn_conv1/gamma": np.ones(64),
        "bn_conv1/moving_variance": np.full(64, (kernel_scale / scale) ** 2),
    }


@pytest.mark.parametrize("kernel_scale", [0.01, 1.0, 57.0])
@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (3.0, InputScale.NORMALIZED),
        (1.0, InputScale.NORMALIZED),
        (0.3, InputScale.NORMALIZED),
        (0.2, InputScale.UNCLEAR),
        (0.13, InputScale.UNCLEAR),
        (0.085, InputScale.UNCLEAR),
        (1 / 19, InputScale.PIXELS),
        (1 / 57, InputScale.PIXELS),
        (1 / 200, InputScale.PIXELS),
    ],
)
def test_input_follows_from_the_kernel_with_its_batch_norm_and_not_from_the_kernel(
    scale: float, kernel_scale: float, expected: InputScale
) -> None:
    assert input_scale_of(stem(scale, kernel_scale=kernel_scale), 1e-9) is expected


@pytest.mark.parametrize("missing", ["conv1/kernel", "bn_conv1/gamma", "bn_conv1/moving_variance"])
def test_kernel_without_its_batch_norm_shows_nothing(missing: str) -> None:
    assert input_scale_of({name: value for name, value in stem(1.0).items() if name != missing}, 1e-5) is None


def test_dead_filters_and_variances_of_zero_do_not_count() -> None:
    values = stem(1.0)
    values["conv1/kernel"][..., :8] *= 1e-9
    values["bn_conv1/moving_variance"][8:12] = 0.0
    values["bn_conv1/gamma"][12:14] = 0.0
    assert input_scale_of(values, 0.0) is InputScale.NORMALIZED
    assert input_scale_of({**values, "bn_conv1/gamma": np.zeros(64)}, 0.0) is None


def test_filter_of_an_extreme_size_does_not_hide_the_others() -> None:
    values = stem(1 / 57)
    values["bn_conv1/moving_variance"][0] = 1e-20
    assert input_scale_of(values, 0.0) is InputScale.PIXELS


@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_stem_of_a_trained_resnet_18_was_trained_for_normalized_input(test_data: Path, epsilon: float) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(test_data / "weights" / "resnet18_imagenet.safetensors")
    values = {
        "conv1/kernel": tensors["conv1.weight"].transpose(2, 3, 1, 0),
        "bn_conv1/gamma": tensors["bn1.weight"],
        "bn_conv1/moving_variance": tensors["bn1.running_var"],
    }
    assert input_scale_of(values, epsilon) is InputScale.NORMALIZED
    values["conv1/kernel"] = values["conv1/kernel"] / 57
    assert input_scale_of(values, epsilon) is InputScale.PIXELS


@pytest.mark.parametrize(
    ("style", "normalization", "found"),
    [("torchvision", DEVIATED, InputScale.PIXELS), ("detectron2", PIXELS, InputScale.NORMALIZED)],
)
def test_contradiction_is_refused(style: str, normalization: InputNormalization, found: InputScale) -> None:
    with pytest.raises(InvalidInput, match=rf"^checkpoint: m\.pth was trained for .*checkpointStyle {style} has "):
        check_input_scale("m.pth", style, normalization, found)


def test_size_between_the_two_is_a_warning() -> None:
    warning = check_input_scale("m.pth", "detectron2", PIXELS, InputScale.UNCLEAR)
    assert warning is not None
    assert "checkpointStyle detectron2 (BGR with mean 103.53, 116.28, 123.675" in warning


@pytest.mark.parametrize(
    ("normalization", "found"),
    [(DEVIATED, InputScale.NORMALIZED), (PIXELS, InputScale.PIXELS), (PIXELS, None), (OTHER_MEAN, InputScale.PIXELS)],
)
def test_agreement_and_unknown_input_are_accepted(normalization: InputNormalization, found: InputScale | None) -> None:
    assert check_input_scale("m.pth", "a style", normalization, found) is None
