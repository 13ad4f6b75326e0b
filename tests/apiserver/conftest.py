"""Fixtures of the apiserver tier: one real control plane per run, one namespace per test, and a played kubelet."""

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
    """Return the folder of the binaries, or the reason why there is none; searched once per run, shown on screen."""
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
    """Get the binaries before the first test, because a build exceeds the time limit of a test."""
    if not session.config.option.collectonly and any(item.get_closest_marker("apiserver") for item in session.items):
        _find(session.config)


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Path:
    """Return the folder with etcd, kube-apiserver, kube-controller-manager and kubectl; skip the test without it."""
    found = _find(pytestconfig)
    if isinstance(found, str):
        pytest.skip(f"the Kubernetes binaries are missing: {found}")
    return found


@pytest.fixture(scope="session")
def bed(binaries: Path) -> Iterator[Bed]:
    """Yield the control plane of this test run."""
    with Bed(binaries) as running:
        yield running


@pytest.fixture
def namespace(bed: Bed, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a namespace for this test only, deleted after it."""
    name = bed.create_namespace(re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")))
    yield name
    bed.delete_namespace(name)


@pytest.fixture(scope="session")
def kubectl(bed: Bed) -> Callable[..., CompletedProcess[str]]:
    """Return ``kubectl(*args, input=None, check=True)``, which runs kubectl as admin."""
    return bed.kubectl


@pytest.fixture(scope="session")
def crd(bed: Bed) -> None:
    """Have the API server serve MaskRCNNExperiment."""
    bed.kubectl("apply", "-f", str(CRD))
    bed.wait_established("-f", str(CRD))


@pytest.fixture
def kubelet(bed: Bed, namespace: str) -> Iterator[PlayedKubelet]:
    """Yield a kubelet that plays every pod of the test's namespace."""
    with PlayedKubelet(bed.rest, namespace) as played:
        yield played
