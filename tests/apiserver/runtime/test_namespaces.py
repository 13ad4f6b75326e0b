"""Several namespaces, and all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, Cluster, manifest

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


@pytest.fixture
def other(bed: Bed) -> Iterator[Cluster]:
    """One more namespace, with somebody who plays its nodes."""
    name = bed.create_namespace("other")
    found = Cluster(bed, name)
    found.claim("ReadWriteMany")
    with PlayedKubelet(bed.rest, name):
        yield found
    bed.delete_namespace(name)


def test_those_that_are_named_and_no_other(
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


def test_all_of_them(start_operator: StartOperator, cluster: Cluster, other: Cluster, kubelet: PlayedKubelet) -> None:
    start_operator(namespaces=()).wait_leading()
    for place in (cluster, other):
        place.apply(manifest("same", CONVERT))
    for place in (cluster, other):
        place.wait_ready("same", "Succeeded")
