"""The last word of a task: its termination message, or the result.json of a finished step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskrcnn_operator.api.status import Artifact, Metric


@dataclass(frozen=True)
class TaskResult:
    """What a task said when it ended.

    Attributes:
        code: its exit code.
        fingerprint: what the result is a result of.
        attempt: which attempt spoke.
        reason, message: of its error; empty where it succeeded.
        up_to_date: the result was there already, and nothing was done.
    """

    code: int
    fingerprint: str = ""
    attempt: int = 0
    model_path: str | None = None
    metrics: tuple[Metric, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    checkpoint_step: int | None = None
    reason: str = ""
    message: str = ""
    up_to_date: bool = False


def parse_result(text: str | bytes) -> TaskResult | None:
    """A termination message or result.json; None where it cannot be read, of whatever nonsense it is made."""
    try:
        content = json.loads(text)
        return _from_object(content)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _from_object(content: Mapping[str, Any]) -> TaskResult:
    error = content.get("error") or {}
    checkpoint = content.get("checkpointStep")
    model = content.get("modelPath")
    return TaskResult(
        code=int(content["code"]),
        fingerprint=str(content.get("fingerprint") or ""),
        attempt=int(content.get("attempt") or 0),
        model_path=str(model) if model else None,
        metrics=metrics_of(content.get("metrics") or {}),
        artifacts={
            str(name): Artifact(path=str(item["path"]), bytes=item.get("bytes"), sha256=item.get("sha256"))
            for name, item in (content.get("artifacts") or {}).items()
        },
        checkpoint_step=int(checkpoint) if checkpoint is not None else None,
        reason=str(error.get("reason") or ""),
        message=str(error.get("message") or ""),
        up_to_date=content.get("upToDate") is True,
    )


def metrics_of(values: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Numbers by name as metrics, in the order given; what is no number is left out. Seven significant digits."""
    return tuple(
        Metric(name=str(name), value=format_number(value))
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )


def format_number(value: float) -> str:
    """A number as a short decimal text: 0.377, 120000, 1e-05."""
    return str(value) if isinstance(value, int) else f"{value:.7g}"
