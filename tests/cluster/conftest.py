"""The cluster tier: one cluster a test run, by E2E_KUBECONFIG or with nodes of our own (as root)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.binaries import cache_folder, find_binaries
from tests.cluster.bed import ClusterBed
from tests.cluster.cluster import Cluster
from tests.cluster.experiments import local_volume
from tests.cluster.image_store import find_store
from tests.cluster.installation import Installation
from tests.cluster.team import Team, draw_shapes
from tests.cluster.tools import find_tool

EXISTING = "E2E_KUBECONFIG"
REQUIRED = "MASKRCNN_REQUIRE_CLUSTER"
PROGRAMS = ("unshare", "nsenter", "containerd", "ctr", "runc", "iptables", "conntrack", "ip", "mount")
FAILED = pytest.StashKey[bool]()
ARCHIVES = ("operator.tar", "trainer-cpu.tar")


def _missing() -> str:
    if os.geteuid() != 0:
        return "it needs root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(missing)} is not installed (scripts/cluster_packages.sh)" if missing else ""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster of this test run."""
    kept = Path(os.environ.get("E2E_EVIDENCE") or tmp_path_factory.mktemp("evidence"))
    existing = os.environ.get(EXISTING)
    if existing:
        kubectl = shutil.which("kubectl")
        yield Cluster(Path(existing), Path(kubectl or find_binaries() / "kubectl"), find_tool("helm"), kept)
        return
    reason = _missing()
    if reason:
        if os.environ.get(REQUIRED, "") not in ("", "0"):
            pytest.fail(f"{REQUIRED} is set, and no node can be made here: {reason}", pytrace=False)
        pytest.skip(f"no node can be made here: {reason}; {EXISTING} names a cluster that is there")
    images = cache_folder() / "images"
    archives = [images / name for name in ARCHIVES if (images / name).is_file()]
    binaries, store = find_binaries(), find_store(archives)
    with ClusterBed(binaries, store) as bed:
        yield Cluster(bed.kubeconfig, binaries / "kubectl", find_tool("helm"), kept, bed)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of this test's own, with restricted Pod Security; deleted after it."""
    name = cluster.create_namespace(request.node.name.removeprefix("test_"))
    yield name
    if request.node.stash.get(FAILED, False):
        print(f"evidence: {cluster.keep_evidence(request.node.name)}")
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Let fixtures know whether their test has failed."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Installation:
    """The operator, installed by the chart."""
    installed = Installation(cluster)
    installed.install()
    return installed


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pictures with their annotations."""
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder)
    return folder


@pytest.fixture
def team(cluster: Cluster, installation: Installation, namespace: str, shapes: Path) -> Team:
    """A namespace whose claim holds the pictures."""
    if cluster.bed is None:
        pytest.skip(f"{EXISTING}: the claim of a cluster that is there cannot be filled from here")
    folder = cluster.bed.folder / "volumes" / namespace
    shutil.copytree(shapes, folder / "raw" / "shapes")
    cluster.apply(*local_volume(namespace, namespace, str(folder)))
    return Team(cluster, namespace, folder)
