"""A status that the API server refuses: it is reported by a condition, which is removed later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.rest import APPLY_PATCH, MERGE_PATCH, RestError
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, TRAIN, Cluster, condition, manifest, step_of

from maskrcnn_operator.cluster.client import CONDITIONS_MANAGER, Client
from maskrcnn_operator.cluster.status_writer import owners_of_conditions

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

AUDITED = {
    "type": "Audited",
    "status": "True",
    "reason": "ByHand",
    "message": "of another controller",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


class Spoiling(Client):
    """Client that makes each status invalid while ``spoils`` is true."""

    spoils = False

    async def apply_status(
        self, namespace: str, name: str, status: Mapping[str, Any], resource_version: str | int
    ) -> dict[str, Any]:
        spoiled = {**status, "restarts": 2**63} if Spoiling.spoils else status
        return await super().apply_status(namespace, name, spoiled, resource_version)


@pytest.fixture
def spoil() -> Any:
    """Yield ``spoil(value)``, which switches invalid statuses on or off."""

    def set_spoils(value: bool) -> None:
        Spoiling.spoils = value

    yield set_spoils
    Spoiling.spoils = False


def add_condition(cluster: Cluster, name: str, added: dict[str, Any]) -> None:
    """Add another controller's condition by a merge patch of the current list."""
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments/{name}"
    found = cluster.bed.api("GET", path)
    body = {
        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
        "status": {"conditions": [*found["status"]["conditions"], added]},
    }
    cluster.bed.api("PATCH", f"{path}/status", body, MERGE_PATCH)


def kinds(experiment: dict[str, Any]) -> set[str]:
    return {item["type"] for item in experiment["status"]["conditions"]}


@pytest.mark.parametrize("then", ["Succeeded", "Failed"])
def test_refused_status_is_reported_until_a_status_is_accepted(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet, spoil: Any, then: str
) -> None:
    start_operator(client_class=Spoiling).wait_leading()
    kubelet.play("train", Play(seconds=None))
    cluster.apply(manifest("spoiled", TRAIN))
    cluster.wait_step("spoiled", "train", state="Running")
    add_condition(cluster, "spoiled", AUDITED)
    before = cluster.experiment("spoiled")
    assert before is not None

    spoil(True)
    kubelet.finish("train", Play(exit_code=0 if then == "Succeeded" else 64))
    stalled = cluster.wait_ready("spoiled", "StatusRefused")
    reported = condition(stalled, "Stalled")
    assert reported is not None
    assert (reported["status"], reported["reason"]) == ("True", "StatusRefused")
    assert "restarts" in reported["message"]
    assert json.dumps(stalled["status"]["steps"]) == json.dumps(before["status"]["steps"])
    assert kinds(stalled) == {"Stalled", "Ready", "Succeeded", "Audited"}
    assert condition(stalled, "Audited") == AUDITED
    assert "Stalled" in owners_of_conditions(stalled["metadata"]["managedFields"]).others

    spoil(False)
    ended = cluster.wait_ready("spoiled", then)
    expected = {"Ready", "Succeeded", "Audited"} | ({"Stalled"} if then == "Failed" else set())
    ended = cluster.wait("spoiled", lambda found: kinds(found) == expected, f"the conditions {expected}")
    assert condition(ended, "Audited") == AUDITED
    cluster.wait(
        "spoiled",
        lambda found: "Stalled" not in owners_of_conditions(found["metadata"]["managedFields"]).others,
        f"{CONDITIONS_MANAGER} to own no field of Stalled",
    )
    if then == "Failed":
        # the condition of the step's failure is removed as usual
        kubelet.play("train", Play())
        cluster.edit("spoiled", {"steps": [{**TRAIN, "revision": "2"}]})
        done = cluster.wait_ready("spoiled", "Succeeded")
        assert kinds(done) == {"Ready", "Succeeded", "Audited"}
        assert step_of(done, "train")["state"] == "Succeeded"


def test_status_is_accepted_although_a_condition_has_two_owners(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    start_operator().wait_leading()
    kubelet.play("convert", Play(exit_code=64))
    cluster.apply(manifest("shared", CONVERT))
    cluster.wait_ready("shared", "Failed")
    # the worst state that a replica can leave when it ends between two writes: some fields have a second owner
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments/shared/status"
    shared = {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": "shared"},
        "status": {"conditions": [{"type": "Stalled", "status": "True"}]},
    }
    cluster.bed.api("PATCH", f"{path}?fieldManager=another", shared, APPLY_PATCH)
    kubelet.play("convert", Play())
    cluster.edit("shared", {"steps": [{**CONVERT, "revision": "2"}]})
    done = cluster.wait_ready("shared", "Succeeded")
    assert kinds(done) == {"Ready", "Succeeded"}


@pytest.mark.parametrize("number", [14, 16])
def test_status_is_accepted_although_the_list_of_conditions_is_full(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet, number: int
) -> None:
    name = f"flooded-{number}"
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments/{name}/status"
    added = [{**AUDITED, "type": f"Foreign{index:02}"} for index in range(number)]
    flood = {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": name},
        "status": {"conditions": added},
    }
    kubelet.play("convert", Play(exit_code=64))
    cluster.apply(manifest(name, CONVERT, suspend=True))
    cluster.bed.api("PATCH", f"{path}?fieldManager=another", flood, APPLY_PATCH)
    start_operator().wait_leading()
    cluster.wait_ready(name, "Suspended")
    cluster.edit(name, {"suspend": False})
    failed = cluster.wait_ready(name, "Failed")
    assert kinds(failed) >= {"Stalled", "Succeeded", "Ready", *(item["type"] for item in added[:11])}
    assert len(kinds(failed)) <= 16
    cluster.wait(name, lambda found: removal_is_reported(cluster, name), "an event that names what was removed")
    with pytest.raises(RestError, match="must have at most 16 items"):
        cluster.bed.api("PATCH", f"{path}?fieldManager=another&force=true", flood, APPLY_PATCH)


def removal_is_reported(cluster: Cluster, name: str) -> bool:
    return any(
        (event["type"], event["reason"]) == ("Warning", "ConditionsRemoved") and "Foreign13" in event["note"]
        for event in cluster.events(name)
    )
