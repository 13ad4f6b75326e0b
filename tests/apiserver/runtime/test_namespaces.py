"""Operators that watch several namespaces, or all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.apiserver.account import ACCOUNT, HOME
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.rest import RestError
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, Cluster, manifest

from maskrcnn_operator.metrics.process import REGISTRY

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


@pytest.fixture
def other(bed: Bed) -> Iterator[Cluster]:
    """Yield a second namespace, with a played kubelet."""
    name = bed.create_namespace("other")
    found = Cluster(bed, name)
    found.claim("ReadWriteMany")
    with PlayedKubelet(bed.rest, name):
        yield found
    bed.delete_namespace(name)


def test_only_named_namespaces_are_watched(
    start_operator: StartOperator, cluster: Cluster, other: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    stranger = Cluster(bed, bed.create_namespace("stranger"))
    stranger.claim("ReadWriteMany")
    for place in (stranger, other, cluster):
        place.apply(manifest("same", CONVERT))
    start_operator(namespaces=(cluster.namespace, other.namespace))
    for place in (cluster, other):
        place.wait_ready("same", "Succeeded")
    left = stranger.experiment("same")
    assert left is not None
    assert "status" not in left
    bed.delete_namespace(stranger.namespace)


def test_all_namespaces_are_watched(
    start_operator: StartOperator, cluster: Cluster, other: Cluster, kubelet: PlayedKubelet
) -> None:
    start_operator(namespaces=()).wait_leading()
    for place in (cluster, other):
        place.apply(manifest("same", CONVERT))
    for place in (cluster, other):
        place.wait_ready("same", "Succeeded")


LIMITED = "maskrcnn-operator-limited"
"""Service account with permissions in chosen namespaces only."""


def allow(bed: Bed, namespace: str, kind: str = "ClusterRole", role: str = "maskrcnn-experiments") -> None:
    """Grant LIMITED its permissions in a namespace, as the chart does for each listed namespace."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    subjects = [{"kind": "ServiceAccount", "name": LIMITED, "namespace": HOME}]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    try:
        bed.api("POST", path, {"metadata": {"name": f"{LIMITED}-{role}"}, "roleRef": reference, "subjects": subjects})
    except RestError as error:
        if error.status != 409:
            raise


@pytest.fixture
def limited(bed: Bed, home: str) -> Path:
    """Return a kubeconfig of LIMITED, which so far may only hold the Lease."""
    allow(bed, home, "Role", ACCOUNT)
    return bed.kubeconfig_for(LIMITED, HOME)


def listed(place: Cluster) -> float | None:
    return REGISTRY.get_sample_value("maskrcnn_operator_namespace_listed", {"namespace": place.namespace})


@pytest.mark.usefixtures("kubelet")
def test_deleted_and_forbidden_namespaces_do_not_stop_others(
    start_operator: StartOperator, limited: Path, cluster: Cluster, other: Cluster, bed: Bed
) -> None:
    """Check a running operator and one that starts, with the namespaces in either order."""
    doomed = Cluster(bed, bed.create_namespace("doomed"))
    doomed.claim("ReadWriteMany")
    for place in (cluster, doomed):
        allow(bed, place.namespace)
    names = (other.namespace, cluster.namespace, doomed.namespace)
    first = start_operator(kubeconfig=limited, namespaces=names, relist_seconds=1.0).wait_leading()
    doomed.apply(manifest("asleep", CONVERT, suspend=True))
    doomed.wait_ready("asleep", "Suspended")
    assert (listed(other), listed(cluster), listed(doomed)) == (0, 1, 1)

    bed.delete_namespace(doomed.namespace)
    cluster.wait_for(lambda: listed(doomed) == 0, "the deletion of the namespace and its permissions")
    cluster.apply(manifest("meanwhile", CONVERT))
    cluster.wait_ready("meanwhile", "Succeeded")
    assert first.operator is not None
    cache = first.operator.cache
    cluster.wait_for(lambda: cache.experiment(doomed.namespace, "asleep") is None, "its experiment to leave the cache")
    first.stop()

    names = (doomed.namespace, other.namespace, cluster.namespace)
    start_operator(kubeconfig=limited, namespaces=names, relist_seconds=1.0).wait_leading()
    cluster.apply(manifest("afterwards", CONVERT))
    cluster.wait_ready("afterwards", "Succeeded")
    # the forbidden namespace is served as soon as the permissions are granted
    allow(bed, other.namespace)
    other.apply(manifest("late", CONVERT))
    other.wait_ready("late", "Succeeded")
    assert (listed(doomed), listed(other), listed(cluster)) == (0, 1, 1)
