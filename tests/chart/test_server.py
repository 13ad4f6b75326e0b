"""Server-side dry run of all objects of the chart, with validation and Pod Security."""

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
    """Install the definitions of cert-manager and of the Prometheus operator that the chart has objects of."""
    bed.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(definitions()))
    bed.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


@pytest.mark.parametrize("name", SETS)
def test_api_server_accepts_all_objects_without_a_warning(bed: Bed, foreign: None, render: Render, name: str) -> None:
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
