"""Every object of the chart is taken by a real API server, as it validates and as Pod Security does."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from tests.apiserver.bed import Bed
from tests.apiserver.conftest import *  # noqa: F403 - the bed's fixtures
from tests.chart.foreign import definitions
from tests.chart.test_chart import SETS

pytestmark = pytest.mark.apiserver

Render = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def foreign(bed: Bed) -> None:
    """Definitions of cert-manager's and of Prometheus' resources that the chart can make."""
    bed.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(definitions()))
    bed.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


@pytest.mark.parametrize("name", SETS)
def test_dry_run(bed: Bed, foreign: None, render: Render, name: str) -> None:
    for namespace in ("maskrcnn-system", "research", "production"):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
        bed.kubectl("apply", "-f", "-", input=yaml.safe_dump(body))
    text = yaml.safe_dump_all(render(name))
    done: CompletedProcess[str] = bed.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", input=text
    )
    assert "Warning" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == len(render(name))
