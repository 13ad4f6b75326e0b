"""Course of a training, also of an earlier release."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.report.inputs.history import history_of
from maskrcnn_trainer.results.history import History

STATUS = b"""{"step": 20, "graphical": {"loss": 1.5, "learning_rate": 0.1, "images_per_second": 4}, "kpi": {}}
{"step": 40, "graphical": {"loss": 1.2, "mask_loss": NaN}}
{"step": null, "graphical": {"loss": 7}}
{"step": 40, "graphical": {}, "kpi": {"AP": 0.25}}
[]
\xff
{"step": 30, "graphical": {"loss": 1.3}}
{"step": 5"""


def test_recorded_history_comes_first(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(STATUS)
    (tmp_path / "history.jsonl").write_text('{"step": 10, "losses": {"total_loss": 3}}\n')
    found = history_of(tmp_path, [])
    assert isinstance(found, History)
    assert [window.step for window in found.windows] == [10]


def test_earlier_release_has_its_losses_in_status_json(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(STATUS)
    found = history_of(tmp_path, [])
    assert isinstance(found, History)
    # the training was resumed before step 30
    assert [(window.step, dict(window.losses)) for window in found.windows] == [
        (20, {"loss": 1.5}),
        (30, {"loss": 1.3}),
    ]
    assert (found.windows[0].learning_rate, found.windows[0].images_per_second) == (0.1, 4.0)
    assert [(one.step, dict(one.metrics)) for one in found.evaluations] == [(40, {"AP": 0.25})]


def test_earlier_release_has_its_checkpoints_in_evaluations_json(tmp_path: Path) -> None:
    content = '{"500": {"AP": 0.5, "checkpoint": "ab"}, "x": {"AP": 1}, "-1": {"AP": 1}, "100": 3}'
    (tmp_path / "evaluations.json").write_text(content)
    found = history_of(tmp_path, [])
    assert isinstance(found, History)
    assert [(one.step, dict(one.metrics)) for one in found.evaluations] == [(500, {"AP": 0.5})]


def test_training_without_any_file_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("[" * 100_000)
    notes: list[str] = []
    assert history_of(tmp_path, notes) is None
    (note,) = notes
    assert note.startswith(f"{tmp_path.name}/history.jsonl is absent")


@pytest.mark.parametrize(("damage", "lines"), [(b'{"st', "a damaged line"), (b"[]\n{}\n", "2 damaged lines")])
def test_damaged_lines_of_a_history_are_noted(tmp_path: Path, damage: bytes, lines: str) -> None:
    (tmp_path / "history.jsonl").write_bytes(b'{"step": 10, "losses": {"total_loss": 3}}\n' + damage)
    notes: list[str] = []
    assert history_of(tmp_path, notes) is not None
    assert notes == [f"{tmp_path.name}/history.jsonl has {lines}, whose values are left out."]


def test_other_source_is_noted_where_the_history_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(STATUS)
    notes: list[str] = []
    assert history_of(tmp_path, notes) is not None
    assert notes == []
    (tmp_path / "history.jsonl").write_bytes(b"\xff")
    assert history_of(tmp_path, notes) is not None
    (note,) = notes
    assert note == (
        f"{tmp_path.name}/history.jsonl has no valid line; the curves are those of status.json and evaluations.json."
    )
