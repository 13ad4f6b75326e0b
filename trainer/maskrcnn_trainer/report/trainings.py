"""Curves of a training from its history."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskrcnn_trainer.report.content import Curve, TrainingHistory
from maskrcnn_trainer.report.loss_fall import loss_fall
from maskrcnn_trainer.results.history import History, HistoryWindow

CHECKPOINT_METRICS = {"mask_AP": "mask AP", "AP": "box AP"}
TOTAL_LOSS = ("total_loss", "loss")
"""Names of the total loss in ``history.jsonl`` and, of earlier releases, in ``status.json``."""

MOST_LOSSES = 30


def training_history(step: str, history: History) -> TrainingHistory:
    """Return the curves of a training: the total loss first, then its parts in their recorded order.

    Args:
        step: name of its step.
        history: what the training recorded.
    """
    names = list(dict.fromkeys(name for window in history.windows for name in window.losses))
    ordered = [name for name in names if name in TOTAL_LOSS] + [name for name in names if name not in TOTAL_LOSS]
    losses = tuple(
        _curve(name, history.windows, lambda window, name=name: window.losses.get(name))  # type: ignore[misc]
        for name in ordered[:MOST_LOSSES]
    )
    return TrainingHistory(
        step,
        losses=losses,
        learning_rate=_if_any(_curve("learning rate", history.windows, lambda window: window.learning_rate)),
        images_per_second=_if_any(_curve("images/s", history.windows, lambda window: window.images_per_second)),
        evaluations=tuple(
            curve
            for name, title in CHECKPOINT_METRICS.items()
            if (curve := _if_any(_checkpoints(name, title, history))) is not None
        ),
        loss_fall=next((loss_fall(curve) for curve in losses if curve.name in TOTAL_LOSS), None),
    )


def _curve(name: str, windows: Sequence[HistoryWindow], value: Callable[[HistoryWindow], float | None]) -> Curve:
    return Curve(name, tuple(float(window.step) for window in windows), tuple(value(window) for window in windows))


def _checkpoints(name: str, title: str, history: History) -> Curve:
    values = [one.metrics.get(name) for one in history.evaluations]
    return Curve(
        title,
        tuple(float(one.step) for one in history.evaluations),
        tuple(None if value is None or value < 0 else value for value in values),  # -1: no objects
    )


def _if_any(curve: Curve) -> Curve | None:
    return curve if any(value is not None for value in curve.y) else None
