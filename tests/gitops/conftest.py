"""Fixtures with the engines of Argo CD and Flux, a real API server, and the operator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver.bed import Bed
from tests.apiserver.conftest import *  # noqa: F403 - the bed's fixtures
from tests.apiserver.go_build import BuildError
from tests.apiserver.runtime.conftest import account, cluster, home, operator, start_operator  # noqa: F401 - fixtures
from tests.cluster.tools import find_tool

ROOT = Path(__file__).resolve().parents[2]
HEALTH = ROOT / "docs" / "gitops" / "argocd" / "health.lua"

Engine = Callable[..., dict[str, Any]]


def run(bed: Bed, command: list[str]) -> dict[str, Any]:
    """Run an engine, which must succeed, and return the JSON object in the last line of its output."""
    environment = {"KUBECONFIG": str(bed.kubeconfig), "HOME": str(bed.folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def program(name: str) -> str:
    """Return the path of an engine, built if necessary; if it can't be built, the test fails and isn't skipped."""
    try:
        return str(find_tool(name))
    except BuildError as error:
        pytest.fail(f"{name}: {error}", pytrace=False)


@pytest.fixture
def argocd(bed: Bed, namespace: str, tmp_path: Path) -> Engine:
    """Return ``argocd("sync" | "diff", *objects)``, which runs Argo CD's engine."""

    def call(mode: str, *objects: dict[str, Any]) -> dict[str, Any]:
        file = tmp_path / "argocd.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        return run(bed, [program("argocd"), mode, namespace, str(file), str(HEALTH)])

    return call


@pytest.fixture
def flux(bed: Bed, namespace: str, tmp_path: Path) -> Engine:
    """Return ``flux(*objects)``, which applies objects with Flux's engine and returns their status."""

    def call(*objects: dict[str, Any]) -> dict[str, Any]:
        file = tmp_path / "flux.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        return run(bed, [program("flux"), namespace, str(file)])

    return call
