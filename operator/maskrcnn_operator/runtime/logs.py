"""Format of log lines: JSON objects with experiment and step, or plain text."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from maskrcnn_operator.runtime.context import EXPERIMENT

LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

_EXTRA = ("step", "attempt", "reason", "seconds", "wait")
"""Attributes of a log record that become fields of its line."""


class _Context(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.experiment = EXPERIMENT.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and, if known, experiment, step, and attempt."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        experiment = getattr(record, "experiment", "")
        if experiment:
            line["experiment"] = experiment
        line |= {name: value for name in _EXTRA if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Plain text ``time LEVEL experiment: message``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(experiment)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        experiment = getattr(record, "experiment", "")
        record.experiment = f"{experiment}: " if experiment else ""
        text = super().format(record)
        record.experiment = experiment
        return text


def set_up_logging(log_format: LogFormat, log_level: LogLevel) -> None:
    """Make all loggers of the process write to standard error.

    Args:
        log_format: format of the lines.
        log_level: minimum level of the operator's lines; that of other packages is at least warning.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Context())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("maskrcnn_operator").setLevel(level)
    # kopf logs each failed try of a watch, which we log once
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
