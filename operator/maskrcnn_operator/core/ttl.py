"""ttlSecondsAfterFinished: when the experiment itself is to be deleted."""

from __future__ import annotations

from datetime import datetime, timedelta

from maskrcnn_operator.api.experiment import ExperimentBody, MaskRCNNExperiment
from maskrcnn_operator.api.status import ConditionType, ExperimentStatus


def deleted_at(spec: ExperimentBody, status: ExperimentStatus) -> datetime | None:
    """When the experiment's time is over; None while Succeeded is neither True nor False, and without a limit."""
    succeeded = status.condition(ConditionType.SUCCEEDED)
    if spec.ttl_seconds_after_finished is None or status.completion_time is None:
        return None
    if succeeded is None or succeeded.status == "Unknown":
        return None
    return status.completion_time + timedelta(seconds=spec.ttl_seconds_after_finished)


def is_still_to_be_deleted(decided: MaskRCNNExperiment, live: MaskRCNNExperiment, now: datetime) -> bool:
    """Return whether an experiment is the one whose deletion was decided, its spec unchanged and its time over."""
    same = (live.metadata.uid, live.metadata.generation) == (decided.metadata.uid, decided.metadata.generation)
    end = deleted_at(live.spec, live.status)
    return same and end is not None and end <= now
