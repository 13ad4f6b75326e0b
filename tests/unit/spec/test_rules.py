"""Rules between fields: refused values, messages, and accepted boundary values."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import SpecError, merge_experiment, parse_spec
from maskrcnn_trainer.spec.rules import RULES

CASES: list[tuple[dict[str, Any], str, str]] = [
    (
        {"learningRateSteps": [5, 9], "learningRateDecayLevels": [0.1]},
        "learningRateDecayLevels",
        "[0.1] has 1 entry, but learningRateSteps [5, 9] has 2 entries",
    ),
    (
        {"learningRateSteps": [9, 5], "learningRateDecayLevels": [0.1, 0.01]},
        "learningRateSteps",
        "[9, 5] must be in increasing order, for example [5, 9]",
    ),
    ({"learningRateSteps": [5, 5], "learningRateDecayLevels": [0.1, 0.01]}, "learningRateSteps", "increasing order"),
    ({"totalSteps": 0}, "totalSteps", "one of totalSteps and numEpochs is required"),
    (
        {"dataConfig": {"imageSize": [160, 192]}},
        "dataConfig.imageSize",
        "multiples of 64 (2^maxLevel, maxLevel is 6); the next larger size is [192, 192]",
    ),
    (
        {"dataConfig": {"imageSize": [144, 192]}, "maskrcnnConfig": {"maxLevel": 5}},
        "dataConfig.imageSize",
        "multiples of 32",
    ),
    ({"maskrcnnConfig": {"mrcnnResolution": 30}}, "maskrcnnConfig.mrcnnResolution", "the nearest are 28 and 32"),
    (
        {"maskrcnnConfig": {"rpnNegativeOverlap": 0.71}},
        "maskrcnnConfig.rpnNegativeOverlap",
        "0.71 must be at most rpnPositiveOverlap (0.7)",
    ),
    ({"maskrcnnConfig": {"bgThreshLo": 0.6}}, "maskrcnnConfig.bgThreshLo", "0.6 must be at most bgThreshHi (0.5)"),
    ({"maskrcnnConfig": {"fgThresh": 0.4}}, "maskrcnnConfig.bgThreshHi", "0.5 must be at most fgThresh (0.4)"),
    (
        {"maskrcnnConfig": {"maxLevel": 5, "roiMaxLevel": 6}},
        "maskrcnnConfig.roiMaxLevel",
        "6 must be at most maxLevel (5)",
    ),
    ({"maskrcnnConfig": {"freezeBlocks": [1, 0, 1]}}, "maskrcnnConfig.freezeBlocks", "lists a block twice; use [0, 1]"),
    (
        {"maskrcnnConfig": {"includeMask": False}},
        "maskrcnnConfig.includeMask",
        "every model has a mask head; set it to true",
    ),
    (
        {"dataConfig": {"augmentation": {"scaleJitter": [1.5, 0.5]}}},
        "dataConfig.augmentation.scaleJitter",
        "did you mean [0.5, 1.5]?",
    ),
    *(
        ({name: "s3://data//a"}, name, "an empty, '.', or '..' segment isn't accepted")
        for name in ("checkpoint", "checkpointConfig", "prunedModelPath")
    ),
    *(
        ({"dataConfig": {name: "s3://data//a"}}, f"dataConfig.{name}", "an empty, '.', or '..' segment isn't accepted")
        for name in ("trainingFilePattern", "validationFilePattern", "valJsonFile")
    ),
]


@pytest.mark.parametrize(("change", "field", "words"), CASES)
def test_a_broken_rule_is_reported_once(
    minimal: dict[str, Any], change: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(merge_experiment(minimal, change))
    (problem,) = caught.value.problems
    assert problem.field == field
    assert words in problem.message
    assert isinstance(caught.value, InvalidInput)
    assert (caught.value.exit_code, caught.value.reason) == (64, "InvalidSpec")


def test_every_rule_has_a_case(minimal: dict[str, Any]) -> None:
    broken = set()
    for change, _, _ in CASES:
        with pytest.raises(SpecError) as caught:
            parse_spec(merge_experiment(minimal, change))
        paths = {problem.path for problem in caught.value.problems}
        broken |= {rule for rule in RULES if paths & set(rule.reads)}
    assert broken == set(RULES)


@pytest.mark.parametrize(
    "change",
    [
        {"learningRateSteps": [5, 6], "learningRateDecayLevels": [0.1, 2]},
        {"learningRateSteps": [5000], "learningRateDecayLevels": [0.1]},
        {"totalSteps": 0, "numEpochs": 1},
        {"dataConfig": {"imageSize": [128, 160]}, "maskrcnnConfig": {"maxLevel": 5}},
        {"maskrcnnConfig": {"rpnNegativeOverlap": 0.5, "rpnPositiveOverlap": 0.5}},
        {"maskrcnnConfig": {"bgThreshLo": 0.5, "bgThreshHi": 0.5, "fgThresh": 0.5}},
        {"maskrcnnConfig": {"roiMaxLevel": 6}},
        {"maskrcnnConfig": {"roiMaxLevel": 5, "maxLevel": 5}},
        {"maskrcnnConfig": {"freezeBlocks": [4, 0, 1, 2, 3]}},
        {"maskrcnnConfig": {"mrcnnResolution": 4}},
        {"dataConfig": {"augmentation": {"scaleJitter": [1, 1]}}},
    ],
)
def test_the_boundary_is_allowed(minimal: dict[str, Any], change: dict[str, Any]) -> None:
    assert parse_spec(merge_experiment(minimal, change)).seed == 123
