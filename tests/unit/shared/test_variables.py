"""Names of environment variables stand in one module, which operator and trainer take them from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import maskrcnn_operator
import maskrcnn_trainer
from maskrcnn_trainer.shared import variables

PACKAGES = [Path(str(package.__file__)).parent for package in (maskrcnn_operator, maskrcnn_trainer)]
NAMES = {value for name, value in vars(variables).items() if name.endswith("_VARIABLE")}
NAME = re.compile(rf"{variables.VARIABLE_PREFIX}\w*")


def texts() -> Iterator[tuple[str, str]]:
    """Yield every text in the code of both sides with its place, docstrings left out."""
    files = [file for package in PACKAGES for file in sorted(package.rglob("*.py"))]
    for file in files:
        if file == Path(str(variables.__file__)):
            continue
        tree = ast.parse(file.read_text())
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
                yield f"{file.parent.name}/{file.name}:{node.lineno}", node.value


def test_every_name_has_the_prefix_and_is_there_once() -> None:
    assert all(NAME.fullmatch(name) for name in NAMES)
    assert len(NAMES) == sum(name.endswith("_VARIABLE") for name in vars(variables))


def test_no_other_module_has_the_name_of_a_variable_as_a_text() -> None:
    found = [f"{place}: {text}" for place, text in texts() if NAME.match(text)]
    assert not found, "take these names from shared/variables.py:\n" + "\n".join(found)


def test_messages_name_variables_that_there_are() -> None:
    named = [(place, name) for place, text in texts() for name in NAME.findall(text)]
    assert {name for _, name in named} & NAMES, "no message names a variable: this test reads the wrong files"
    assert [(place, name) for place, name in named if name not in {*NAMES, variables.VARIABLE_PREFIX}] == []
