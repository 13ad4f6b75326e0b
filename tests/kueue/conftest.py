"""A real Kueue next to the API server bed, and the real operator; a log of what happens goes to the screen."""

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
    """``show(line)`` prints a line at once, whether or not a test's output is captured."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)  # noqa: T201

    return write


@pytest.fixture
def log(show: Log, request: pytest.FixtureRequest) -> Log:
    """``log(line)`` prints a line with the seconds since the test began."""
    started = time.monotonic()
    show(f"\n{request.node.name}")
    return lambda line: show(f"  {time.monotonic() - started:5.1f} s  {line}")


@pytest.fixture(scope="session")
def bed(binaries: Path, show: Log) -> Iterator[Bed]:  # noqa: F811
    """A control plane with Kueue; a machine without Go and module proxy fails rather than passing over this."""
    try:
        program, manifests = find_manager(), find_manifests(binaries / "kubectl")
    except BuildError as error:
        pytest.fail(f"kueue: {error}", pytrace=False)
    with Bed(binaries) as running:
        start_kueue(running, program, manifests)
        show(f"\nKueue {version()} on Kubernetes {running.api('GET', '/version')['gitVersion']}")
        yield running


@pytest.fixture
def queues(cluster: Cluster) -> Queues:  # noqa: F811
    """The queues of the test's namespace, none of which is there yet."""
    return Queues(cluster)
