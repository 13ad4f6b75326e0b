"""Formatting of values in messages."""

from __future__ import annotations

import json
import re
from typing import Any

from maskrcnn_trainer.shared.object_url import without_secrets

DURATION = re.compile(r"(?:(\d{1,6}) days?, )?(\d{1,9}):(\d{2}):(\d{2})", re.ASCII)
"""Duration as trainers send it: hours, minutes, and seconds; older releases put days before (``1 day, 0:00:10``)."""


def shown(value: Any, limit: int = 80) -> str:
    """Return a value as JSON for a message, on one line of at most ``limit`` characters.

    A long value is only rendered up to the limit. Texts in it are without secrets
    (:func:`maskrcnn_trainer.shared.object_url.without_secrets`).
    """
    encoder = json.JSONEncoder(default=str, ensure_ascii=False)
    text = ""
    try:
        for part in encoder.iterencode(without_secrets(value)[: limit + 1] if isinstance(value, str) else value):
            text += without_secrets(part)[: limit + 1]
            if len(text) > limit:
                break
    except (TypeError, ValueError, RecursionError):  # an unsupported key, a list within itself, over 4,300 digits
        text = f"{text}..." if text else f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def format_seconds(seconds: float) -> str:
    """Return a duration as ``H:MM:SS``, rounded to the second: 750.4 is ``0:12:30``, and 1.5 days are ``36:00:00``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
