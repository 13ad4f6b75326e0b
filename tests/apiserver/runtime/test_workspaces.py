"""Experiments with a claim and in object storage: moves between both, another owner, and an older status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, NINE_STEPS, TRAIN, Cluster, condition, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

URL = "s3://data/team"
BUCKET: dict[str, Any] = {"objectStorage": {"url": URL}}
MOVE_TO_A_BUCKET = {"persistentVolumeClaim": None, **BUCKET}
StartOperator = Callable[..., RunningOperator]


@pytest.fixture
def without_claim(bed: Bed, home: str) -> Cluster:
    """Return the test's namespace, without any claim."""
    return Cluster(bed, home)


def volumes_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}


def test_nine_steps_succeed_in_a_bucket_without_any_claim(
    without_claim: Cluster, operator: RunningOperator, kubelet: PlayedKubelet
) -> None:
    without_claim.apply(manifest("nine", *NINE_STEPS, workspace=BUCKET))
    done = without_claim.wait_ready("nine", "Succeeded", 180)
    assert [step["reason"] for step in done["status"]["steps"]] == ["Completed"] * len(NINE_STEPS)
    assert done["status"]["workspace"] == URL
    assert done["status"]["exportPath"] == f"{URL}/nine/export/model.onnx"
    jobs = without_claim.jobs().values()
    assert len(jobs) == len(NINE_STEPS)
    claims = [volume for job in jobs for volume in volumes_of(job).values() if "persistentVolumeClaim" in volume]
    assert claims == []


def test_move_from_a_claim_to_a_bucket_runs_every_step_again(
    cluster: Cluster, operator: RunningOperator, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("moved", CONVERT, TRAIN))
    before = cluster.wait_ready("moved", "Succeeded")
    assert before["status"]["workspace"] == "maskrcnn"
    cluster.edit("moved", {"suspend": True})
    cluster.wait("moved", lambda found: condition(found, "Suspended") is not None, "the condition Suspended")
    cluster.edit("moved", {"workspace": MOVE_TO_A_BUCKET, "suspend": False})
    for step in ("convert", "train"):
        assert cluster.wait_step("moved", step, state="Succeeded", attempt=2)
    after = cluster.wait_ready("moved", "Succeeded")
    assert after["status"]["workspace"] == URL
    assert after["status"]["modelPath"].startswith(f"{URL}/moved/train/")


def test_take_over_gives_a_refused_step_another_attempt(
    without_claim: Cluster, operator: RunningOperator, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(exit_code=64, error="AnothersOwner"), attempt=1)
    without_claim.apply(manifest("taken", CONVERT, workspace=BUCKET))
    without_claim.wait_step("taken", "convert", state="Failed", reason="AnothersOwner", attempt=1)
    stalled = condition(without_claim.wait_ready("taken", "Failed"), "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "AnothersOwner"
    without_claim.edit("taken", {"workspace": {"objectStorage": {"takeOverFrom": "another-cluster/3"}}})
    without_claim.wait_step("taken", "convert", state="Succeeded", attempt=2)
    (job,) = [job for key, job in without_claim.jobs().items() if key == "convert/2"]
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "MASKRCNN_TAKE_OVER_FROM", "value": "another-cluster/3"} in environment


