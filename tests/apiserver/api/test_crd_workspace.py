"""Changes of the workspace: the place changes only when nothing runs, the rest of objectStorage at any time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.api.samples import RESOURCE, RUNNING, SUSPENDED, edited, example
from tests.apiserver.bed import Bed
from tests.apiserver.rest import RestError

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("served")]

IN_A_BUCKET = "workspace-in-object-storage"
OTHER_PLACES: dict[str, dict[str, Any]] = {
    "a claim": {"persistentVolumeClaim": {"claimName": "data"}, "objectStorage": None},
    "another URL": {"objectStorage": {"url": "s3://results/elsewhere"}},
}
SAME_PLACE = {
    "takeOverFrom": {"takeOverFrom": "my-cluster/7"},
    "without takeOverFrom": {"takeOverFrom": None},
    "scratch": {"scratch": {"sizeLimit": "2Gi"}},
    "without scratch": {"scratch": None},
}


@pytest.mark.parametrize("place", OTHER_PLACES.values(), ids=OTHER_PLACES)
def test_place_may_not_change_while_running(bed: Bed, namespace: str, place: dict[str, Any]) -> None:
    with pytest.raises(
        RestError, match=r"spec\.workspace can change until the first attempt of a step has started, or"
    ):
        edited(bed, namespace, suspend=False, status=RUNNING, change={"workspace": place}, of=IN_A_BUCKET)


@pytest.mark.parametrize("place", OTHER_PLACES.values(), ids=OTHER_PLACES)
def test_place_may_change_while_suspended(bed: Bed, namespace: str, place: dict[str, Any]) -> None:
    live = edited(bed, namespace, suspend=True, status=SUSPENDED, change={"workspace": place}, of=IN_A_BUCKET)
    assert live["metadata"]["generation"] == 2


@pytest.mark.parametrize("change", SAME_PLACE.values(), ids=SAME_PLACE)
def test_rest_of_object_storage_may_change_while_running(bed: Bed, namespace: str, change: dict[str, Any]) -> None:
    workspace = {"workspace": {"objectStorage": change}}
    live = edited(bed, namespace, suspend=False, status=RUNNING, change=workspace, of=IN_A_BUCKET)
    assert live["metadata"]["generation"] == 2


def test_change_that_leaves_two_workspaces_is_refused(bed: Bed, namespace: str) -> None:
    change = {"workspace": {"objectStorage": {"url": "s3://data/results"}}}
    with pytest.raises(RestError, match="a workspace has exactly one of persistentVolumeClaim and objectStorage"):
        edited(bed, namespace, suspend=True, status=SUSPENDED, change=change)


def test_bucket_comes_back_as_it_was_written(bed: Bed, namespace: str) -> None:
    manifest = example(IN_A_BUCKET)
    live = bed.api("POST", RESOURCE.format(namespace), manifest)
    assert live["spec"]["workspace"] == {**manifest["spec"]["workspace"], "subPath": ""}
