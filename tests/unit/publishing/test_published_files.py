"""Tests of which files are published, and of what they say about the step."""

from __future__ import annotations

import json

import pytest

from maskrcnn_trainer.publishing.published_files import (
    best_checkpoint,
    checkpoints_in,
    grows,
    is_namable,
    is_published,
    is_result_of,
    newest_step,
)
from maskrcnn_trainer.training import evaluations

PUBLISHED = [
    "model.step-20.tlt",
    "evaluations.json",
    "history.jsonl",
    "status.json",
    "result.json",
    "inputs.json.gz",
    "report.html",
    "report.json",
    "train-00003-of-00256.tfrecord",
    "images_annotated/a/b.jpg",
    "labels/a/b.json",
    "logs/attempt-3.node-0.log",
    "logs/attempt-3.log",
    "logs/attempt-3.node-0.log.1",
    "logs/tensorboard/events.out.tfevents.1.train.1.0.v2",
]


@pytest.mark.parametrize("path", PUBLISHED)
def test_file_of_a_task_is_published(path: str) -> None:
    assert is_published(path)


@pytest.mark.parametrize(
    "path",
    [
        "run.json",
        "termination.json",
        ".train.lock",
        ".model.step-20.tlt.123.partial",
        "labels/.a.json.123.partial",
        "logs/.attempt-1.log.123.partial",
        ".train.convert-x1/train-00000-of-00256.tfrecord",
        "notes.txt",
        "logs/notes.txt",
        "model.step-20.tlt/x",
    ],
)
def test_other_file_is_not_published(path: str) -> None:
    assert not is_published(path)


def test_files_that_grow_are_records_and_logs() -> None:
    assert [path for path in PUBLISHED if grows(path)] == [
        "history.jsonl",
        "status.json",
        *(path for path in PUBLISHED if path.startswith("logs/")),
    ]


@pytest.mark.parametrize("path", ["labels/a\nb.json", "labels/a\\b.json", "labels/\udcff.json", f"labels/{'ä' * 128}"])
def test_path_that_a_manifest_refuses_is_not_namable(path: str) -> None:
    assert not is_namable(path)


def test_usual_path_is_namable() -> None:
    assert is_namable("labels/below/ä b.json")


def test_checkpoints_are_in_order_of_their_steps() -> None:
    assert checkpoints_in(["model.step-100.tlt", "model.step-20.tlt", "model.tlt"]) == (
        "model.step-20.tlt",
        "model.step-100.tlt",
    )


@pytest.mark.parametrize(
    ("checkpoints", "step"), [(["model.step-9.tlt", "model.step-100.tlt"], 100), (["model.tlt"], None), ([], None)]
)
def test_newest_step_is_the_highest(checkpoints: list[str], step: int | None) -> None:
    assert newest_step(checkpoints) == step


HASHES = {"model.step-1.tlt": "a", "model.step-2.tlt": "b", "model.step-3.tlt": "c"}


def best(**entries: object) -> str | None:
    content = {name.removeprefix("s"): entry for name, entry in entries.items()}
    return best_checkpoint(json.dumps(content).encode(), HASHES)


def test_best_checkpoint_has_the_highest_mask_ap() -> None:
    assert best(s1={"mask_AP": 0.1}, s2={"mask_AP": 0.3}, s3={"mask_AP": 0.2}) == "model.step-2.tlt"


def test_earliest_of_equal_checkpoints_is_the_best() -> None:
    assert best(s2={"mask_AP": 0.3}, s3={"mask_AP": 0.3}) == "model.step-2.tlt"


def test_evaluation_of_another_file_of_the_step_does_not_count() -> None:
    assert best(s1={"mask_AP": 0.1}, s2={"mask_AP": 0.3, "checkpoint": "other"}) == "model.step-1.tlt"


def test_evaluation_on_other_data_than_the_newest_does_not_count() -> None:
    entries = {"s1": {"mask_AP": 0.9, "evaluatedOn": "old"}, "s2": {"mask_AP": 0.3, "evaluatedOn": "new"}}
    assert best(**entries) == "model.step-2.tlt"


def test_evaluation_of_a_checkpoint_that_does_not_exist_does_not_count() -> None:
    assert best(s1={"mask_AP": 0.1}, s9={"mask_AP": 0.3}) == "model.step-1.tlt"


@pytest.mark.parametrize("value", [-1, float("nan"), "0.5", None, True, 10**400])
def test_metric_without_meaning_is_not_the_best(value: object) -> None:
    assert best(s1={"mask_AP": value}) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"1": 3}', b"\xff", b"[" * 100_000])
def test_damaged_evaluations_name_no_best(content: bytes) -> None:
    assert best_checkpoint(content, HASHES) is None


def test_metric_is_the_one_of_the_training() -> None:
    assert best(s1={evaluations.BEST_BY: 0.1}) == "model.step-1.tlt"


def test_result_of_the_fingerprint_is_complete() -> None:
    assert is_result_of(b'{"code": 0, "fingerprint": "f"}', "f")


@pytest.mark.parametrize(
    "content", [b'{"code": 1, "fingerprint": "f"}', b'{"code": 0, "fingerprint": "g"}', b"{", b"3"]
)
def test_other_result_is_not_complete(content: bytes) -> None:
    assert not is_result_of(content, "f")
