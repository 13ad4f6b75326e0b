"""Types of the spec: strictness, spelling, and the schema for an API server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from maskrcnn_trainer.spec import Augmentation, DataConfig, ExperimentSpec, MaskRCNNConfig, SpecError, parse_spec
from maskrcnn_trainer.spec.experiment import ClearmlConfig, WandbConfig

PARTS = [ExperimentSpec, DataConfig, MaskRCNNConfig, Augmentation, WandbConfig, ClearmlConfig]


def test_both_spellings_give_the_same_spec(minimal: dict[str, Any]) -> None:
    snake = ExperimentSpec(
        init_learning_rate=0.02, total_steps=1000, data_config=DataConfig(image_size=(128, 192), num_classes=3)
    )
    assert ExperimentSpec.model_validate(minimal) == snake


def test_a_spec_is_frozen_and_hashable(minimal: dict[str, Any]) -> None:
    spec = ExperimentSpec.model_validate(minimal)
    with pytest.raises(ValidationError):
        spec.seed = 4  # type: ignore[misc]
    assert hash(spec) == hash(ExperimentSpec.model_validate(minimal))


def test_mapping_of_a_spec_cannot_change_and_is_written_as_it_was_given(minimal: dict[str, Any]) -> None:
    given = {"traffic light": "Ampel", "class_a": "classB"}
    fields = {**minimal, "classMapping": given}
    spec = ExperimentSpec.model_validate(fields)
    assert spec.class_mapping == given
    assert hash(spec) == hash(ExperimentSpec.model_validate(fields))
    with pytest.raises(TypeError):
        spec.class_mapping["traffic light"] = "Licht"
    assert spec.model_dump(mode="json", by_alias=True, exclude_unset=True)["classMapping"] == given
    assert parse_spec(fields).class_mapping == given


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"person": 3}, "classMapping.person: 3 must be a string"),
        ({1: "person"}, "classMapping[1]: 1 must be a string"),
        ({"person": ""}, 'classMapping.person: "" is too short'),
        (["person"], 'classMapping: ["person"] must be a mapping'),
    ],
)
def test_mapping_of_other_values_is_refused_by_field(minimal: dict[str, Any], mapping: object, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({**minimal, "classMapping": mapping})
    assert problem in str(caught.value)


def test_the_rules_hold_for_a_spec_made_in_python(minimal: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="multiples of 64"):
        ExperimentSpec.model_validate({**minimal, "dataConfig": {"imageSize": [128, 160], "numClasses": 3}})


def test_zero_and_empty_mean_absent(minimal: dict[str, Any]) -> None:
    spec = ExperimentSpec.model_validate(
        {**minimal, "numEpochs": 0, "numExamplesPerEpoch": 0, "numStepsPerEval": 0, "checkpoint": "", "momentum": None}
    )
    assert (spec.num_epochs, spec.num_examples_per_epoch, spec.num_steps_per_eval, spec.checkpoint) == (None,) * 4
    assert spec.momentum == 0.9


@pytest.mark.parametrize("part", PARTS)
def test_every_field_has_a_description_and_a_plain_schema(part: type[BaseModel]) -> None:
    schema = part.model_json_schema()
    for name, field in schema["properties"].items():
        assert len(field["description"]) > 15, name
        assert not {"anyOf", "prefixItems", "title", "oneOf"} & field.keys(), name
        assert field.get("default", 0) is not None, name
        plain = ("integer", "number", "boolean", "string", "array", "object")
        assert "$ref" in field or field["type"] in plain, name
        if field.get("type") == "object":
            assert field["additionalProperties"]["type"] == "string", name
        if field.get("type") == "array":
            assert field["items"]["type"] in ("integer", "number", "string", "array"), name
        if field.get("type") in ("integer", "number") and "enum" not in field:
            assert {"minimum", "exclusiveMinimum"} & field.keys(), name
            assert {"maximum", "exclusiveMaximum"} & field.keys(), name


def test_required_fields_of_the_schema_are_the_four_that_cannot_be_guessed() -> None:
    assert sorted(ExperimentSpec.model_json_schema()["required"]) == ["dataConfig", "initLearningRate"]
    assert sorted(DataConfig.model_json_schema()["required"]) == ["imageSize", "numClasses"]
    assert "required" not in MaskRCNNConfig.model_json_schema()


def test_lists_of_fixed_length_have_it_in_the_schema() -> None:
    data, model = DataConfig.model_json_schema()["properties"], MaskRCNNConfig.model_json_schema()["properties"]
    assert data["imageSize"] | {"description": ""} == {
        "type": "array",
        "items": {"type": "integer", "minimum": 128, "maximum": 8192},
        "minItems": 2,
        "maxItems": 2,
        "description": "",
    }
    assert (model["bboxRegWeights"]["minItems"], model["bboxRegWeights"]["default"]) == (4, [10.0, 10.0, 5.0, 5.0])
    assert model["aspectRatios"]["items"]["maxItems"] == 2
    assert model["nlayers"]["enum"] == [10, 18, 34, 50, 101]
    assert ExperimentSpec.model_json_schema()["properties"]["maskrcnnConfig"]["default"] == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("totalSteps", "5"), ("totalSteps", 5.0), ("useAmp", 1), ("momentum", True), ("checkpoint", 3), ("seed", True)],
)
def test_another_type_is_refused_as_an_api_server_does(minimal: dict[str, Any], field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ExperimentSpec.model_validate({**minimal, field: value})


def test_whole_number_is_accepted_for_a_float(minimal: dict[str, Any]) -> None:
    spec = ExperimentSpec.model_validate(
        {**minimal, "initLearningRate": 1, "maskrcnnConfig": {"bboxRegWeights": [1] * 4}}
    )
    assert spec.init_learning_rate == 1.0
    assert spec.maskrcnn_config.bbox_reg_weights == (1.0,) * 4
