"""Names of results in object storage, and the command that loads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_operator.local.retrieval import Retrieval, name_of_artifact

RETRIEVAL = Retrieval("s3://bucket/prefix")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/workspace/fd/train/model.tlt", "fd/train/model.tlt"),
        ("/workspace/fd/export/engines/a.json", "fd/export/engines/a.json"),
        ("/workspace/fd/convert-val/val-*.tfrecord", "fd/convert-val"),
        ("/data/model.tlt", None),
    ],
)
def test_name_is_one_that_the_command_accepts(path: str, name: str | None) -> None:
    assert name_of_artifact(path) == name


def test_command_loads_a_file() -> None:
    assert RETRIEVAL.command("fd/a/b.tlt") == "maskrcnn-operator artifacts s3://bucket/prefix get fd/a/b.tlt -o DIR"


def test_command_has_the_file_of_the_stores() -> None:
    found = Retrieval("s3://b", Path("my stores.yaml")).command("NAME")
    assert found == "maskrcnn-operator artifacts s3://b get NAME -o DIR --store-config 'my stores.yaml'"


def test_message_about_a_report_has_its_command_and_no_path() -> None:
    found = RETRIEVAL.report_text("step evaluate: report /workspace/fd/evaluate/report.html")
    assert found == (
        "step evaluate: report is published; to load it, run maskrcnn-operator artifacts s3://bucket/prefix get "
        "fd/evaluate/report.html -o DIR"
    )


def test_other_message_is_unchanged() -> None:
    assert RETRIEVAL.report_text("step evaluate: report gone") == "step evaluate: report gone"
