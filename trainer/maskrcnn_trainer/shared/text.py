"""Values as text of messages."""

from __future__ import annotations

import json
from typing import Any


def shown(value: Any, limit: int = 80) -> str:
    """Return a value as it may stand in a message: as JSON, on one line, at most ``limit`` characters."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):  # keys that JSON does not know, or a list within itself
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
