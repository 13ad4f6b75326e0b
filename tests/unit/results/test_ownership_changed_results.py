"""Finished results that the user has changed, such as corrected labels, are never lost."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch import LaunchSettings, launch
from maskrcnn_trainer.results.ownership import claim
from maskrcnn_trainer.task.environment import TaskEnvironment

A = "aaaaaaaa111111111111111111111111-v1"
B = "bbbbbbbb222222222222222222222222-v1"
C = "cccccccc333333333333333333333333-v1"
D = "dddddddd444444444444444444444444-v1"

MADE = '[{"area": 10, "is_crowd": 0, "image_id": 1}]'
CORRECTED = '[{"area": 12, "is_crowd": 0, "image_id": 1, "by": "hand"}]'


def finish(directory: Path, fingerprint: str, *task: str) -> None:
    """Create the results of an inference of one image."""
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint, task=task)
    for name, content in (("images_annotated/a.png", "png"), ("labels/a.json", MADE), ("predictions.json", "{}")):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(content)
        os.utime(directory / name, ns=(1, 1))  # before the result, however coarse the clock is
    artifacts = {
        "labels": {"path": str(directory / "labels"), "bytes": len(MADE), "sha256": ""},
        "images_annotated": {"path": str(directory / "images_annotated"), "bytes": 3, "sha256": ""},
    }
    result = {"version": 1, "task": "inference", "code": 0, "fingerprint": fingerprint, "artifacts": artifacts}
    (directory / "result.json").write_text(json.dumps(result))
    os.utime(directory / "result.json", ns=(2, 2))


def correct(directory: Path, text: str = CORRECTED) -> None:
    (directory / "labels" / "a.json").write_text(text)


def labels(parent: Path) -> dict[str, str]:
    """Return the label in each directory next to the results."""
    return {path.parent.parent.name: path.read_text() for path in parent.glob("*/labels/a.json")}


def test_corrected_labels_stay_aside_through_any_number_of_edits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "infer"
    finish(directory, A)
    correct(directory)
    for fingerprint in (B, C, D):
        finish(directory, fingerprint)
        assert labels(tmp_path)["infer.aaaaaaaa"] == CORRECTED
    assert "is kept: labels/a.json was changed after the task had finished" in caplog.text
    # those without changes are deleted as before
    assert sorted(labels(tmp_path)) == ["infer", "infer.aaaaaaaa", "infer.cccccccc"]


@pytest.mark.parametrize("edited", [False, True])
def test_corrected_labels_are_moved_aside_where_their_step_runs_again(
    tmp_path: Path, edited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "infer"
    finish(directory, A)
    correct(directory)
    if edited:
        finish(directory, B)
    finish(directory, A)  # a new run; the labels are from the earlier result
    assert labels(tmp_path)["infer.changed-1"] == CORRECTED
    assert "labels/a.json was changed after the task had finished" in caplog.text
    correct(directory, CORRECTED + "\n")
    for fingerprint in (A, B, C, D, A):
        finish(directory, fingerprint)
    kept = labels(tmp_path)
    assert (kept["infer.changed-1"], kept["infer.changed-2"]) == (CORRECTED, CORRECTED + "\n")


def test_a_result_that_lost_a_file_is_made_again_in_place(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    finish(directory, A)
    (directory / "images_annotated" / "a.png").unlink()
    finish(directory, A)
    assert sorted(labels(tmp_path)) == ["infer"]


def test_corrected_labels_that_the_step_reads_itself_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    finish(directory, A)
    correct(directory)
    with pytest.raises(InvalidInput, match="labels lies in"):
        finish(directory, A, "inference", "-i", str(directory / "labels"))
    assert labels(tmp_path) == {"infer": CORRECTED}


def test_corrected_labels_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "infer").symlink_to(tmp_path / "volume")
    finish(tmp_path / "infer", A)
    correct(tmp_path / "infer")
    with pytest.raises(InvalidInput, match=r"is a link and has labels/a\.json, changed by hand"):
        finish(tmp_path / "infer", A)
    assert labels(tmp_path)["volume"] == CORRECTED


def test_finished_results_that_are_moved_back_are_not_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    directory = tmp_path / "infer"
    finish(directory, A)
    corrected = MADE.replace("10", "11")  # the same size, so the result counts as complete
    correct(directory, corrected)
    finish(directory, B)
    environment = TaskEnvironment.from_environ(
        {
            "MASKRCNN_RESULTS_DIR": str(directory),
            "MASKRCNN_FINGERPRINT": A,
            "MASKRCNN_EXPERIMENT_UID": "uid",
            "MASKRCNN_TERMINATION_LOG": str(tmp_path / "termination.log"),
        }
    )
    task = ("inference", "-m", str(tmp_path / "absent.tlt"), "-e", str(tmp_path / "absent.yaml"))
    assert launch(LaunchSettings(1, 0, 1, None, task), environment) == 0
    assert json.loads((tmp_path / "termination.log").read_text())["upToDate"]
    assert labels(tmp_path) == {"infer": corrected, "infer.bbbbbbbb": MADE}
