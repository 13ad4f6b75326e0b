"""Choice of the checkpoints to keep, of the best one, and of the one to resume."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput, TryAgain, WorkspaceFull
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.task.scratch import ScratchLimit, bytes_below
from maskrcnn_trainer.training.checkpoint import CheckpointStore, steps_to_remove
from maskrcnn_trainer.training.evaluations import best_step


def model(step: int) -> ModelFile:
    return ModelFile(
        architecture={},
        experiment={},
        class_map={},
        step=step,
        variables={"w": np.full(3, step, np.float32)},
        optimizer={"w": np.zeros(3, np.float32)},
    )


def store(directory: Path, *, key: str | None = None, keep: int = 2) -> CheckpointStore:
    return CheckpointStore(directory, key=key, keep=keep, guard=lambda: None)


@pytest.mark.parametrize(
    ("steps", "keep", "best", "removed"),
    [
        ([10, 20, 30], 2, None, [10]),
        ([10, 20, 30, 40], 2, 10, [20]),
        ([10, 20, 30, 40], 2, 40, [10, 20]),
        ([30, 10, 20], 0, None, []),
        ([10], 5, 10, []),
    ],
)
def test_what_is_removed(steps: list[int], keep: int, best: int | None, removed: list[int]) -> None:
    assert steps_to_remove(steps, keep=keep, best=best) == removed


def test_the_best_is_by_mask_ap_and_the_earlier_of_equals() -> None:
    evaluations = {10: {"mask_AP": 0.3}, 20: {"mask_AP": 0.5}, 30: {"mask_AP": 0.5}, 40: {"AP": 0.9}}
    assert best_step(evaluations) == 20
    assert best_step({10: {"mask_AP": -1.0}, 20: {"mask_AP": float("nan")}}) is None


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for step, quality in ((10, 0.1), (20, 0.6), (30, 0.2), (40, 0.3), (50, 0.25)):
        kept.write(model(step))
        kept.record_evaluation(step, {"mask_AP": quality})
    assert kept.steps() == [20, 40, 50]
    assert kept.best() == 20
    again = store(tmp_path)
    assert again.metrics(20) == {"mask_AP": 0.6}
    newest = again.newest()
    assert newest is not None
    assert newest.step == 50


def test_other_files_are_not_checkpoints(tmp_path: Path) -> None:
    for name in ("model.tlt", "model.step-x.tlt", ".model.step-5.tlt.12.partial", "model.step-7.tlt.bak"):
        (tmp_path / name).write_bytes(b"")
    assert store(tmp_path).steps() == []
    assert store(tmp_path).newest() is None


def test_damaged_checkpoint_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = store(tmp_path)
    kept.write(model(10))
    kept.write(model(20))
    content = kept.path(20).read_bytes()
    kept.path(20).write_bytes(content[: len(content) // 2])
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10
    assert "model.step-20.tlt" in caplog.text


def test_checkpoint_with_weights_that_are_not_finite_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path)
    kept.write(model(10))
    kept.write(dataclasses.replace(model(20), variables={"w": np.full(3, np.nan, np.float32)}))
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10
    assert "model.step-20.tlt: w has values that are NaN or infinite" in caplog.text


def test_a_damaged_encrypted_checkpoint_is_passed_over_when_the_key_opens_one_before(tmp_path: Path) -> None:
    kept = store(tmp_path, key="right")
    kept.write(model(10))
    kept.write(model(20))
    content = kept.path(20).read_bytes()
    kept.path(20).write_bytes(content[: len(content) // 2])
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10


def test_plain_checkpoint_does_not_replace_a_later_one_with_another_key(tmp_path: Path) -> None:
    store(tmp_path).write(model(10))
    store(tmp_path, key="right").write(model(20))
    with pytest.raises(InvalidInput, match="does not open"):
        store(tmp_path, key="wrong").newest()


def test_wrong_key_is_reported_once_for_any_number_of_checkpoints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path, key="right")
    kept.write(model(10))
    kept.write(model(20))
    with pytest.raises(InvalidInput, match=r"model\.step-20\.tlt: the key does not open .* another key$"):
        store(tmp_path, key="wrong").newest()
    assert caplog.text == ""


def test_checkpoint_of_another_key_is_not_replaced_by_training_again_from_one_before(tmp_path: Path) -> None:
    store(tmp_path, key="first").write(model(10))
    store(tmp_path, key="second").write(model(20))
    with pytest.raises(InvalidInput, match=r"model\.step-20\.tlt: the key does not open"):
        store(tmp_path, key="first").newest()


def test_checkpoint_damaged_at_its_start_is_passed_over_where_the_key_opens_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path, key="right")
    kept.write(model(10))
    kept.write(model(20))
    content = bytearray(kept.path(20).read_bytes())
    content[25] ^= 1
    kept.path(20).write_bytes(content)
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10
    assert caplog.messages[0].endswith("or the file is damaged; trying the checkpoint before it")
    caplog.clear()
    kept.path(10).write_bytes(content)
    with pytest.raises(InvalidInput, match=r"model\.step-20\.tlt: .* or the file is damaged$"):
        kept.newest()
    assert caplog.text == ""


def test_refusal_where_no_checkpoint_opens_has_the_last_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path)
    kept.path(10).write_bytes(b"oldest")
    kept.path(20).write_bytes(b"newest")
    with pytest.raises(InvalidInput, match=r"model\.step-10\.tlt: not a model file, or damaged: .*\(2 damaged"):
        kept.newest(refuse_unreadable=True)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{kept.path(20)}: ")
    assert caplog.messages[0].endswith("; trying the checkpoint before it")


@pytest.mark.parametrize("size", [60, 200])
def test_a_damaged_encrypted_checkpoint_falls_back_to_a_plain_one_before(tmp_path: Path, size: int) -> None:
    store(tmp_path).write(model(10))
    kept = store(tmp_path, key="right")
    kept.write(model(20))
    kept.path(20).write_bytes(kept.path(20).read_bytes()[:size])
    newest = kept.newest(refuse_unreadable=True)
    assert newest is not None
    assert newest.step == 10


def test_damage_of_the_only_encrypted_checkpoint_is_not_reported_as_wrong_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path, key="right")
    kept.write(model(20))
    kept.path(20).write_bytes(kept.path(20).read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=r"model\.step-20\.tlt: damaged: .* give another results directory") as error:
        kept.newest(refuse_unreadable=True)
    assert error.value.reason == "ForeignFiles"
    caplog.clear()
    assert kept.newest() is None
    (message,) = caplog.messages
    assert message.startswith(
        f"{tmp_path}: no checkpoint can be opened (1 damaged): the training restarts from step 0. The oldest"
    )


def test_a_checkpoint_that_may_not_be_read_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path)
    kept.write(model(10))
    kept.write(model(20))
    opened = os.open

    def fail_with(number: int) -> Callable[..., int]:
        def open_file(path: Any, *arguments: Any, **options: Any) -> int:
            if Path(path).name == "model.step-20.tlt":
                raise OSError(number, os.strerror(number))
            return opened(path, *arguments, **options)

        return open_file

    monkeypatch.setattr(os, "open", fail_with(errno.EACCES))
    with pytest.raises(InvalidInput, match=r"model\.step-20\.tlt: cannot be read: Permission denied"):
        kept.newest()
    monkeypatch.setattr(os, "open", fail_with(errno.ESTALE))
    with pytest.raises(TryAgain, match=r"model\.step-20\.tlt: cannot be read: Stale file handle"):
        kept.newest()
    monkeypatch.setattr(os, "open", fail_with(errno.EIO))
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10


@pytest.mark.parametrize("state", [{"position": -5}, {"ranks": "many"}, {"position": 1.5}, {"records": None}])
def test_checkpoint_with_an_invalid_state_is_skipped(tmp_path: Path, state: dict[str, Any]) -> None:
    kept = store(tmp_path)
    kept.write(model(10))
    kept.write(dataclasses.replace(model(20), state=state))
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10


def test_a_pipe_in_the_place_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    kept = store(tmp_path)
    os.mkfifo(kept.path(10))
    with pytest.raises(InvalidInput, match="it is a pipe"):
        kept.newest()


def test_a_checkpoint_of_a_newer_release_is_not_replaced(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(model(10))
    kept.write(model(20))
    with zipfile.ZipFile(kept.path(20)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["model.json"] = json.dumps({**json.loads(parts["model.json"]), "version": 2}).encode()
    with zipfile.ZipFile(kept.path(20), "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(InvalidInput, match="model file format 2 is not supported; this release reads format 1"):
        kept.newest()


def test_file_named_like_a_checkpoint_must_hold_that_step_of_a_training(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(model(10))
    kept.path(20).write_bytes(kept.path(10).read_bytes())
    write_model_file(kept.path(30), dataclasses.replace(model(30), optimizer={}))
    for name in ("model.step-040.tlt", "model.step-\N{ARABIC-INDIC DIGIT FIVE}.tlt"):
        (tmp_path / name).write_bytes(b"")
    assert kept.steps() == [10, 20, 30]
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 10


def test_a_damaged_checkpoint_of_a_later_step_does_not_replace_those_written_since(tmp_path: Path) -> None:
    kept = store(tmp_path, keep=1)
    kept.write(model(10))
    kept.record_evaluation(10, {"mask_AP": 0.5})
    kept.path(40).write_bytes(b"damaged")
    kept.write(model(20))
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 20
    assert kept.steps() == [10, 20, 40]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"x": {}}',
        '{"10": 1}',
        '{"10": {"mask_AP": "x"}}',
        '{"' + "9" * 5000 + '": {"mask_AP": 0.1}}',
        '{"10": {"mask_AP": 0.5, "checkpoint": 5, "evaluatedOn": []}}',
        "[" * 100_000,
        "{",
    ],
    ids=range(8),
)
def test_damaged_evaluations_do_not_end_a_training(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluations.json").write_text(content)
    kept = store(tmp_path)
    kept.write(model(10))
    kept.record_evaluation(10, {"mask_AP": 0.5})
    assert store(tmp_path).metrics(10) == {"mask_AP": 0.5}


def test_wrong_key_is_not_reported_as_damage(tmp_path: Path) -> None:
    store(tmp_path, key="right").write(model(10))
    with pytest.raises(InvalidInput, match="does not open"):
        store(tmp_path, key="wrong").newest()
    with pytest.raises(InvalidInput, match="encrypted"):
        store(tmp_path).newest()


def test_checkpoints_of_another_program_are_refused_in_an_unclaimed_directory(tmp_path: Path) -> None:
    (tmp_path / "model.step-25000.tlt").write_bytes(b"of TAO Toolkit")
    with pytest.raises(InvalidInput, match=r"model\.step-25000\.tlt: .* would replace or remove them"):
        store(tmp_path).newest(refuse_unreadable=True)
    assert store(tmp_path).newest() is None


def test_a_run_that_was_superseded_writes_nothing(tmp_path: Path) -> None:
    def refuse() -> None:
        raise TryAgain("another run owns this")

    refused = CheckpointStore(tmp_path, key=None, keep=1, guard=refuse)
    with pytest.raises(TryAgain):
        refused.write(model(10))
    with pytest.raises(TryAgain):
        refused.record_evaluation(10, {"mask_AP": 0.1})
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_that_would_exceed_the_scratch_limit_is_not_written(tmp_path: Path) -> None:
    store(tmp_path).write(model(10))
    size = bytes_below(tmp_path) + (tmp_path / "model.step-10.tlt").stat().st_size
    limited = [CheckpointStore(tmp_path, key=None, keep=5, guard=lambda: None, scratch=ScratchLimit(tmp_path, limit))
               for limit in (size - 1, size)]  # fmt: skip
    with pytest.raises(WorkspaceFull):
        limited[0].write(model(20))
    assert limited[0].steps() == [10]
    limited[1].write(model(20))
    assert limited[1].steps() == [10, 20]


def test_first_checkpoint_is_checked_against_the_scratch_limit(tmp_path: Path) -> None:
    store(tmp_path / "elsewhere").write(model(10))
    size = (tmp_path / "elsewhere" / "model.step-10.tlt").stat().st_size
    directory = tmp_path / "results"
    directory.mkdir()
    limit = ScratchLimit(directory, bytes_below(directory) + size - 1)
    limited = CheckpointStore(directory, key=None, keep=5, guard=lambda: None, scratch=limit)
    with pytest.raises(WorkspaceFull, match=f"the next checkpoint needs {size} bytes"):
        limited.write(model(10))
    assert list(directory.iterdir()) == []
