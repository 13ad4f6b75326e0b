"""Reference of the detectors' styles, docs/reference/detector-styles.md, from the table in the code.

python -m scripts.styles_page [--check FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_trainer.weights.style_table import style_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "detector-styles.md"

INTRODUCTION = """# Styles of detectors

<!-- Generated: make manifests -->

Values of `checkpointStyle`, and what each of them sets. torchvision, Detectron2, and MMDetection differ in what the
weights of a detector don't show: each row is a difference, or something that was checked and is the same.
[Start from a detector](../how-to/start-from-a-detector.md) explains how to choose a style, and which of these rows are
advice, because no style sets them.

Blocks are numbered as in `freezeBlocks`, levels as in `maxLevel`. A table below has the place of each value in the
source of its project.

"""


def page() -> str:
    """Return the page as Markdown."""
    return INTRODUCTION + style_table()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or with ``--check FILE`` compare it with a file."""
    return write_or_check(page, arguments, module="scripts.styles_page", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
