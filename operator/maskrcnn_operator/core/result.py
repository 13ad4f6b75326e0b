"""The result of a task: its termination message, or the result.json of a finished step.

Any program of a user's image may have written it. Every number and text is bounded here, so that the API server accepts
a status made of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskrcnn_operator.api.status import INT32_MAX, INT64_MAX, Artifact, Metric
from maskrcnn_operator.api.text import clean
from maskrcnn_trainer.shared.fingerprints import fingerprints_in
from maskrcnn_trainer.shared.messages import ArtifactKey, ErrorKey, ResultKey

MAX_EXIT_CODE = 255
MAX_METRICS = 256
"""An evaluation has at most 30: twelve of COCO, and three of more detections, of boxes and of masks."""
MAX_ARTIFACTS = 64
NAME_LENGTH = 128
"""Characters of a name, of a reason and of a fingerprint."""
MESSAGE_LENGTH = 4096
"""As long as a termination message may be in all, in bytes."""
PATH_LENGTH = 4096
"""PATH_MAX of Linux, in bytes."""


@dataclass(frozen=True)
class TaskResult:
    """A task's result as it was reported when the task ended.

    Attributes:
        exit_code: of the task; None where it is not known.
        fingerprint: hash of what the result depends on.
        fingerprints: that one and those by which other releases know the same result, oldest first.
        attempt: number of the attempt that reported it.
        reason, message: of its error; empty where it succeeded.
        up_to_date: the result was there already, and nothing was done.
    """

    exit_code: int | None
    fingerprint: str = ""
    attempt: int = 0
    model_path: str | None = None
    metrics: tuple[Metric, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    checkpoint_step: int | None = None
    reason: str = ""
    message: str = ""
    up_to_date: bool = False
    fingerprints: tuple[str, ...] = ()


def parse_result(text: str | bytes) -> TaskResult | None:
    """Return what a termination message or a result.json says, None where it can't be read; nothing is raised.

    It can't be read without an exit code from 0 to 255, or with a fingerprint, a model or an artifact that isn't one: a
    result with any of these cut or left out would be another result. Anything else that is wrong is left out, and what
    is too long is cut: a message, a name, metrics that aren't finite or too many, a size or a checkpoint out of range.
    """
    try:
        return _from_object(json.loads(text))
    except (ValueError, RecursionError):  # ValueError: no JSON, no UTF-8, or one of the values below
        return None


def _from_object(content: object) -> TaskResult:
    if not isinstance(content, Mapping):
        raise ValueError("the result must be an object")
    exit_code = whole_number(content.get(ResultKey.CODE), most=MAX_EXIT_CODE)
    if exit_code is None:
        raise ValueError(f"{ResultKey.CODE}: must be a whole number from 0 to {MAX_EXIT_CODE}")
    error = _object(content, ResultKey.ERROR)
    return TaskResult(
        exit_code=exit_code,
        fingerprint=_exact(content.get(ResultKey.FINGERPRINT) or "", NAME_LENGTH),
        fingerprints=tuple(_exact(name, NAME_LENGTH) for name in fingerprints_in(content)),
        attempt=whole_number(content.get(ResultKey.ATTEMPT), most=INT32_MAX) or 0,
        model_path=_exact(content.get(ResultKey.MODEL_PATH) or "", PATH_LENGTH) or None,
        metrics=metrics_of(content.get(ResultKey.METRICS)),
        artifacts=_artifacts(_object(content, ResultKey.ARTIFACTS)),
        checkpoint_step=whole_number(content.get(ResultKey.CHECKPOINT_STEP)),
        reason=clean(error.get(ErrorKey.REASON), NAME_LENGTH),
        message=clean(error.get(ErrorKey.MESSAGE), MESSAGE_LENGTH),
        up_to_date=content.get(ResultKey.UP_TO_DATE) is True,
    )


def whole_number(value: object, *, most: int = INT64_MAX) -> int | None:
    """Return a whole number from 0 to ``most``; None for any other value."""
    return value if type(value) is int and 0 <= value <= most else None


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: must be an object")
    return value


def _exact(value: object, limit: int) -> str:
    text = clean(value, limit)
    if text != value:
        raise ValueError(f"must be a text of at most {limit} characters")
    return text


def _artifacts(values: Mapping[str, Any]) -> dict[str, Artifact]:
    if len(values) > MAX_ARTIFACTS:
        raise ValueError(f"{ResultKey.ARTIFACTS}: at most {MAX_ARTIFACTS}")
    return {_exact(name, NAME_LENGTH): _artifact(item) for name, item in values.items()}


def _artifact(item: object) -> Artifact:
    path = item.get(ArtifactKey.PATH) if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not path:
        raise ValueError(f"{ResultKey.ARTIFACTS}: each has a {ArtifactKey.PATH}")
    digest = clean(item.get(ArtifactKey.SHA256), NAME_LENGTH) or None
    return Artifact(path=_exact(path, PATH_LENGTH), bytes=whole_number(item.get(ArtifactKey.BYTES)), sha256=digest)


def metrics_of(values: object) -> tuple[Metric, ...]:
    """Return the finite numbers of a mapping as metrics, in the order given, at most :data:`MAX_METRICS`.

    Each has seven significant digits. Of names that are the same once they are cut, the first counts: in the status,
    metrics are a list keyed by name.
    """
    found: dict[str, Metric] = {}
    for key, value in values.items() if isinstance(values, Mapping) else ():
        name, text = clean(key, NAME_LENGTH), format_number(value)
        if name and text and name not in found and len(found) < MAX_METRICS:
            found[name] = Metric(name=name, value=text)
    return tuple(found.values())


def format_number(value: object) -> str:
    """Return a finite number as a short decimal text: 0.377, 120000, 1e-05; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) <= INT64_MAX else ""
    return f"{value:.7g}" if math.isfinite(value) else ""
