"""Upgrade of the definition while experiments of an older release are stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.apiserver.api.samples import RUNNING, SUSPENDED, condition, example
from tests.apiserver.bed import Bed
from tests.apiserver.rest import RestError

from maskrcnn_operator.api.base import KIND, PLURAL, VERSION

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("served")]


def test_object_older_than_the_bounds_accepts_status_writes(
    bed: Bed, namespace: str, older_definition: tuple[str, Callable[[], None]]
) -> None:
    group, upgrade = older_definition
    path = f"/apis/{group}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    manifest = {**example(), "apiVersion": f"{group}/{VERSION}"}
    many = {str(number): {} for number in range(100)}
    manifest["spec"]["podOverrides"] = {
        "affinity": many,
        "volumes": [many] * 40,
        "annotations": {f"maskrcnn.dev/{'x' * 400}": "x" * 70_000},
        "env": [{"name": "MASKRCNN_KEY", "valueFrom": many}, {"name": "9", "value": "x" * 140_000}],
        "gpuResource": "nvidia.com/mig-3g.40gb",
    }
    manifest["spec"]["steps"][0] |= {
        "gpusPerNode": 2,
        "processesPerNode": 3,
        "resources": {"requests": {"x" * 400: "1"}},
        "podOverrides": {"affinity": {"nodeAffinity": {}}},
    }
    bed.api("POST", path, manifest)
    upgrade()
    manifest["metadata"]["name"] = "another"
    deadline = time.monotonic() + 60
    while True:
        try:
            bed.api("POST", f"{path}?dryRun=All", manifest)
        except RestError as error:
            assert "must have at most 16 items" in str(error)
            break
        assert time.monotonic() < deadline, "the bounds are not in force"
        time.sleep(0.1)
    body = {"apiVersion": f"{group}/{VERSION}", "kind": KIND, "metadata": {"name": "minimal"}, "status": RUNNING}
    written = f"{path}/minimal/status?fieldManager=one&force=true"
    assert bed.api("PATCH", written, body, "application/apply-patch+yaml")["status"] == RUNNING
    stalled = {"conditions": [condition("Stalled", "True", "InvalidSpec")]}
    answer = bed.api("PATCH", f"{path}/minimal/status", {"status": stalled})
    assert answer["status"]["conditions"] == stalled["conditions"]
    # a change of the spec is refused until the whole spec is valid
    with pytest.raises(RestError, match="affinity: Too many"):
        bed.api("PATCH", f"{path}/minimal", {"spec": {"suspend": True}})
    corrected = {"podOverrides": None, "steps": example()["spec"]["steps"]}
    assert bed.api("PATCH", f"{path}/minimal", {"spec": corrected})["metadata"]["generation"] == 2


def test_stored_experiment_keeps_its_claim_and_may_move_to_a_bucket(
    bed: Bed, namespace: str, older_definition: tuple[str, Callable[[], None]]
) -> None:
    group, upgrade = older_definition
    path = f"/apis/{group}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    older = {**example(), "apiVersion": f"{group}/{VERSION}"}
    newer = {**example("workspace-in-object-storage"), "apiVersion": f"{group}/{VERSION}"}
    stored = bed.api("POST", path, older)["spec"]
    with pytest.raises(RestError, match="persistentVolumeClaim: Required value"):
        bed.api("POST", path, newer)
    upgrade()
    wait_in_force(lambda: bed.api("POST", f"{path}?dryRun=All", newer))
    assert bed.api("GET", f"{path}/minimal")["spec"] == stored
    bed.api("PATCH", f"{path}/minimal/status", {"status": RUNNING})
    assert bed.api("PATCH", f"{path}/minimal", {"spec": {"suspend": True}})["spec"]["workspace"] == stored["workspace"]
    bed.api("PATCH", f"{path}/minimal/status", {"status": SUSPENDED})
    moved = {"persistentVolumeClaim": None, "objectStorage": {"url": "s3://data/results"}}
    live = bed.api("PATCH", f"{path}/minimal", {"spec": {"workspace": moved, "suspend": False}})
    assert live["spec"]["workspace"] == {"objectStorage": {"url": "s3://data/results"}, "subPath": ""}


WRONG_PLACES: dict[str, dict[str, Any]] = {
    "URL too long": {"objectStorage": {"url": f"s3://data/{'k' * 1000}"}},
    "URL with a blank at the end": {"objectStorage": {"url": "s3://data/results "}},
    "URL with dots": {"objectStorage": {"url": "s3://data/../results"}},
    "subPath as a URL": {"persistentVolumeClaim": {"claimName": "data"}, "subPath": "s3://data/results"},
}


@pytest.mark.parametrize("workspace", WRONG_PLACES.values(), ids=WRONG_PLACES)
def test_stored_workspace_that_is_refused_now_can_be_suspended_and_corrected(
    bed: Bed,
    namespace: str,
    definition_without_bounds: tuple[str, Callable[[], None]],
    workspace: dict[str, Any],
) -> None:
    group, upgrade = definition_without_bounds
    path = f"/apis/{group}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    manifest = {**example(), "apiVersion": f"{group}/{VERSION}"}
    manifest["spec"]["workspace"] = workspace
    bed.api("POST", path, manifest)
    upgrade()
    manifest["metadata"]["name"] = "another"
    wait_refused(lambda: bed.api("POST", f"{path}?dryRun=All", manifest))
    body = {"apiVersion": f"{group}/{VERSION}", "kind": KIND, "metadata": {"name": "minimal"}, "status": RUNNING}
    written = f"{path}/minimal/status?fieldManager=one&force=true"
    assert bed.api("PATCH", written, body, "application/apply-patch+yaml")["status"] == RUNNING
    assert bed.api("PATCH", f"{path}/minimal", {"spec": {"suspend": True}})["spec"]["suspend"] is True
    bed.api("PATCH", f"{path}/minimal/status", {"status": SUSPENDED})
    corrected = {"persistentVolumeClaim": {"claimName": "data"}, "objectStorage": None, "subPath": ""}
    live = bed.api("PATCH", f"{path}/minimal", {"spec": {"workspace": corrected}})
    assert live["spec"]["workspace"] == {"persistentVolumeClaim": {"claimName": "data"}, "subPath": ""}


def wait_refused(call: Callable[[], Any]) -> None:
    """Repeat a call that only the older definition accepts."""
    deadline = time.monotonic() + 60
    while True:
        try:
            call()
        except RestError as error:
            assert error.status == 422, error
            return
        assert time.monotonic() < deadline, "the newer definition is not in force"
        time.sleep(0.1)


def wait_in_force(call: Callable[[], Any]) -> None:
    """Repeat a call that only the newer definition accepts."""
    deadline = time.monotonic() + 60
    while True:
        try:
            call()
        except RestError:
            assert time.monotonic() < deadline, "the newer definition is not in force"
            time.sleep(0.1)
        else:
            return


def test_an_older_status_whose_steps_were_merged_by_name_is_replaced(
    bed: Bed, namespace: str, older_definition: tuple[str, Callable[[], None]]
) -> None:
    group, upgrade = older_definition
    path = f"/apis/{group}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    bed.api("POST", path, {**example(), "apiVersion": f"{group}/{VERSION}"})

    def apply(*steps: str) -> Any:
        body = {
            "apiVersion": f"{group}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": "minimal"},
            "status": {**RUNNING, "steps": [{"name": name, "state": "Pending"} for name in steps]},
        }
        query = "fieldManager=one&force=true"
        return bed.api("PATCH", f"{path}/minimal/status?{query}", body, "application/apply-patch+yaml")

    def owned(live: Any) -> Any:
        [entry] = [entry for entry in live["metadata"]["managedFields"] if entry["manager"] == "one"]
        return entry["fieldsV1"]["f:status"]["f:steps"]

    before = apply("train", "evaluate")
    assert 'k:{"name":"train"}' in owned(before)
    upgrade()
    deadline = time.monotonic() + 60
    while owned(after := apply("evaluate")) != {}:
        assert time.monotonic() < deadline, "the newer definition is not in force"
        time.sleep(0.1)
    assert [step["name"] for step in after["status"]["steps"]] == ["evaluate"]
