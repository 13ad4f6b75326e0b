"""Fixtures of the cluster tier: one cluster for all scenarios, an existing one (E2E_KUBECONFIG) or a bed (as root).

``scripts/e2e_scenarios.py`` starts the bed and runs each scenario as a process that attaches to it by E2E_BED. With
pytest alone the bed is started here, and the scenarios run one after the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.binaries import find_binaries
from tests.cluster.bed import ClusterBed
from tests.cluster.bucket import PREFIX, NamespaceBucket
from tests.cluster.build_bed import SHAPES, cluster_of, make_bed, what_nodes_lack
from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.experiments import local_volume
from tests.cluster.installation import Installation
from tests.cluster.node import Node
from tests.cluster.team import Team, draw_shapes
from tests.cluster.tools import find_tool
from tests.object_storage.local_runs import files_below
from tests.object_storage.servers import answers, free_port, moto_at, moto_command
from tests.object_storage.user_stores import UserStore

EXISTING = "E2E_KUBECONFIG"
ATTACHED = "E2E_BED"
EVIDENCE = "E2E_EVIDENCE"
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Yield the cluster of this test run."""
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
        pytest.skip(f"nodes can't be created on this machine: {reason}; set {EXISTING} to use an existing cluster")
    with make_bed() as bed:
        yield cluster_of(bed, kept)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a namespace with restricted Pod Security for this test only, deleted after it."""
    name = cluster.create_namespace(request.node.name.removeprefix("test_"))
    yield name
    if request.node.stash.get(FAILED, False):
        print(f"evidence: {cluster.keep_evidence(request.node.name)}")
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Record whether a test has failed, for its fixtures."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Installation:
    """Install the operator by its chart."""
    installed = Installation(cluster)
    if not os.environ.get(ATTACHED):
        installed.install()
    return installed


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate images with their annotations and return their folder."""
    attached = os.environ.get(ATTACHED)
    if attached:
        return Path(attached) / SHAPES
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder)
    return folder


@pytest.fixture
def team(cluster: Cluster, installation: Installation, namespace: str, shapes: Path) -> Team:
    """Return a namespace whose claim contains the images."""
    if cluster.bed is None:
        pytest.skip(f"{EXISTING} is set: the claim of an existing cluster cannot be filled with data")
    folder = cluster.bed.folder / "volumes" / namespace
    shutil.copytree(shapes, folder / "raw" / "shapes")
    cluster.apply(*local_volume(namespace, namespace, str(folder)))
    return Team(cluster, namespace, folder)


@pytest.fixture
def bucket(
    cluster: Cluster, installation: Installation, namespace: str, shapes: Path, tmp_path: Path
) -> Iterator[NamespaceBucket]:
    """Yield a bucket with the images, which is the workspace of a namespace without a claim."""
    if cluster.bed is None:
        pytest.skip(f"{EXISTING} is set: pods of an existing cluster cannot reach a server of this machine")
    port = free_port()
    # a program of the bed, so that it ends with the bed if this process is killed
    cluster.bed.supervise(f"moto-{port}", moto_command(port))
    wait_until("a connection to moto", lambda: answers(port), 60, partial(cluster.bed.log, f"moto-{port}"))
    server = moto_at(port)
    store = UserStore(server, server.new_container(), tmp_path)
    server.fill(store.container, files_below(shapes, f"{PREFIX}/raw/shapes/"))
    found = NamespaceBucket(cluster.bed, Team(cluster, namespace, tmp_path), store, cluster.bed.admit(port))
    found.connect()
    yield found
    cluster.bed.shut_out(found.port)
    cluster.bed.end(f"moto-{port}")


@pytest.fixture
def two_nodes(cluster: Cluster, namespace: str) -> Iterator[list[Node]]:
    """Yield two nodes for pods of this scenario only, which may fail one of them."""
    if cluster.bed is None:
        pytest.skip(f"{EXISTING} is set: nodes of an existing cluster are not stopped")
    with cluster.bed.reserved_nodes(2, namespace) as nodes:
        yield nodes
