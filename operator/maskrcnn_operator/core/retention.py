"""How long ended runs are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.runs import Run, RunKey


def runs_to_forget(
    runs: Sequence[Run], steps: Mapping[str, StepStatus], now: datetime, settings: Settings
) -> tuple[tuple[RunKey, ...], datetime | None]:
    """Ended runs that may be removed, and when the next one may.

    An older attempt's goes when a newer one starts, a step's last one ``keep_last_run`` after it ended. One of a step
    that left the spec, or that still holds resources, goes at once.
    """
    found: list[RunKey] = []
    later: list[datetime] = []
    for run in runs:
        if run.live or run.deleted:
            continue
        step = steps.get(run.step)
        until = (run.ended or now) + settings.keep_last_run
        if step is None or run.attempt < step.attempt or run.unfinished or until <= now:
            found.append(run.key)
        else:
            later.append(until)
    return tuple(found), min(later, default=None)
