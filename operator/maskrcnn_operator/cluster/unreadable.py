"""Status of an experiment that the API server accepted but that the operator cannot read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from maskrcnn_operator.api.manifest import details_problem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ExperimentStatus
from maskrcnn_operator.cluster.cache import ExperimentEntry
from maskrcnn_operator.core.conditions import conditions, ours
from maskrcnn_operator.core.notice import Notice, notice, raw_conditions, with_notice
from maskrcnn_operator.core.summary import invalid


def report_on_unreadable(
    entry: ExperimentEntry, now: datetime, *, nothing_runs: bool = False
) -> dict[str, Any] | Notice | None:
    """Return what to write for an experiment that cannot be read; None if it is written already.

    While the experiment is to be suspended and nothing of it runs, the condition Suspended is True in addition: without
    it, the API server accepts no correction of the workspace, the key, and the queue.

    Args:
        entry: the experiment.
        now: aware.
        nothing_runs: whether all of its known Jobs and pods have ended.

    Returns:
        The whole status if only the spec cannot be read. A notice if the status cannot be read or is unknown: its steps
        have results that another release wrote, so only conditions may be changed.
    """
    raw = entry.raw or {}
    if "status" not in raw:
        message = "; ".join(map(str, entry.problems))
        return None if entry.reported else notice(Reason.INVALID_SPEC, message, stalled=True)
    stored = raw.get("status")
    now = now.replace(microsecond=0)
    try:
        old = ExperimentStatus.model_validate_json(json.dumps(stored if isinstance(stored, Mapping) else {}))
    except ValidationError as error:
        unreadable = _of_status(error)
        before = raw_conditions(raw)
        return None if with_notice(before, unreadable, entry.generation, now) == before else unreadable
    ended = nothing_runs and not any(step.state in LIVE_STATES for step in old.steps)
    verdict = invalid(entry.problems, suspended=_is_to_be_suspended(raw) and ended)
    written = conditions(verdict, old.conditions, entry.generation, now)
    new = old.model_copy(update={"observed_generation": entry.generation, "conditions": written})
    same = new == old.model_copy(update={"conditions": ours(old.conditions)})
    return None if same else new.to_json()


def _is_to_be_suspended(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("spec", {}).get("suspend"))


def _of_status(error: ValidationError) -> Notice:
    problems = "; ".join(str(details_problem(details, "status")) for details in error.errors(include_url=False))
    message = (
        f"This release of the operator cannot read the status; it changes neither the status nor running steps: "
        f"{problems}"
    )
    return notice(Reason.STATUS_UNREADABLE, message, stalled=True)
