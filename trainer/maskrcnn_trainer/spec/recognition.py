"""Recognition of a prototxt of TAO Toolkit in a text that isn't YAML."""

from __future__ import annotations

import re

_MESSAGE = re.compile(r"(?<![\w.])(data_config|maskrcnn_config|wandb_config|clearml_config)\s*:?\s*[{<]")


def looks_like_prototxt(text: str) -> bool:
    """Return whether a text that isn't a YAML mapping contains a message of TAO Toolkit's spec."""
    return _MESSAGE.search(re.sub(r"#[^\n]*", "", text)) is not None
