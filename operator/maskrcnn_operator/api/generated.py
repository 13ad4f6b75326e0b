"""Command line of the modules that generate files of the repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write_or_check(
    text: Callable[[], str], arguments: Sequence[str] | None, *, module: str, description: str | None
) -> int:
    """Write a generated text to standard output or, with ``--check FILE``, compare it with a file.

    Returns:
        Exit code: 0, or 1 with a line on standard error if the file differs or is missing.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--check", metavar="FILE", type=Path, help="compare with a file instead of writing")
    file: Path | None = parser.parse_args(arguments).check
    if file is None:
        sys.stdout.write(text())
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text():
        return 0
    sys.stderr.write(f"{file} differs from the output of {module}: run `make manifests`\n")
    return 1
