"""Fixtures of the Kueue tests: a real Kueue on the API server bed, the operator, and a log on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.conftest import (  # noqa: F401 - fixtures
    binaries,
    crd,
    kubelet,
    namespace,
)
from tests.apiserver.go_build import BuildError
from tests.apiserver.runtime.conftest import account, cluster, home, operator, start_operator  # noqa: F401 - fixtures
from tests.apiserver.runtime.experiments import Cluster
from tests.kueue.installation import find_manager, find_manifests, version
from tests.kueue.manager import start_kueue
from tests.kueue.queues import Queues

Log = Callable[[str], None]


@pytest.fixture(scope="session")
def show(pytestconfig: pytest.Config) -> Log:
    """Return ``show(line)``, which prints a line at once even if the output of tests is captured."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)  # noqa: T201 - progress of a long test, for its user

    return write


@pytest.fixture
def log(show: Log, request: pytest.FixtureRequest) -> Log:
    """Return ``log(line)``, which prints a line with the seconds since the test started."""
    started = time.monotonic()
    show(f"\n{request.node.name}")
    return lambda line: show(f"  {time.monotonic() - started:5.1f} s  {line}")


@pytest.fixture(scope="session")
def bed(binaries: Path, show: Log) -> Iterator[Bed]:  # noqa: F811 - requests the imported fixture
    """Yield a control plane with Kueue; fail, not skip, on a machine without Go and module proxy."""
    try:
        program, manifests = find_manager(), find_manifests(binaries / "kubectl")
    except BuildError as error:
        pytest.fail(f"kueue: {error}", pytrace=False)
    with Bed(binaries) as running:
        start_kueue(running, program, manifests)
        show(f"\nKueue {version()} on Kubernetes {running.api('GET', '/version')['gitVersion']}")
        yield running


@pytest.fixture
def queues(cluster: Cluster) -> Queues:  # noqa: F811 - requests the imported fixture
    """Return the queues of the test's namespace, before any is created."""
    return Queues(cluster)
