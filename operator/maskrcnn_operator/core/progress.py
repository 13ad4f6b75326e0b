"""Progress and newest checkpoint of a running step, from its reports, its run, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from maskrcnn_operator.api.status import LIVE_STATES, Progress, StepStatus, UnpublishedStep
from maskrcnn_operator.api.text import clean
from maskrcnn_operator.core.result import metrics_of, whole_number
from maskrcnn_operator.core.runs import Run
from maskrcnn_trainer.shared.messages import PostedKey, StatusKey
from maskrcnn_trainer.shared.text import DURATION

ETA_LENGTH = 40
LONGEST_WAIT_SECONDS = 366 * 24 * 3600
"""Maximum time for which a checkpoint is shown as waiting; a record may state any number."""
_WAIT_TOLERANCE = timedelta(seconds=60)
"""Difference between two records about the same wait: a post takes seconds, and its clock another time than ours."""


def progress_of(step: str, record: Mapping[str, Any], before: Progress | None, now: datetime) -> Progress | None:
    """Return the progress after one more record.

    Metrics of earlier records stay until a record has new values for them. Invalid values of a record are ignored, and
    so is a record without a step and metrics.
    """
    done, total = whole_number(record.get(StatusKey.STEP)), whole_number(record.get(StatusKey.TOTAL_STEPS))
    metrics = {**_numbers(record.get(StatusKey.GRAPHICAL)), **_numbers(record.get(StatusKey.KPI))}
    old = before if before is not None and before.step == step else Progress(step=step)
    if done is None and not metrics:
        return before
    eta = clean(record.get(StatusKey.ETA), ETA_LENGTH) or old.eta
    done, total = (old.iteration if done is None else done), (old.total_iterations if total is None else total)
    checkpoint = whole_number(record.get(StatusKey.CHECKPOINT_STEP))
    merged = {metric.name: metric for metric in (*old.metrics, *metrics_of(metrics))}
    return Progress(
        step=step,
        iteration=done,
        total_iterations=total,
        percentage=min(100, 100 * done // total) if done is not None and total else None,
        checkpoint_step=old.checkpoint_step if checkpoint is None else checkpoint,
        estimated_remaining_seconds=_seconds(eta),
        eta=eta,
        unpublished=old.unpublished,
        metrics=tuple(merged.values()),
        last_updated_time=now,
    )


def reported_wait(
    step: str, attempt: int, record: Mapping[str, Any], before: UnpublishedStep | None, now: datetime
) -> UnpublishedStep | None:
    """Return the wait of a checkpoint that a record states; None if it states none.

    Args:
        step: name of the step.
        attempt: its attempt that sent the record.
        record: of that attempt.
        before: result for the record before. The time of its start stays as long as the wait may be the same.
        now: aware.
    """
    seconds = whole_number(record.get(PostedKey.UNPUBLISHED_SECONDS))
    if seconds is None:
        return None
    since = now - timedelta(seconds=min(seconds, LONGEST_WAIT_SECONDS))
    if before is not None and abs(since - before.since) <= _WAIT_TOLERANCE:
        since = before.since
    published = whole_number(record.get(StatusKey.CHECKPOINT_STEP))
    return UnpublishedStep(step=step, attempt=attempt, since=since, checkpoint_step=published)


def _numbers(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _seconds(eta: str | None) -> int | None:
    found = DURATION.fullmatch(eta or "")
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def with_newest_checkpoint(step: StepStatus, run: Run | None, reported: Progress | None) -> StepStatus:
    """Return the step with the newest known checkpoint; a newer one resets the counts of restarts and disruptions.

    The checkpoint of a report is copied because reports are removed when the step ends.
    """
    if step.state not in LIVE_STATES:
        reported = None
    wait = reported.wait_of(step) if reported is not None else None
    seen = [
        run.checkpoint_step if run else None,
        run.result.checkpoint_step if run and run.result else None,
        reported.checkpoint_step if reported is not None and reported.step == step.name else None,
        wait.checkpoint_step if wait is not None else None,
    ]
    newest = max((value for value in seen if value is not None), default=None)
    if newest is None or newest <= (step.checkpoint_step or 0):
        return step
    return step.model_copy(update={"checkpoint_step": newest, "restarts_since_checkpoint": 0, "disruptions": 0})
