"""Report of a running step: a line of its status.json with its sender, parsed and validated."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from maskrcnn_operator.progress_endpoint.refusal import Refused, ReportRefusal
from maskrcnn_trainer.shared.messages import MESSAGE_VERSION, PostedKey, SenderKey, StatusKey
from maskrcnn_trainer.shared.text import DURATION

MAX_REPORT_BYTES = 64 * 1024
MAX_REPORTED_METRICS = 64
"""Most metrics of one record, and of the status."""
MAX_NUMBER = 2**53
"""Largest count: larger integers aren't exact in all JSON parsers."""

_COUNTS: tuple[str, ...] = (
    StatusKey.STEP,
    StatusKey.TOTAL_STEPS,
    StatusKey.CHECKPOINT_STEP,
    PostedKey.UNPUBLISHED_SECONDS,
)
_METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/@-]{0,62}")


@dataclass(frozen=True)
class Report:
    """Report of a running step.

    Attributes:
        experiment_uid, attempt, fingerprint: the sender's claims; None if absent.
        record: step, total_steps, eta, kpi, graphical, checkpointStep, and unpublishedSeconds, with validated types;
            None if absent.
    """

    experiment_uid: str | None
    attempt: int | None
    fingerprint: str | None
    record: Mapping[str, Any]


def parse_report(body: bytes) -> Report:
    """Return the report in a request's body.

    Raises:
        Refused: 400, with the field in the message. Nothing else is raised, for any bytes.
    """
    try:
        content = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        _refuse("the body is nested too deeply")
    except ValueError as error:
        _refuse(f"the body isn't valid JSON: {_shortened(str(error))}")
    if not isinstance(content, dict):
        _refuse("the body must be a JSON object")
    version = content.get(SenderKey.VERSION, MESSAGE_VERSION)
    if type(version) is not int or version != MESSAGE_VERSION:
        _refuse(f"{SenderKey.VERSION}: unsupported report version, expected {MESSAGE_VERSION}")
    counts: dict[str, int | None] = {name: _count(content, name) for name in _COUNTS}
    eta = _text(content, StatusKey.ETA, 40)
    if eta is not None and not DURATION.fullmatch(eta):
        _refuse(f"{StatusKey.ETA}: must be a duration in the format h:mm:ss")
    kpi, graphical = _metrics(content, StatusKey.KPI), _metrics(content, StatusKey.GRAPHICAL)
    if len(kpi | graphical) > MAX_REPORTED_METRICS:
        _refuse(
            f"{StatusKey.KPI} and {StatusKey.GRAPHICAL}: too many metrics, at most {MAX_REPORTED_METRICS} are allowed"
        )
    return Report(
        experiment_uid=_text(content, SenderKey.EXPERIMENT_UID, 128),
        attempt=_count(content, SenderKey.ATTEMPT),
        fingerprint=_text(content, SenderKey.FINGERPRINT, 256),
        record={**counts, StatusKey.ETA: eta, StatusKey.KPI: kpi, StatusKey.GRAPHICAL: graphical},
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a JSON number")


def _refuse(message: str) -> NoReturn:
    raise Refused(ReportRefusal(400, "InvalidReport", message))


def _shortened(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:200]


def _count(content: Mapping[str, Any], name: str) -> int | None:
    value = content.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        _refuse(f"{name}: must be an integer from 0 to 2^53, or null")
    return value


def _text(content: Mapping[str, Any], name: str, length: int) -> str | None:
    value = content.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > length or not value.isprintable():
        _refuse(f"{name}: must be a string of at most {length} printable characters, or null")
    return value


def _metrics(content: Mapping[str, Any], name: str) -> dict[str, int | float]:
    values = content.get(name)
    if values is None:
        return {}
    if not isinstance(values, dict):
        _refuse(f"{name}: must be an object that maps names to numbers, or null")
    if len(values) > MAX_REPORTED_METRICS:
        _refuse(f"{name}: too many metrics, at most {MAX_REPORTED_METRICS} are allowed")
    for metric, value in values.items():
        if not _METRIC_NAME.fullmatch(metric):
            _refuse(
                f"{name}: a metric's name must start with a letter or _, and have at most 63 letters, digits, or _.:/@-"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not _bounded(value):
            _refuse(f"{name}.{metric}: must be a finite number")
    return dict(values)


def _bounded(value: float) -> bool:
    return abs(value) <= MAX_NUMBER if isinstance(value, int) else math.isfinite(value)
