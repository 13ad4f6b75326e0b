"""Fixtures that run helm on the chart."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver.go_build import BuildError
from tests.cluster.tools import find_tool

CHART = Path(__file__).resolve().parents[2] / "charts" / "maskrcnn-operator"
VALUES = Path(__file__).with_name("values")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def helm() -> Run:
    """Return a function that runs helm with arguments; the caller checks the exit code."""
    try:
        program = find_tool("helm")
    except BuildError as error:
        pytest.fail(f"helm isn't available: {error}", pytrace=False)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm: Run) -> Callable[[str], list[dict[str, Any]]]:
    """Return a function that returns the objects of ``helm template`` with a file of ``values/``, by its name."""

    def objects(name: str) -> list[dict[str, Any]]:
        file = VALUES / f"{name}.yaml"
        done = helm("template", "maskrcnn", str(CHART), "-n", "maskrcnn-system", "-f", str(file))
        assert done.returncode == 0, done.stderr
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    return objects
