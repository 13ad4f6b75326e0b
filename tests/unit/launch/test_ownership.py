"""Who may write to a results directory, and where results of another fingerprint go."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.launch.ownership import Run, await_claim, claim, ownership_guard, read_run

A = "aaaaaaaa111111111111111111111111-v1"
B = "bbbbbbbb222222222222222222222222-v1"
C = "cccccccc333333333333333333333333-v1"


def start(directory: Path, fingerprint: str, attempt: int = 1) -> str:
    run = claim(directory, experiment_uid="uid", attempt=attempt, fingerprint=fingerprint)
    (directory / "made-by").write_text(fingerprint)
    return run.token


def folders(parent: Path) -> dict[str, str]:
    return {entry.name: (entry / "made-by").read_text() for entry in parent.iterdir()}


def test_the_file_names_the_run(tmp_path: Path) -> None:
    token = start(tmp_path / "train", A, attempt=3)
    content = json.loads((tmp_path / "train" / "run.json").read_text())
    assert content == {"version": 1, "experimentUid": "uid", "attempt": 3, "fingerprint": A, "token": token}


def test_every_start_draws_a_token_and_takes_the_right_to_write_from_the_one_before(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    old = start(directory, A)
    ownership_guard(directory, old)()
    new = start(directory, A)
    assert new != old
    ownership_guard(directory, new)()
    with pytest.raises(TryAgain, match="now belongs to attempt 1") as caught:
        ownership_guard(directory, old)()
    assert caught.value.exit_code == 75


def test_a_task_started_by_hand_needs_no_token(tmp_path: Path) -> None:
    ownership_guard(tmp_path / "nowhere", None)()
    with pytest.raises(TryAgain, match="belongs to nobody"):
        ownership_guard(tmp_path / "nowhere", "a token")()


def test_equal_fingerprints_stay_where_they_are(tmp_path: Path) -> None:
    start(tmp_path / "train", A)
    start(tmp_path / "train", A, attempt=2)
    assert folders(tmp_path) == {"train": A}


def test_results_of_another_fingerprint_are_kept_aside_once_and_moved_back(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    start(directory, B)
    assert folders(tmp_path) == {"train": B, "train.aaaaaaaa": A}
    start(directory, A)
    assert folders(tmp_path) == {"train": A, "train.bbbbbbbb": B}
    start(directory, C)
    assert folders(tmp_path) == {"train": C, "train.aaaaaaaa": A}


def test_other_steps_and_folders_of_the_user_are_left_alone(tmp_path: Path) -> None:
    for name in ("train2", "train.backup", "train.notahexd"):
        start(tmp_path / name, C)
    start(tmp_path / "train", A)
    start(tmp_path / "train", B)
    assert {"train2", "train.backup", "train.notahexd"} < set(folders(tmp_path))


def test_an_unreadable_file_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"version": 1, "attempt": ')
    assert read_run(tmp_path) is None


def test_other_nodes_wait_for_their_attempt_and_take_its_token(tmp_path: Path) -> None:
    start(tmp_path / "train", A, attempt=1)
    seen: list[Run | None] = []
    looks, looked_again, ended = itertools.count(), threading.Event(), threading.Event()

    def stopping() -> bool:
        # asked before each look at the directory
        if next(looks) == 2:
            looked_again.set()
        return ended.is_set()

    def wait() -> None:
        seen.append(
            await_claim(tmp_path / "train", experiment_uid="uid", attempt=2, stopping=stopping, poll_seconds=0.01)
        )

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        assert looked_again.wait(10)
        assert seen == []
        token = start(tmp_path / "train", A, attempt=2)
        waiting.join(10)
        assert [run.token for run in seen if run] == [token]
    finally:
        ended.set()
        waiting.join(10)
