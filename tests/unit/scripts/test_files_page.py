"""Reference of the files that tasks write: it is up to date, and names files in words."""

from __future__ import annotations

import pytest
from scripts.files_page import MEANINGS, OF_A_LOCAL_RUN, OF_EACH_TASK, PAGE, main, of_task, page, readable, table

from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key
from maskrcnn_trainer.object_store.fence.outside_cleaning import OutsideTerms
from maskrcnn_trainer.results.ours import LOG_FILES
from maskrcnn_trainer.spec.task_table import TASKS


def test_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make manifests`"
    assert main(["--check", str(PAGE)]) == 0


def test_stale_page_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("scripts.files_page.page", lambda: "another")
    assert main(["--check", str(PAGE)]) == 1
    assert "make manifests" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"model\.step-\d+\.tlt", "model.step-N.tlt"),
        (r"[^/.][^/]*-\d{5}-of-\d{5}\.tfrecord", "TAG-NNNNN-of-NNNNN.tfrecord"),
        (r"images/(?:[^/.][^/]*/)*[^/.][^/]*\.(?i:jpg|png)", "images/IMAGE.EXT"),
        (r"(?:model\.onnx|model\.etlt)", "model.onnx or model.etlt"),
        (r"model\.engine(?:\.json)?", "model.engine[.json]"),
    ],
)
def test_pattern_becomes_a_name_that_is_readable(pattern: str, name: str) -> None:
    assert readable(pattern) == name


def test_each_meaning_is_of_a_file() -> None:
    of_tasks = {name for entry in TASKS.values() for name in of_task(entry)}
    logs = {readable(pattern) for pattern in LOG_FILES}
    assert of_tasks | logs | {*OF_EACH_TASK, *OF_A_LOCAL_RUN} == set(MEANINGS)


@pytest.mark.parametrize(
    "key",
    [
        owner_key("EXPERIMENT"),
        StepKeys("EXPERIMENT", "STEP").pointer,
        OutsideTerms(StepKeys("EXPERIMENT", "STEP"), "TOKEN").clock,
        "EXPERIMENT/STEP/o/EPOCH-TOKEN-N-manifest.json",
        "EXPERIMENT/probe-TOKEN-N",
    ],
)
def test_each_kind_of_object_in_a_bucket_has_a_row(key: str) -> None:
    section = page().split("\n## In object storage\n")[1].split("\n## ")[0]
    assert f"\n| `{key}` | " in section


def test_file_without_a_meaning_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"MEANINGS has no entry for 'model\.new'"):
        table(["model.new"])
