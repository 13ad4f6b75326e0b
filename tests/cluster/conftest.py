"""The cluster tier: one cluster for all scenarios, by E2E_KUBECONFIG or with nodes of our own (as root).

``scripts/e2e_scenarios.py`` makes the cluster and runs each scenario as a process that attaches to it by E2E_BED. Under
a plain pytest the cluster is made here, and the scenarios run one after the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.binaries import find_binaries
from tests.cluster.bed import ClusterBed
from tests.cluster.cluster import Cluster
from tests.cluster.experiments import local_volume
from tests.cluster.installation import Installation
from tests.cluster.making import SHAPES, cluster_of, make_bed, what_nodes_lack
from tests.cluster.node import Node
from tests.cluster.team import Team, draw_shapes
from tests.cluster.tools import find_tool

EXISTING = "E2E_KUBECONFIG"
ATTACHED = "E2E_BED"
EVIDENCE = "E2E_EVIDENCE"
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster of this test run."""
    kept = Path(os.environ.get(EVIDENCE) or tmp_path_factory.mktemp("evidence"))
    existing, attached = os.environ.get(EXISTING), os.environ.get(ATTACHED)
    if existing:
        kubectl = shutil.which("kubectl")
        yield Cluster(Path(existing), Path(kubectl or find_binaries() / "kubectl"), find_tool("helm"), kept)
        return
    if attached:
        yield cluster_of(ClusterBed.attach(Path(attached)), kept)
        return
    reason = what_nodes_lack()
    if reason:
        pytest.skip(f"no node can be made here: {reason}; {EXISTING} names an existing cluster")
    with make_bed() as bed:
        yield cluster_of(bed, kept)


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
    if not os.environ.get(ATTACHED):
        installed.install()
    return installed


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pictures with their annotations."""
    attached = os.environ.get(ATTACHED)
    if attached:
        return Path(attached) / SHAPES
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder)
    return folder


@pytest.fixture
def team(cluster: Cluster, installation: Installation, namespace: str, shapes: Path) -> Team:
    """A namespace whose claim holds the pictures."""
    if cluster.bed is None:
        pytest.skip(f"{EXISTING}: the claim of an existing cluster cannot be filled from here")
    folder = cluster.bed.folder / "volumes" / namespace
    shutil.copytree(shapes, folder / "raw" / "shapes")
    cluster.apply(*local_volume(namespace, namespace, str(folder)))
    return Team(cluster, namespace, folder)


@pytest.fixture
def two_nodes(cluster: Cluster, namespace: str) -> Iterator[list[Node]]:
    """Two nodes that take pods of this scenario alone, so that it may lose one of them."""
    if cluster.bed is None:
        pytest.skip(f"{EXISTING}: nodes of an existing cluster are not taken down")
    with cluster.bed.reserved_nodes(2, namespace) as nodes:
        yield nodes
