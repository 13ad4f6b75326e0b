"""Values as text of messages."""

from __future__ import annotations

import json
from typing import Any


def shown(value: Any, limit: int = 80) -> str:
    """Return a value as it may stand in a message: as JSON, on one line, at most ``limit`` characters.

    A long value is not rendered further than it is shown.
    """
    encoder = json.JSONEncoder(default=str, ensure_ascii=False)
    text = ""
    try:
        for part in encoder.iterencode(value[: limit + 1] if isinstance(value, str) else value):
            text += part[: limit + 1]
            if len(text) > limit:
                break
    except (TypeError, ValueError, RecursionError):  # a key that JSON lacks, a list within itself, 4,300 digits
        text = f"{text}..." if text else f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def format_seconds(seconds: float) -> str:
    """Return a duration as ``H:MM:SS``, rounded to the second: 750.4 is ``0:12:30``, a day and a half ``36:00:00``."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
