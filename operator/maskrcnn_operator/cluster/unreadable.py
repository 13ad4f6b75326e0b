"""An experiment that the API server took and that we cannot read: told in its status, like every other problem."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.cluster.cache import Entry
from maskrcnn_operator.core.conditions import conditions, invalid


def status_of_unreadable(entry: Entry, now: datetime) -> dict[str, Any] | None:
    """The status that says what is wrong, what stood there before kept; None where it says so already."""
    raw = (entry.raw or {}).get("status") or {}
    try:
        old = ExperimentStatus.model_validate_json(json.dumps(raw))
    except ValidationError:
        old = ExperimentStatus()
    verdict = invalid(entry.problems)
    told = conditions(verdict, old.conditions, entry.generation, now.replace(microsecond=0))
    new = old.model_copy(update={"observed_generation": entry.generation, "conditions": told})
    return None if new == old else new.to_json()
