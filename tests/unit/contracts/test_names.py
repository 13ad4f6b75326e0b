"""Public constants, types, and classes: one name has one definition in all modules of the operator and the trainer."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = (ROOT / "operator" / "maskrcnn_operator", ROOT / "trainer" / "maskrcnn_trainer")

DEFINED_TWICE = {
    # operator and trainer
    "Progress": "progress in the status of a step, and callback of a conversion",
    "Report": "message of a step about its progress, and content of a page about an experiment",
    "Step": "step of a manifest, and results of one that a report reads",
    "Steps": "status by name of a step, and training steps at which the learning rate changes",
    # trainer
    "Batch": "batch of the evaluation, and of the calibration",
    "Detector": "finds objects in images, and content of another project's file",
    "Evaluation": "evaluation of a checkpoint during training, and analysis of one in a report",
    "Implementation": "implementations of NMS, and of RoIAlign",
    "MAGIC": "first bytes of an encrypted model, and of an HDF5 file",
    "Metrics": "metrics of an evaluation in a report's input, and of a checkpoint",
    "NotRecorded": "input of a report that doesn't exist, and absence of what a task would have recorded",
    "OUTPUTS": "files that the evaluation writes, and that the inference writes",
    "SIGNATURE": "first bytes of a JPEG file, and of a PNG file",
    "Validation": "evaluation of a network, and validation data that a report reads",
}
"""Names with several definitions, and the meaning of each."""


def modules() -> Iterator[Path]:
    """Yield the modules of both programs."""
    for package in PACKAGES:
        yield from sorted(package.rglob("*.py"))


def definitions(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the public constants, types, and classes that a module's statements define."""
    for statement in statements:
        if isinstance(statement, ast.ClassDef):
            found = [statement.name]
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and not is_type_variable(statement.value):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            stored = (node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            found = [node.id for node in stored if isinstance(node.ctx, ast.Store)]
        elif isinstance(statement, ast.If | ast.Try):
            handled = [line for handler in getattr(statement, "handlers", ()) for line in handler.body]
            found = [*definitions([*statement.body, *handled, *statement.orelse])]
        else:
            continue
        yield from (name for name in found if name[0].isupper())


def is_type_variable(value: ast.expr | None) -> bool:
    """Return whether a value is a TypeVar, which has a meaning only in the signatures of its module."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def shared_names(sources: Iterable[Path]) -> dict[str, list[str]]:
    """Return the names that several modules define, with those modules."""
    found: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        for name in sorted(set(definitions(ast.parse(source.read_text(encoding="utf-8")).body))):
            found[name].append(source.name if not source.is_relative_to(ROOT) else str(source.relative_to(ROOT)))
    return {name: places for name, places in found.items() if len(places) > 1}


def test_no_public_name_is_defined_in_two_modules() -> None:
    shared = shared_names(modules())
    assert {name: places for name, places in shared.items() if name not in DEFINED_TWICE} == {}
    assert DEFINED_TWICE.keys() - shared.keys() == set()


def test_constants_types_and_classes_of_two_modules_are_found(tmp_path: Path) -> None:
    sources = {
        "first.py": "LIMIT = 1\n_LIMIT = log = 2\nK = TypeVar('K')\nclass Report: ...\nA, B = 1, 2\nOnly = int\n",
        "second.py": "LIMIT: int = 1\n_LIMIT = log = 2\nK = TypeVar('K')\nReport = int\nif True:\n    B = 1\n",
        "third.py": "try:\n    import x\nexcept ImportError:\n    A = 1\nA.b = ONLY['x'] = 3\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    assert shared_names(tmp_path / name for name in sources) == {
        "A": ["first.py", "third.py"],
        "B": ["first.py", "second.py"],
        "LIMIT": ["first.py", "second.py"],
        "Report": ["first.py", "second.py"],
    }
