"""Histories, evaluated images, and facts that tasks recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.report.inputs.files import NotRecorded, Unreadable
from maskrcnn_trainer.report.inputs.recorded import (
    EvaluatedImage,
    read_evaluated_images,
    read_history,
    recorded_classes,
)


def test_damaged_lines_of_a_history_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(
        b'{"step": 20, "losses": {"total_loss": 1.5, "x": null}, "learning_rate": "fast"}\n'
        b'{"step": 10, "losses": {"total_loss": 2}, "images_per_second": 4}\n'
        b'{"step": -1, "losses": {}}\n{"losses": {}}\n[]\n\xff\n{"step": 20, "metrics": {"AP": 0.5, "AR": NaN}}\n{"ste'
    )
    found = read_history(tmp_path)
    assert [(one.step, dict(one.losses)) for one in found.windows] == [
        (10, {"total_loss": 2.0}),
        (20, {"total_loss": 1.5}),
    ]
    assert (found.windows[0].images_per_second, found.windows[1].learning_rate) == (4.0, None)
    assert found.evaluations == {20: {"AP": 0.5}}


def test_history_without_any_file_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(NotRecorded, match=r"history\.jsonl"):
        read_history(tmp_path)


def test_older_release_has_its_checkpoints_in_evaluations_json(tmp_path: Path) -> None:
    (tmp_path / "evaluations.json").write_text('{"500": {"AP": 0.5, "checkpoint": "ab"}, "x": {"AP": 1}, "100": 3}')
    assert read_history(tmp_path).evaluations == {100: {}, 500: {"AP": 0.5}}


def images(folder: Path, entries: Any) -> Path:
    (folder / "images.json").write_text(json.dumps({"version": 1, "evaluatedOn": "ab", "images": entries}))
    return folder


def test_evaluated_images_keep_their_order_and_places(tmp_path: Path) -> None:
    entries = [{"id": 9, "file": "/a/val", "offset": 12}, {"id": "x"}, {"id": 1, "file": "a\0b", "offset": 3}]
    found = read_evaluated_images(images(tmp_path, entries))
    assert found.identity == "ab"
    assert found.images == (EvaluatedImage(9, "/a/val", 12), EvaluatedImage("x"), EvaluatedImage(1))


@pytest.mark.parametrize("entries", [None, [], {}, [5], [{"id": None}], [{"id": 1}, {"id": [1]}], [{"id": True}]])
def test_images_without_ids_are_refused(tmp_path: Path, entries: Any) -> None:
    with pytest.raises(Unreadable, match="list of images"):
        read_evaluated_images(images(tmp_path, entries))


def test_classes_without_counts_are_not_recorded() -> None:
    assert recorded_classes({}) == recorded_classes({"classes": [{"id": 1}]}) == recorded_classes({"classes": 5}) == ()
    (found,) = recorded_classes({"classes": [{"id": 1, "objects": 3, "small": -1}]})
    assert (found.name, found.objects, found.small) == ("1", 3, None)
