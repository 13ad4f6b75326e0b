"""Problems of a spec: all at once, each with the field as written, the value, and what would be right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.spec import ExperimentSpec, SpecError, merge_experiment, parse_spec


def problems(data: object, **options: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(data, **options)
    found = {problem.field: problem.message for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems), "a field is reported twice"
    return found


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        {
            "useAmp": 1,
            "trainBatchSize": "2",
            "learningRateSteps": [3, 2],
            "learningRateDecayLevels": [0.1],
            "dataConfig": {"imageSize": [100, 192], "num_clases": 3},
            "maskrcnnConfig": {"nlayers": 11, "bboxRegWeights": [1, 2], "maxLevel": 7, "includeMask": False},
            "imageSize": [128, 128],
        }
    )
    assert found.pop("initLearningRate").startswith("is required")
    assert found == {
        "useAmp": "1 must be true or false",
        "trainBatchSize": '"2" must be a whole number',
        "dataConfig.imageSize[0]": "100 must be at least 128",
        "dataConfig.num_clases": "unknown field; did you mean numClasses?",
        "maskrcnnConfig.nlayers": "11 must be one of 10, 18, 34, 50 or 101",
        "maskrcnnConfig.bboxRegWeights": "[1, 2] has too few entries; it must be [dy, dx, dh, dw]",
        "maskrcnnConfig.maxLevel": "7 must be at most 6; levels other than minLevel 2 and maxLevel 5 or 6 are not "
        "supported",
        "imageSize": "unknown field; it belongs in dataConfig",
        "totalSteps": "one of totalSteps and numEpochs is required, at least 1",
        "learningRateDecayLevels": "[0.1] has 1 entry, but learningRateSteps [3, 2] has 2 entries; the two lists need "
        "the same length",
        "learningRateSteps": "[3, 2] must be in increasing order, for example [2, 3]",
        "maskrcnnConfig.includeMask": "false is not supported: every model has a mask head; set it to true",
    }


@pytest.mark.parametrize(
    ("place", "name", "wrong_place", "wrong"),
    [
        ("", "totalSteps", "", "totalStepz"),
        ("", "initLearningRate", "", "initLearningRat"),
        ("dataConfig", "numClasses", "dataConfig", "numClassez"),
        ("", "dataConfig", "", "dataConfg"),
        ("dataConfig", "imageSize", "", "imageSize"),
        ("", "totalSteps", "dataConfig", "totalSteps"),
        ("", "initLearningRate", "maskrcnnConfig", "initLearningRate"),
    ],
)
def test_required_field_that_is_misspelled_or_misplaced_is_one_problem(
    place: str, name: str, wrong_place: str, wrong: str
) -> None:
    data: dict[str, Any] = {
        "initLearningRate": 0.01,
        "totalSteps": 5,
        "dataConfig": {"imageSize": [128, 128], "numClasses": 3},
        "maskrcnnConfig": {"nlayers": 10},
    }
    value = (data[place] if place else data).pop(name)
    (data[wrong_place] if wrong_place else data)[wrong] = value
    assert list(problems(data)) == [f"{wrong_place}.{wrong}".removeprefix(".")]


def test_messages_use_the_spelling_of_the_user() -> None:
    found = problems({"init_learning_rate": 1, "data_config": {"image_size": [130, 128], "num_classes": 2}})
    assert list(found) == ["total_steps", "data_config.image_size"]
    assert "one of total_steps and num_epochs" in found["total_steps"]
    assert "(2^max_level, max_level is 6)" in found["data_config.image_size"]


def test_a_prefix_precedes_every_field(minimal: dict[str, Any]) -> None:
    found = problems({**minimal, "momentum": 1, "foo": 2}, prefix="spec.experiment.")
    assert found == {
        "spec.experiment.momentum": "1 must be less than 1",
        "spec.experiment.foo": "unknown field; check its name",
    }


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"learningRateDecayLevels": [0]}, "learningRateDecayLevels[0]", "0 must be more than 0"),
        ({"learningRateSteps": "[5]"}, "learningRateSteps", '"[5]" is not a list; it must be a list of whole numbers'),
        ({"momentum": float("nan")}, "momentum", "NaN must be a finite number"),
        ({"checkpoint": 5}, "checkpoint", "5 must be a string; put it in quotes"),
        ({"keepCheckpoints": 10001}, "keepCheckpoints", "10001 must be at most 10000"),
        ({"initLearningRate": 0}, "initLearningRate", "0 must be more than 0"),
        ({"loggingFrequency": 1001}, "loggingFrequency", "1001 must be at most 1000"),
        ({"maskrcnnConfig": 5}, "maskrcnnConfig", "5 must be a mapping of fields"),
        (
            {"maskrcnnConfig": {"arch": "vgg"}},
            "maskrcnnConfig.arch",
            "must be one of 'resnet', 'resnet_v1' or 'resnet_v1_5'",
        ),
        ({"maskrcnnConfig": {"minLevel": 3}}, "maskrcnnConfig.minLevel", "3 must be at most 2; levels other than"),
        ({"maskrcnnConfig": {"maxLevel": 4}}, "maskrcnnConfig.maxLevel", "4 must be at least 5; levels other than"),
        ({"maskrcnnConfig": {"freezeBlocks": [5]}}, "maskrcnnConfig.freezeBlocks[0]", "5 must be at most 4"),
        ({"maskrcnnConfig": {"aspectRatios": [[1]]}}, "maskrcnnConfig.aspectRatios[0]", "[1] has too few entries"),
        ({"maskrcnnConfig": {"aspectRatios": []}}, "maskrcnnConfig.aspectRatios", "[] has too few entries; at least 1"),
        ({"maskrcnnConfig": {"testRpnNmsThresh": 1}}, "maskrcnnConfig.testRpnNmsThresh", "mean testRpnNmsThreshold?"),
        ({"maskrcnnConfig": {"useAmp": True}}, "maskrcnnConfig.useAmp", "it belongs at the top level"),
        ({"dataConfig": {"numClasses": 1}}, "dataConfig.numClasses", "1 must be at least 2"),
        ({"dataConfig": {"imageSize": [128, 128, 3]}}, "dataConfig.imageSize", "[128, 128, 3] has too many entries"),
        (
            {"dataConfig": {"augmentation": {"scaleJitter": [0.05, 2]}}},
            "dataConfig.augmentation.scaleJitter[0]",
            "0.05 must be at least 0.1",
        ),
        (
            {"train_batch_size": 3, "trainBatchSize": 4},
            "train_batch_size",
            "given twice, as 'trainBatchSize' and as",
        ),
    ],
)
def test_a_wrong_value_in_plain_words(
    minimal: dict[str, Any], change: dict[str, Any], field: str, message: str
) -> None:
    data = {**minimal, **change}
    if isinstance(change.get("dataConfig"), dict):
        data["dataConfig"] = {**minimal["dataConfig"], **change["dataConfig"]}
    found = problems(data)
    shown = next((text for name, text in found.items() if name == field), None)
    assert shown is not None, found
    assert message in shown


def test_a_spec_must_be_a_mapping() -> None:
    with pytest.raises(SpecError, match=r"my.yaml: .* must be a mapping of fields"):
        parse_spec([1], source="my.yaml")


def test_the_error_names_its_source_and_counts(minimal: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({**minimal, "seed": -1, "momentum": 2}, source="a.yaml")
    text = str(caught.value)
    assert text == "a.yaml: 2 problems:\n  seed: -1 must be at least 0\n  momentum: 2 must be less than 1"


def test_null_is_a_field_not_given(minimal: dict[str, Any]) -> None:
    assert parse_spec({**minimal, "momentum": None, "maskrcnnConfig": None}) == parse_spec(minimal)
    assert "dataConfig.imageSize" in problems({**minimal, "dataConfig": None})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = [str(field.alias) for field in ExperimentSpec.model_fields.values()]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), JSON, max_size=5))
def test_any_input_gives_a_spec_or_a_spec_error(change: dict[str, Any]) -> None:
    base = {"initLearningRate": 0.02, "totalSteps": 10, "dataConfig": {"imageSize": [128, 128], "numClasses": 3}}
    try:
        spec = parse_spec(merge_experiment(base, change))
    except SpecError as error:
        assert error.problems
    else:
        assert parse_spec(spec.model_dump(mode="json", by_alias=True)) == spec