def test_status_of_a_release_without_workspaces_counts_for_the_claim(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    first = start_operator()
    cluster.apply(manifest("older", CONVERT, TRAIN))
    kubelet.wait_running("train")
    first.stop()
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments/older/status"
    live = cluster.bed.api("PATCH", path, {"status": {"workspace": None}})
    assert "workspace" not in live["status"]
    start_operator()
    kubelet.finish("train")
    done = cluster.wait_ready("older", "Succeeded")
    assert done["status"]["workspace"] == "maskrcnn"
    assert [step_of(done, step)["attempt"] for step in ("convert", "train")] == [1, 1]
    assert len(cluster.jobs()) == 2


MOVES = {"another claim": {"persistentVolumeClaim": {"claimName": "other"}}, "a bucket": MOVE_TO_A_BUCKET}


@pytest.mark.parametrize("place", MOVES.values(), ids=MOVES)
def test_workspace_may_change_although_an_older_release_has_suspended_the_experiment(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet, place: dict[str, Any]
) -> None:
    cluster.claim("ReadWriteMany", name="other")
    kubelet.play("train", Play(seconds=None), attempt=1)
    first = start_operator()
    cluster.apply(manifest("older", CONVERT, TRAIN))
    kubelet.wait_running("train")
    cluster.edit("older", {"suspend": True})
    cluster.wait_ready("older", "Suspended")
    first.stop()
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments/older/status"
    cluster.bed.api("PATCH", path, {"status": {"workspace": None}})
    start_operator()
    cluster.wait("older", lambda found: found["status"].get("workspace") == "maskrcnn", "the record of the claim")
    cluster.edit("older", {"workspace": place, "suspend": False})
    cluster.wait_ready("older", "Succeeded")
    assert {"convert/2", "train/2"} <= set(cluster.jobs())


def test_removal_of_a_wrong_take_over_gives_a_refused_step_another_attempt(
    without_claim: Cluster, operator: RunningOperator, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(exit_code=64, error="AnothersOwner"), attempt=1)
    wrong = {"objectStorage": {"url": URL, "takeOverFrom": "wrong/9"}}
    without_claim.apply(manifest("removed", CONVERT, workspace=wrong))
    without_claim.wait_step("removed", "convert", state="Failed", reason="AnothersOwner", attempt=1)
    without_claim.edit("removed", {"workspace": {"objectStorage": {"takeOverFrom": None}}})
    without_claim.wait_step("removed", "convert", state="Succeeded", attempt=2)


WRONG_INPUT = {"checkpoint": "s3://data/model.tlt?versionId=1"}


def test_wrong_edit_of_a_suspended_experiment_can_be_corrected_together_with_its_workspace(
    without_claim: Cluster, operator: RunningOperator, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None), attempt=1)
    without_claim.apply(manifest("typo", TRAIN, workspace=BUCKET))
    kubelet.wait_running("train")
    without_claim.edit("typo", {"suspend": True})
    without_claim.wait_ready("typo", "Suspended")
    without_claim.edit("typo", {"workspace": {"objectStorage": {"url": f"{URL}/wrong"}}, "experiment": WRONG_INPUT})
    stalled = without_claim.wait_ready("typo", "InvalidSpec")
    assert condition(stalled, "Suspended") is not None
    right = {"workspace": {"objectStorage": {"url": f"{URL}/right"}}, "experiment": {"checkpoint": None}}
    without_claim.edit("typo", {**right, "suspend": False})
    done = without_claim.wait_ready("typo", "Succeeded")
    assert done["status"]["workspace"] == f"{URL}/right"


def test_experiment_that_was_resumed_with_a_wrong_edit_can_be_suspended_and_corrected(
    without_claim: Cluster, operator: RunningOperator, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None), attempt=1)
    without_claim.apply(manifest("typo", TRAIN, workspace=BUCKET))
    kubelet.wait_running("train")
    without_claim.edit("typo", {"suspend": True})
    without_claim.wait_ready("typo", "Suspended")
    without_claim.edit("typo", {"suspend": False, "experiment": WRONG_INPUT})
    assert condition(without_claim.wait_ready("typo", "InvalidSpec"), "Suspended") is None
    without_claim.edit("typo", {"suspend": True})
    without_claim.wait("typo", lambda found: condition(found, "Suspended") is not None, "the condition Suspended")
    right = {"workspace": {"objectStorage": {"url": f"{URL}/right"}}, "experiment": {"checkpoint": None}}
    assert without_claim.edit("typo", right)["metadata"]["generation"] == 5
