"""Partial types have the fields of the complete ones; merging applies the changes of a step."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from maskrcnn_trainer.spec import ExperimentSpec, PartialExperimentSpec, merge_experiment, parse_spec
from maskrcnn_trainer.spec.partial import nested_model

PARTIAL: Any = PartialExperimentSpec


def schemas(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the properties of a type and of its parts, by name of the part."""
    schema = model.model_json_schema()
    parts = {"": schema, **schema.get("$defs", {})}
    return {name.removeprefix("Partial"): part["properties"] for name, part in parts.items()}


def test_the_partial_types_have_the_same_fields_bounds_and_words() -> None:
    whole, part = schemas(ExperimentSpec), schemas(PARTIAL)
    assert whole.keys() == part.keys()
    for name, fields in whole.items():
        assert fields.keys() == part[name].keys()
        for field, schema in fields.items():
            expected = {key: value for key, value in schema.items() if key != "default"}
            if "$ref" in expected:
                expected["$ref"] = expected["$ref"].replace("/$defs/", "/$defs/Partial")
            assert part[name][field] == expected, field


def test_nothing_is_required_and_nothing_has_a_default() -> None:
    schema = PARTIAL.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert "required" not in part
        assert not [name for name, field in part["properties"].items() if "default" in field]
    empty = PARTIAL.model_validate({"dataConfig": {}})
    assert empty.model_dump(by_alias=True, exclude_unset=True, mode="json") == {"dataConfig": {}}


def test_given_fields_are_unchanged() -> None:
    change = {
        "totalSteps": 0,
        "l1WeightDecay": 0.0,
        "checkpoint": "",
        "checkpointClassNames": [],
        "classMapping": {"a_b": "c_d"},
        "dataConfig": {"imageSize": [128, 256], "augmentation": {"scaleJitter": [0.5, 2.0]}},
        "maskrcnnConfig": {"aspectRatios": [[1.0, 2.0]], "freezeBlocks": [], "nlayers": 18},
    }
    assert PARTIAL.model_validate(change).model_dump(by_alias=True, exclude_unset=True, mode="json") == change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"totalSteps": -1}, ("totalSteps",)),
        ({"maskrcnnConfig": {"nlayers": 11}}, ("maskrcnnConfig", "nlayers")),
        ({"dataConfig": {"imageSize": [1, 128]}}, ("dataConfig", "imageSize", 0)),
        ({"momentun": 1}, ("momentun",)),
        ({"seed": "1"}, ("seed",)),
    ],
)
def test_given_fields_are_checked_against_their_bounds(change: dict[str, Any], where: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        PARTIAL.model_validate(change)
    assert [error["loc"] for error in caught.value.errors()] == [where]


def test_objects_merge_by_field_and_everything_else_replaces(minimal: dict[str, Any]) -> None:
    base = {**minimal, "learningRateSteps": [1, 2], "maskrcnnConfig": {"nlayers": 18, "freezeBlocks": [0, 1]}}
    override = {"learningRateSteps": [3], "momentum": 0.5, "maskrcnnConfig": {"freezeBlocks": []}, "dataConfig": {}}
    merged = merge_experiment(base, override)
    assert merged == {
        **minimal,
        "learningRateSteps": [3],
        "momentum": 0.5,
        "maskrcnnConfig": {"nlayers": 18, "freezeBlocks": []},
    }
    assert base["learningRateSteps"] == [1, 2]
    merged["dataConfig"]["imageSize"].append(5)
    assert minimal["dataConfig"]["imageSize"] == [128, 192]


def test_mappings_merge_by_name_and_names_keep_their_spelling(minimal: dict[str, Any]) -> None:
    base = {**minimal, "class_mapping": {"traffic_light": "Ampel", "person": "pedestrian"}}
    merged = merge_experiment(base, {"classMapping": {"person": "worker", "stop sign": "sign"}})
    expected = {"traffic_light": "Ampel", "person": "worker", "stop sign": "sign"}
    assert parse_spec(merged).class_mapping == expected


def test_null_leaves_a_field_alone_and_zero_unsets_a_length(minimal: dict[str, Any]) -> None:
    merged = merge_experiment(
        {**minimal, "totalSteps": 0, "numEpochs": 4}, {"numEpochs": 0, "totalSteps": 9, "seed": None}
    )
    spec = parse_spec(merged)
    assert (spec.num_epochs, spec.total_steps, spec.seed) == (None, 9, 123)


def test_both_spellings_meet_in_the_merge(minimal: dict[str, Any]) -> None:
    merged = merge_experiment(minimal, {"total_steps": 5, "data_config": {"num_classes": 7}, "unknown_field": 1})
    assert (merged["totalSteps"], merged["dataConfig"]["numClasses"], merged["unknown_field"]) == (5, 7, 1)


def test_an_object_where_there_was_none_is_taken_whole(minimal: dict[str, Any]) -> None:
    merged = merge_experiment(minimal, {"dataConfig": {"augmentation": {"scaleJitter": [0.5, 2]}}})
    augmentation = parse_spec(merged).data_config.augmentation
    assert augmentation is not None
    assert augmentation.scale_jitter == (0.5, 2.0)


def test_nested_parts_are_found_in_optional_fields_too() -> None:
    names = {name for name, field in ExperimentSpec.model_fields.items() if nested_model(field)}
    assert names == {"data_config", "maskrcnn_config", "wandb_config", "clearml_config"}
