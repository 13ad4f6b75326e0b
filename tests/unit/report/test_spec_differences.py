"""Differences of specs."""

from __future__ import annotations

from tests.unit.report import made_experiment as made

from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.report.spec_differences import differences_between, differences_from_defaults, values_of
from maskrcnn_trainer.spec import parse_spec


def test_only_fields_that_differ_are_listed_in_the_order_of_the_spec() -> None:
    values = values_of(parse_spec(made.SPEC), RecordedPaths([]))
    found = differences_from_defaults(values)
    assert [one.field for one in found] == [
        "seed", "initLearningRate", "totalSteps", "dataConfig.imageSize", "dataConfig.trainingFilePattern",
        "dataConfig.validationFilePattern", "dataConfig.valJsonFile", "dataConfig.numClasses", "maskrcnnConfig.nlayers",
    ]  # fmt: skip
    assert found[0].values == ("123", "7")


def test_differences_between_experiments_have_a_value_for_each() -> None:
    specs = [{"a": "1", "b": "2"}, None, {"a": "1", "b": "3", "c": "4"}]
    assert [(one.field, one.values) for one in differences_between(specs)] == [
        ("b", ("2", "not recorded", "3")),
        ("c", ("null", "not recorded", "4")),
    ]


def test_mapping_is_one_field_and_an_absent_field_that_follows_a_model_file_equals_its_default() -> None:
    given = {"classMapping": {"traffic light": "Ampel"}, "maskrcnnConfig": {"roiAligned": True}}
    before, after = (values_of(parse_spec({**made.SPEC, **more}), RecordedPaths([])) for more in ({}, given))
    assert not {"classMapping", "maskrcnnConfig.roiAligned"} & {one.field for one in differences_from_defaults(before)}
    expected = {
        "classMapping": ("{}", '{"traffic light": "Ampel"}'),
        "maskrcnnConfig.roiAligned": ("null", "true"),
    }
    found = {one.field: one.values for one in differences_from_defaults(after)}
    assert {name: found[name] for name in expected} == expected
    between = {one.field: one.values for one in differences_between([before, after])}
    assert {name: between[name] for name in expected} == expected
