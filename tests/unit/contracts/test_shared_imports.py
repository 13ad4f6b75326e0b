"""Imports of the shared package, which must not depend on the packages that use it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from maskrcnn_trainer import shared

FOLDER = Path(str(shared.__file__)).parent
ALLOWED = {"yaml", "pydantic", "maskrcnn_trainer.errors", "maskrcnn_trainer.shared"}


def imported(source: Path) -> set[str]:
    """Return the modules that a file imports, also within functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("source", sorted(FOLDER.rglob("*.py")), ids=lambda source: source.stem)
def test_shared_package_imports_allowed_modules_only(source: Path) -> None:
    foreign = {module for module in imported(source) if module.split(".")[0] not in sys.stdlib_module_names}
    assert {module for module in foreign if not any(f"{module}.".startswith(f"{name}.") for name in ALLOWED)} == set()
