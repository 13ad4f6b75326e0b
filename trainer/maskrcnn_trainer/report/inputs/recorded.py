"""Records of tasks for the report: ``history.jsonl`` of train, ``images.json`` of evaluate, ``facts`` of a result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn_trainer.report.inputs.files import (
    MIB,
    NotRecorded,
    Unreadable,
    number,
    numbers,
    read_bytes,
    read_object,
    text,
    whole,
)
from maskrcnn_trainer.shared.messages import STATUS_FILE, StatusKey
from maskrcnn_trainer.spec.task_table import EVALUATIONS_FILE

HISTORY_FILE, IMAGES_FILE = "history.jsonl", "images.json"
LARGEST_HISTORY, LARGEST_STATUS, LARGEST_EVALUATIONS = 8 * MIB, 64 * MIB, 64 * MIB
LARGEST_IMAGES = 512 * MIB
MOST_CLASSES = 10_000

RATES = ("learning_rate", "images_per_second")
TOTAL_LOSS = ("loss", "total_loss")


@dataclass(frozen=True)
class Window:
    """Means over the steps since the window before.

    Attributes:
        step: last step of the window.
        losses: by name.
        learning_rate: at that step.
        images_per_second: of all processes together.
    """

    step: int
    losses: Mapping[str, float]
    learning_rate: float | None = None
    images_per_second: float | None = None


@dataclass(frozen=True)
class History:
    """Course of one training, each part by ascending step.

    Attributes:
        windows: losses and rates.
        evaluations: metrics of checkpoints by step.
    """

    windows: tuple[Window, ...] = ()
    evaluations: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluatedImage:
    """Image that an evaluation saw: its id, and file and first payload byte of its record (None if unknown)."""

    image_id: int | str
    file: str | None = None
    offset: int | None = None


@dataclass(frozen=True)
class EvaluatedOn:
    """Images of an evaluation in the order of their records, and the identity of the validation data."""

    images: tuple[EvaluatedImage, ...]
    identity: str | None = None


@dataclass(frozen=True)
class RecordedClass:
    """Objects of a class that a conversion wrote, by COCO's areas, without crowds."""

    category: int
    name: str
    objects: int
    small: int | None = None
    medium: int | None = None
    large: int | None = None


def read_history(directory: Path) -> History:
    """Return the course of a training, from the files of an earlier release if it has no ``history.jsonl``.

    Raises:
        NotRecorded: no file has anything.
        Unreadable: ``history.jsonl`` can't be read.
    """
    try:
        lines = _lines(read_bytes(directory / HISTORY_FILE, LARGEST_HISTORY))
    except NotRecorded as absent:
        history = _history_of_status(directory)
        if not history.windows and not history.evaluations:
            raise absent from None
        return history
    windows: dict[int, Window] = {}
    evaluations: dict[int, Mapping[str, float]] = {}
    for line in lines:
        step = whole(line.get("step"))
        if step is None:
            continue
        if isinstance(line.get("metrics"), dict):
            evaluations[step] = numbers(line["metrics"])
        elif isinstance(line.get("losses"), dict):
            rate, speed = (number(line.get(name)) for name in RATES)
            windows[step] = Window(step, numbers(line["losses"]), rate, speed)
    return _ascending(windows, evaluations)


def read_evaluated_images(directory: Path) -> EvaluatedOn:
    """Return the images that an evaluation saw.

    Raises:
        NotRecorded: an earlier release evaluated them.
        Unreadable: ``images.json`` can't be read, or has an invalid entry.
    """
    content = read_object(directory / IMAGES_FILE, LARGEST_IMAGES)
    entries = content.get("images")
    images = [_evaluated_image(entry) for entry in entries] if isinstance(entries, list) else []
    if not images or None in images:
        raise Unreadable(f"{directory.name}/{IMAGES_FILE} doesn't have a list of images with their ids.")
    return EvaluatedOn(tuple(one for one in images if one is not None), text(content.get("evaluatedOn")))


def recorded_classes(facts: Mapping[str, Any]) -> tuple[RecordedClass, ...]:
    """Return the objects by class of a conversion, in the order of its facts; empty if they aren't recorded."""
    entries = facts.get("classes")
    found = [_recorded_class(entry) for entry in entries[:MOST_CLASSES]] if isinstance(entries, list) else []
    return () if None in found else tuple(one for one in found if one is not None)


def _evaluated_image(entry: Any) -> EvaluatedImage | None:
    if not isinstance(entry, dict):
        return None
    image_id, file, offset = entry.get("id"), text(entry.get("file")), whole(entry.get("offset"))
    if isinstance(image_id, bool) or not isinstance(image_id, int | str):
        return None
    return EvaluatedImage(image_id, file, offset) if file and "\0" not in file else EvaluatedImage(image_id)


def _recorded_class(entry: Any) -> RecordedClass | None:
    if not isinstance(entry, dict):
        return None
    category, name, objects = whole(entry.get("id")), text(entry.get("name")), whole(entry.get("objects"))
    if category is None or objects is None:
        return None
    small, medium, large = (whole(entry.get(size)) for size in ("small", "medium", "large"))
    return RecordedClass(category, name or str(category), objects, small, medium, large)


def _history_of_status(directory: Path) -> History:
    """Return what an earlier release has in ``status.json`` and ``evaluations.json``."""
    windows: dict[int, Window] = {}
    evaluations: dict[int, Mapping[str, float]] = {}
    for line in _lines(_bytes_or_nothing(directory / STATUS_FILE, LARGEST_STATUS)):
        step, values = whole(line.get(StatusKey.STEP)), numbers(line.get(StatusKey.GRAPHICAL))
        if step is None:
            continue
        losses = {name: value for name, value in values.items() if name.endswith("loss")}
        if losses:
            # a resumed training repeats the steps after its checkpoint
            windows = {earlier: window for earlier, window in windows.items() if earlier < step}
            windows[step] = Window(step, losses, *(values.get(name) for name in RATES))
        if metrics := numbers(line.get(StatusKey.KPI)):
            evaluations[step] = metrics
    try:
        content = read_object(directory / EVALUATIONS_FILE, LARGEST_EVALUATIONS)
    except Unreadable:
        content = {}
    for name, entry in content.items():
        if name.isascii() and name.isdecimal() and len(name) < 19:
            evaluations[int(name)] = numbers(entry)
    return _ascending(windows, evaluations)


def _ascending(windows: Mapping[int, Window], evaluations: Mapping[int, Mapping[str, float]]) -> History:
    return History(
        tuple(windows[step] for step in sorted(windows)), {step: evaluations[step] for step in sorted(evaluations)}
    )


def _bytes_or_nothing(path: Path, limit: int) -> bytes:
    try:
        return read_bytes(path, limit)
    except Unreadable:
        return b""


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of the lines of a file; a damaged line, such as the last of a killed run, is skipped."""
    lines: Sequence[bytes] = content.split(b"\n")
    for line in lines:
        try:
            value = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
