"""Result of a task: its termination message, or the result.json of a finished step.

Any program in a user's image may have written it. All numbers and texts are limited here, so that the API server
accepts a status with them.
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
MAX_RESULT_METRICS = 256
"""An evaluation has at most 30: for boxes and for masks, twelve of COCO and three with more detections."""
MAX_ARTIFACTS = 64
RESULT_NAME_LENGTH = 128
"""Maximum length of a name, a reason, and a fingerprint, in characters."""
RESULT_MESSAGE_LENGTH = 4096
"""Maximum length of a message in characters: a termination message has at most 4096 bytes."""
MOST_LATER_ATTEMPT = 1_000_000
PATH_LENGTH = 4096
"""Maximum length of a path in characters, as PATH_MAX of Linux."""


@dataclass(frozen=True)
class TaskResult:
    """Result that a task reported at its end.

    Attributes:
        exit_code: exit code of the task; None if unknown.
        fingerprint: fingerprint of the result.
        attempt: number of the attempt that reported the result.
        model_path: path of the model that the task has made; None if it has made none.
        report_path: path of the report's page; None if there is none.
        metrics: final metrics of the task.
        artifacts: files and directories that the task has produced, by name.
        checkpoint_step: training step of the newest checkpoint.
        reason, message: of the error; empty after a success.
        up_to_date: whether the result already existed, so that the task did nothing.
        later_attempt: number of the attempt of the same experiment that had the results directory, or None.
        fingerprints: ``fingerprint`` and the fingerprints of the same result in other releases, oldest first.
    """

    exit_code: int | None
    fingerprint: str = ""
    attempt: int = 0
    model_path: str | None = None
    report_path: str | None = None
    metrics: tuple[Metric, ...] = ()
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    checkpoint_step: int | None = None
    reason: str = ""
    message: str = ""
    up_to_date: bool = False
    fingerprints: tuple[str, ...] = ()
    later_attempt: int | None = None


def parse_result(text: str | bytes) -> TaskResult | None:
    """Return the result in a termination message or a result.json; None if it is unreadable.

    It is unreadable without an exit code from 0 to 255, or with an invalid fingerprint, model, or artifact, because a
    result without these, or with parts of them, would be a different result. Other invalid values are left out (metrics
    that are not finite, or are too many; a size or a checkpoint out of range), and long messages and names are cut. A
    report's path that is too long or no printable text is left out, too: a report can be made again at any time, so it
    isn't part of the result.
    """
    try:
        return _from_object(json.loads(text))
    except (ValueError, RecursionError):  # ValueError: invalid JSON or UTF-8, or one of the values below
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
        fingerprint=_exact(content.get(ResultKey.FINGERPRINT) or "", RESULT_NAME_LENGTH),
        fingerprints=tuple(_exact(name, RESULT_NAME_LENGTH) for name in fingerprints_in(content)),
        attempt=whole_number(content.get(ResultKey.ATTEMPT), most=INT32_MAX) or 0,
        model_path=_exact(content.get(ResultKey.MODEL_PATH) or "", PATH_LENGTH) or None,
        report_path=_printable_path(content.get(ResultKey.REPORT_PATH)),
        metrics=metrics_of(content.get(ResultKey.METRICS)),
        artifacts=_artifacts(_object(content, ResultKey.ARTIFACTS)),
        checkpoint_step=whole_number(content.get(ResultKey.CHECKPOINT_STEP)),
        reason=clean(error.get(ErrorKey.REASON), RESULT_NAME_LENGTH),
        message=clean(error.get(ErrorKey.MESSAGE), RESULT_MESSAGE_LENGTH),
        up_to_date=content.get(ResultKey.UP_TO_DATE) is True,
        later_attempt=whole_number(error.get(ErrorKey.LATER_ATTEMPT), most=MOST_LATER_ATTEMPT),
    )


def whole_number(value: object, *, most: int = INT64_MAX) -> int | None:
    """Return ``value`` if it is a whole number from 0 to ``most``, else None."""
    return value if type(value) is int and 0 <= value <= most else None


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: must be an object")
    return value


def _exact(value: object, limit: int) -> str:
    text = clean(value, limit)
    if text != value:
        raise ValueError(f"must be a string of at most {limit} characters")
    return text


def _printable_path(value: object) -> str | None:
    """Return a path that events and logs can show on one line; None for other values."""
    path = clean(value, PATH_LENGTH)
    return path if path and path == value and path.isprintable() else None


def _artifacts(values: Mapping[str, Any]) -> dict[str, Artifact]:
    if len(values) > MAX_ARTIFACTS:
        raise ValueError(f"{ResultKey.ARTIFACTS}: at most {MAX_ARTIFACTS}")
    return {_exact(name, RESULT_NAME_LENGTH): _artifact(item) for name, item in values.items()}


def _artifact(item: object) -> Artifact:
    path = item.get(ArtifactKey.PATH) if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not path:
        raise ValueError(f"{ResultKey.ARTIFACTS}: each must have a {ArtifactKey.PATH}")
    digest = clean(item.get(ArtifactKey.SHA256), RESULT_NAME_LENGTH) or None
    return Artifact(path=_exact(path, PATH_LENGTH), bytes=whole_number(item.get(ArtifactKey.BYTES)), sha256=digest)


def metrics_of(values: object) -> tuple[Metric, ...]:
    """Return the finite numbers of a mapping as metrics, in the order given, at most :data:`MAX_RESULT_METRICS`.

    Values have seven significant digits. If names are equal after they are cut, only the first metric is kept, because
    names of metrics are unique in the status.
    """
    found: dict[str, Metric] = {}
    for key, value in values.items() if isinstance(values, Mapping) else ():
        name, text = clean(key, RESULT_NAME_LENGTH), format_number(value)
        if name and text and name not in found and len(found) < MAX_RESULT_METRICS:
            found[name] = Metric(name=name, value=text)
    return tuple(found.values())


def format_number(value: object) -> str:
    """Return a finite number as a short decimal text, such as 0.377, 120000, or 1e-05; empty for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) <= INT64_MAX else ""
    return f"{value:.7g}" if math.isfinite(value) else ""
