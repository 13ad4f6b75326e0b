"""The command line of evaluate: the files that it replaces, and data that it refuses before it opens a model."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.small_records import annotations, spec_of, write_json, write_records

from maskrcnn_trainer.cli import main


@pytest.mark.parametrize("name", ["metrics.json", "detections.json", "images.json"])
def test_files_that_no_evaluation_has_written_are_not_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / name).write_text("precious")
    with caplog.at_level(logging.ERROR):
        assert main(["evaluate", "-m", "model.tlt", "-e", "spec.yaml", "-r", str(tmp_path)]) == 64
    assert f"{tmp_path} contains {name}" in caplog.text
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_file_of_images_is_not_replaced_either_where_an_older_release_evaluated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("metrics.json", "status.json", "images.json"):
        (tmp_path / name).write_text("{}")
    with caplog.at_level(logging.ERROR):
        assert main(["evaluate", "-m", "model.tlt", "-e", "spec.yaml", "-r", str(tmp_path)]) == 64
    assert f"{tmp_path} contains images.json, which evaluate didn't write" in caplog.text
    assert (tmp_path / "images.json").read_text() == "{}"


REFUSED_EARLY = """
import sys
from maskrcnn_trainer.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(code, "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bbox": None}, "annotations[0] (id 1): bbox null: four numbers are expected"),
        ({"area": "big"}, 'annotations[0] (id 1): area "big"'),
        ({"image_id": "101"}, 'image_id "101": a whole number is expected: 101'),
        ({"iscrowd": 1}, "has crowds (iscrowd 1) only in the 1 images"),
    ],
)
def test_annotations_are_refused_before_the_model_and_tensorflow(
    tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    write_records(tmp_path / "val.tfrecord", {101: []})
    write_json(tmp_path / "val.json", annotations({101: [1]}, {1: "cat"}, **wrong))
    spec = write_json(
        tmp_path / "spec.yaml", spec_of(tmp_path).model_dump(mode="json", by_alias=True, exclude_none=True)
    )
    task = ["evaluate", "-m", str(tmp_path / "missing.tlt"), "-e", str(spec), "-r", str(tmp_path / "results")]
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED_EARLY, *task], capture_output=True, text=True, check=True, timeout=120
    )
    assert ended.stdout.split()[-2:] == ["64", "False"]
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["status.json"]
    assert message in json.loads((tmp_path / "results" / "status.json").read_text().splitlines()[-1])["message"]
