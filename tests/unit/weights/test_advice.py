"""Advice on fine-tuning: only what differs from the detector's own training, with its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.spec import ExperimentSpec, parse_spec
from maskrcnn_trainer.weights.advice import fine_tuning_advice
from maskrcnn_trainer.weights.style import STYLES, StyleName

ORIGINAL = {"freezeBlocks": [0, 1], "freezeBn": True, "freezeBnAffine": True, "testCandidateLimit": 1000}


def spec(*, size: tuple[int, int] = (832, 1344), classes: int = 81, model: Any = None, **fields: Any) -> ExperimentSpec:
    """Return the spec of a fine-tuning of Detectron2's models with 16 images per step, with changes."""
    return parse_spec(
        {
            "initLearningRate": 0.002,
            "trainBatchSize": 16,
            "totalSteps": 1,
            **fields,
            "dataConfig": {"imageSize": list(size), "numClasses": classes},
            "maskrcnnConfig": {**ORIGINAL, **(model or {})},
        }
    )


def advice(given: ExperimentSpec, style: str = "detectron2", *, ranks: int = 1) -> list[str]:
    return fine_tuning_advice(STYLES[StyleName(style)], given, ranks=ranks)


def without(name: str) -> ExperimentSpec:
    config = {key: value for key, value in ORIGINAL.items() if key != name}
    return spec().model_copy(update={"maskrcnn_config": spec().maskrcnn_config.model_validate(config)})


@pytest.mark.parametrize("style", [name for name in StyleName if name != "mmdet-pytorch"])
def test_there_is_none_for_the_settings_of_the_original(style: str) -> None:
    assert advice(spec(), style) == []


def test_affine_parameters_of_the_pytorch_style_are_trained() -> None:
    assert advice(spec(model={"freezeBnAffine": False}), "mmdet-pytorch") == []
    (line,) = advice(spec(), "mmdet-pytorch")
    assert line.startswith("maskrcnnConfig.freezeBnAffine is true; the original training trained scale and offset")


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ({"freezeBlocks": []}, "maskrcnnConfig.freezeBlocks is []; the original training froze [0, 1]"),
        ({"freezeBn": False}, "maskrcnnConfig.freezeBn is false; the original training kept the statistics"),
        ({"freezeBnAffine": False}, "maskrcnnConfig.freezeBnAffine is false; the original training kept scale"),
    ],
)
def test_layers_that_the_original_froze_are_named(model: dict[str, Any], start: str) -> None:
    (line,) = advice(spec(model=model))
    assert line.startswith(start)


def test_order_of_frozen_blocks_makes_no_difference() -> None:
    assert advice(spec(model={"freezeBlocks": [1, 0]})) == []


@pytest.mark.parametrize("rate", [0.02, 0.00001])
def test_learning_rate_is_compared_with_a_tenth_of_the_original(rate: float) -> None:
    (line,) = advice(spec(initLearningRate=rate))
    assert line.startswith(f"initLearningRate is {rate:g}; the original training used 0.02 for 16 images per step")
    assert line.endswith("which is 0.02 for 16, and fine-tuning usually takes about a tenth of it, 0.002")


@pytest.mark.parametrize(
    ("batch", "ranks", "scale", "original", "tenth"),
    [
        (2, 1, False, "0.0025 for 2", "0.00025"),
        (2, 4, False, "0.01 for 8", "0.001"),
        (2, 4, True, "0.0025 for 8 (with scaleLearningRate)", "0.00025"),
    ],
)
def test_learning_rate_is_in_proportion_to_the_images_per_step(
    batch: int, ranks: int, scale: bool, original: str, tenth: str
) -> None:
    (line,) = advice(spec(initLearningRate=0.1, trainBatchSize=batch, scaleLearningRate=scale), ranks=ranks)
    assert f"which is {original}, and" in line
    assert line.endswith(f"a tenth of it, {tenth}")
    fitting = spec(initLearningRate=float(tenth), trainBatchSize=batch, scaleLearningRate=scale)
    assert advice(fitting, ranks=ranks) == []


@pytest.mark.parametrize("size", [(832, 1344), (1344, 832), (1088, 1088), (768, 1344)])
def test_sizes_with_about_the_scale_of_the_original_are_right(size: tuple[int, int]) -> None:
    assert advice(spec(size=size)) == []


@pytest.mark.parametrize(
    ("size", "scale"), [((512, 512), "0.48"), ((512, 832), "0.64"), ((832, 832), "0.78"), ((1344, 1344), "1.26")]
)
def test_other_sizes_come_with_their_scale(size: tuple[int, int], scale: str) -> None:
    (line,) = advice(spec(size=size))
    assert line == (
        f"dataConfig.imageSize is {list(size)}, which shows an image of 640x480 at {scale} times the original "
        "training's scale (a short side of 800 pixels, a long one of at most 1,333): [832, 1344] has about that scale "
        "for landscape images, and [1088, 1088] for both orientations"
    )


def test_limit_for_an_export_is_named_where_one_is_needed() -> None:
    (line,) = advice(without("testCandidateLimit"))
    assert line.startswith("maskrcnnConfig.testCandidateLimit is absent")
    assert line.endswith("an export needs one, of at most 3839")


def test_few_classes_need_no_limit() -> None:
    few = without("testCandidateLimit")
    few = few.model_copy(update={"data_config": few.data_config.model_copy(update={"num_classes": 4})})
    assert advice(few) == []
