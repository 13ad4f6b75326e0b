"""Last lines of the demo."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "shapes"


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example's script as a module."""
    monkeypatch.syspath_prepend(FOLDER)  # a script imports what is in its own folder
    spec = importlib.util.spec_from_file_location("shapes_summary", FOLDER / "summary.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("reached", [0.5, 0.39])
def test_last_line_names_the_report_whether_or_not_the_goal_is_reached(
    summary: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    reached: float,
) -> None:  # fmt: skip
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "report.html").touch()
    for part in ("side_by_side", "write_image", "table"):
        monkeypatch.setattr(summary, part, lambda *_: "")
    monkeypatch.setattr(summary.GroundTruth, "load", lambda _: None)
    monkeypatch.setattr(summary, "metrics_of", lambda _: {"mask_AP50": reached})
    monkeypatch.setattr("sys.argv", ["summary.py", "--workspace", str(tmp_path)])
    assert summary.main() == (0 if reached >= summary.EXPECTED_MASK_AP50 else 1)
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {tmp_path}/shapes/report.html"


def test_missing_report_is_named_with_the_command_that_makes_it(summary: ModuleType, tmp_path: Path) -> None:
    assert summary.report_line(tmp_path) == f"No report is there; make it: maskrcnn report -r {tmp_path}"
