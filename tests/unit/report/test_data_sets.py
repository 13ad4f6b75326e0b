"""Conversion of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.report.data_sets import conversion_by_tag
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory


@pytest.mark.parametrize(
    ("tags", "training", "validation"),
    [
        (("instances_train2017", "instances_val2017"), 0, 1),
        (("shapes",), 0, None),
        (("val",), None, 0),
        (("trainval",), 0, None),
        (("shapes", "other"), None, None),
        (("train-a", "train-b", "Val"), None, 2),
    ],
)
def test_conversion_is_found_by_the_name_of_its_records_where_that_is_unambiguous(
    tmp_path: Path, tags: tuple[str, ...], training: int | None, validation: int | None
) -> None:
    for number, tag in enumerate(tags):
        step = tmp_path / "exp" / f"convert{number}"
        made.write_result(step, "dataset_convert", 1, artifacts={"records": step / f"{tag}-*-of-00004.tfrecord"})
    directory = open_directory(tmp_path / "exp")
    for name, expected in (("training", training), ("validation", validation)):
        found = conversion_by_tag(directory, name)
        assert (found and found.name) == (None if expected is None else f"convert{expected}")
