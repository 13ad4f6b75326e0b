"""The apiserver tier: one real control plane a test run, a namespace a test, and somebody who plays the nodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.binaries import BinariesError, find_binaries, say_on_screen
from tests.apiserver.kubelet import PlayedKubelet

CRD = Path(__file__).resolve().parents[2] / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml"
FOUND = pytest.StashKey["Path | str"]()


def _find(config: pytest.Config) -> Path | str:
    """The folder of the binaries, or why there is none; looked for once a test run, told on screen."""
    if FOUND not in config.stash:
        capture = config.pluginmanager.getplugin("capturemanager")

        def say(message: str) -> None:
            if capture is None:
                say_on_screen(message)
                return
            with capture.global_and_fixture_disabled():
                say_on_screen(message)

        try:
            config.stash[FOUND] = find_binaries(say)
        except BinariesError as error:
            config.stash[FOUND] = str(error)
    return config.stash[FOUND]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get the binaries before the first test: building them takes longer than a test may."""
    if not session.config.option.collectonly and any(item.get_closest_marker("apiserver") for item in session.items):
        _find(session.config)


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Path:
    """The folder with etcd, kube-apiserver, kube-controller-manager and kubectl; tests are skipped without it."""
    found = _find(pytestconfig)
    if isinstance(found, str):
        pytest.skip(f"no Kubernetes to test with: {found}")
    return found


@pytest.fixture(scope="session")
def bed(binaries: Path) -> Iterator[Bed]:
    """The control plane of this test run."""
    with Bed(binaries) as running:
        yield running


@pytest.fixture
def namespace(bed: Bed, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of this test's own, deleted after it."""
    name = bed.create_namespace(re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")))
    yield name
    bed.delete_namespace(name)


@pytest.fixture(scope="session")
def kubectl(bed: Bed) -> Callable[..., CompletedProcess[str]]:
    """``kubectl(*args, input=None, check=True)`` as admin."""
    return bed.kubectl


@pytest.fixture(scope="session")
def crd(bed: Bed) -> None:
    """MaskRCNNExperiment is served."""
    bed.kubectl("apply", "-f", str(CRD))
    bed.wait_established("-f", str(CRD))


@pytest.fixture
def kubelet(bed: Bed, namespace: str) -> Iterator[PlayedKubelet]:
    """Plays every pod of the test's namespace."""
    with PlayedKubelet(bed.rest, namespace) as played:
        yield played
