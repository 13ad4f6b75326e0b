"""Files that a report reads by URL: what is staged of a directory, and what evaluations name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskrcnn_trainer.report.inputs.by_url import is_report_input, named_in_store
from maskrcnn_trainer.task.staged_inputs import StagedInputs, use_staged_inputs

IMAGES = {
    "version": 1,
    "evaluatedOn": "0" * 32,
    "annotations": "s3://b/val.json",
    "images": [{"id": number, "file": f"s3://b/r/v-{number % 2}", "offset": 12} for number in range(4)],
}


def evaluation_in(directory: Path) -> str:
    directory.mkdir()
    result = {"version": 1, "task": "evaluate", "code": 0, "modelPath": "s3://b/m.tlt", "artifacts": {}}
    (directory / "result.json").write_text(json.dumps(result))
    (directory / "images.json").write_text(json.dumps(IMAGES))
    return str(directory)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("evaluate/metrics.json", True),
        ("train/history.jsonl", True),
        ("train/logs/attempt-1.spec.yaml", True),
        ("convert/val.json", True),
        ("train/model.step-4.tlt", False),
        ("convert/val-00000-of-00001.tfrecord", False),
        ("export/model.onnx", False),
        ("train/logs/attempt-1.log", False),
        ("train/inputs.json.gz", False),
        ("inference/images_annotated/a.jpg", False),
        ("inference/labels/a.json", False),
    ],
)
def test_report_reads_what_its_page_shows(path: str, expected: bool) -> None:
    assert is_report_input(path) is expected


def test_urls_of_an_evaluation_are_its_annotations_records_and_model(tmp_path: Path) -> None:
    directory = evaluation_in(tmp_path / "evaluate")
    assert named_in_store([directory]) == ["s3://b/m.tlt", "s3://b/r/v-0", "s3://b/r/v-1", "s3://b/val.json"]


def test_urls_that_are_staged_are_left_out(tmp_path: Path) -> None:
    directory = evaluation_in(tmp_path / "evaluate")
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("v-0", "v-1"):
        (copies / name).touch()
    use_staged_inputs(StagedInputs(paths={"s3://b/m.tlt": "/m.tlt"}, urls={str(copies): "s3://b/r"}))
    try:
        assert named_in_store([directory]) == ["s3://b/val.json"]
    finally:
        use_staged_inputs(StagedInputs())


def test_directory_without_results_names_nothing(tmp_path: Path) -> None:
    assert named_in_store([str(tmp_path), str(tmp_path / "absent")]) == []
