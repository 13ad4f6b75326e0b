"""Course of a training from ``history.jsonl``, or from the status.json and evaluations.json of earlier releases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskrcnn_trainer.report.inputs.files import MIB, Unreadable, numbers, read_bytes, read_object, whole
from maskrcnn_trainer.results.history import History, HistoryEvaluation, HistoryWindow, read_history
from maskrcnn_trainer.shared.messages import STATUS_FILE, StatusKey
from maskrcnn_trainer.spec.task_table import EVALUATIONS_FILE, HISTORY_FILE

LARGEST_STATUS, LARGEST_EVALUATIONS = 64 * MIB, 64 * MIB
RATES = ("learning_rate", "images_per_second")


def history_of(directory: Path, notes: list[str]) -> History | None:
    """Return the course of the training in a results directory; None if there is none.

    Args:
        directory: of the training.
        notes: sentences about what can't be read are added.
    """
    found = read_history(directory)
    if isinstance(found, History):
        if found.damaged:
            lines = "a damaged line" if found.damaged == 1 else f"{found.damaged:,} damaged lines"
            notes.append(f"{directory.name}/{HISTORY_FILE} has {lines}, whose values are left out.")
        return found
    earlier = _history_of_status(directory)
    if not earlier.windows and not earlier.evaluations:
        notes.append(f"{directory.name}/{found.reason}.")
        return None
    if os.path.lexists(directory / HISTORY_FILE):
        notes.append(f"{directory.name}/{found.reason}; the curves are those of {STATUS_FILE} and {EVALUATIONS_FILE}.")
    return earlier


def _history_of_status(directory: Path) -> History:
    windows: dict[int, HistoryWindow] = {}
    evaluations: dict[int, HistoryEvaluation] = {}
    for line in _lines(directory / STATUS_FILE):
        step, values = whole(line.get(StatusKey.STEP)), numbers(line.get(StatusKey.GRAPHICAL))
        if step is None:
            continue
        losses = {name: value for name, value in values.items() if name.endswith("loss")}
        if losses:
            # a resumed training repeats the steps after its checkpoint
            windows = {earlier: window for earlier, window in windows.items() if earlier < step}
            windows[step] = HistoryWindow(step, losses, *(values.get(name) for name in RATES))
        if metrics := numbers(line.get(StatusKey.KPI)):
            evaluations[step] = HistoryEvaluation(step, metrics)
    try:
        content = read_object(directory / EVALUATIONS_FILE, LARGEST_EVALUATIONS)
    except Unreadable:
        content = {}
    for name, entry in content.items():
        if name.isascii() and name.isdecimal() and len(name) < 19 and (metrics := numbers(entry)):
            evaluations[int(name)] = HistoryEvaluation(int(name), metrics)
    return History(
        tuple(windows[step] for step in sorted(windows)), tuple(evaluations[step] for step in sorted(evaluations))
    )


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of the lines of a file; a damaged line, such as the last of a killed run, is skipped."""
    try:
        content = read_bytes(file, LARGEST_STATUS)
    except Unreadable:
        return
    for line in content.split(b"\n"):
        try:
            value = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
