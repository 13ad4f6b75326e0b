"""Logs that a state directory keeps."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_operator.local.old_logs import LOGS_OF_STEP, remove_old_logs


def test_newest_attempts_of_a_step_stay_and_so_do_other_files(tmp_path: Path) -> None:
    for attempt in range(1, LOGS_OF_STEP + 3):
        (tmp_path / f"train.attempt-{attempt}.log").touch()
        (tmp_path / f"train.attempt-{attempt}.spec.yaml").touch()
    others = {"train-2.attempt-1.log", "train.attempt-x.log", "notes"}
    for name in others:
        (tmp_path / name).touch()
    remove_old_logs(tmp_path, "train")
    kept = {f"train.attempt-{n}.{end}" for n in range(3, LOGS_OF_STEP + 3) for end in ("log", "spec.yaml")}
    assert {path.name for path in tmp_path.iterdir()} == kept | others
