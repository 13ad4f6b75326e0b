"""Edits of an experiment that has not run yet: its Jobs are replaced, its claim can be corrected."""

from __future__ import annotations

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.rest import RestError
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, GANG, TRAIN, Cluster, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

RIGHT = "registry.example/trainer:right"


def test_corrected_image_replaces_an_attempt_that_never_ran(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(waiting="ImagePullBackOff"), attempt=1)
    cluster.apply(manifest("typo", GANG, image="registry.example/trainer:wrogn", maxRestarts=0))
    cluster.wait_step("typo", "train", reason="ImagePullBackOff")
    cluster.edit("typo", {"image": RIGHT})
    done = cluster.wait_ready("typo", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["restarts"], step["disruptions"], step["image"]) == (2, 0, 0, RIGHT)
    assert "StepRestarting" not in cluster.wait_event("typo", "TemplateChanged")
    cluster.wait_for(lambda: set(cluster.jobs()) == {"train/2"}, "the deletion of the replaced Job")


def test_default_image_replaces_a_removed_one(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(waiting="ImagePullBackOff"), attempt=1)
    cluster.apply(manifest("removed", TRAIN, image="registry.example/trainer:wrogn"))
    cluster.wait_step("removed", "train", reason="ImagePullBackOff")
    cluster.edit("removed", {"image": None})
    step = step_of(cluster.wait_ready("removed", "Succeeded"), "train")
    assert (step["attempt"], step["image"]) == (2, operator.options.settings.default_image)


def test_queued_job_is_replaced_when_its_resources_change(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("queued", CONVERT, queueName="team"))
    cluster.wait_ready("queued", "Queued")
    resources = {"requests": {"cpu": "2"}, "limits": {}}
    cluster.edit("queued", {"steps": [{**CONVERT, "resources": resources}]})
    cluster.wait_step("queued", "convert", state="Queued", attempt=2)
    cluster.wait_for(lambda: set(cluster.jobs()) == {"convert/2"}, "the deletion of the replaced Job")
    job = cluster.jobs()["convert/2"]
    assert job["spec"]["suspend"] is True
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}


def test_running_attempt_continues_after_an_edit_of_its_image(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    cluster.apply(manifest("runs", TRAIN))
    kubelet.wait_running("train")
    cluster.wait_step("runs", "train", state="Running")
    generation = cluster.edit("runs", {"image": RIGHT})["metadata"]["generation"]
    cluster.wait("runs", lambda found: found["status"]["observedGeneration"] == generation, "the edit to be observed")
    kubelet.finish("train", Play())
    assert step_of(cluster.wait_ready("runs", "Succeeded"), "train")["attempt"] == 1


def test_operator_with_another_default_image_replaces_nothing(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(waiting="ImagePullBackOff"))
    first = start_operator()
    cluster.apply(manifest("upgraded", TRAIN))
    cluster.wait_step("upgraded", "train", reason="ImagePullBackOff")
    first.stop()
    start_operator(plan={"default_image": RIGHT}).wait_leading()
    generation = cluster.edit("upgraded", {"maxRestarts": 9})["metadata"]["generation"]
    found = cluster.wait(
        "upgraded", lambda found: found["status"]["observedGeneration"] == generation, "the edit to be observed"
    )
    assert step_of(found, "train")["attempt"] == 1
    assert set(cluster.jobs()) == {"train/1"}


def test_mistyped_claim_can_be_corrected_until_an_attempt_has_started(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    value = manifest("claim", TRAIN)
    value["spec"]["workspace"]["persistentVolumeClaim"]["claimName"] = "maskrnn"
    cluster.apply(value)
    cluster.wait_step("claim", "train", reason="WaitingForClaim")
    cluster.edit("claim", {"workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}}})
    cluster.wait_step("claim", "train", state="Running", attempt=1)
    with pytest.raises(RestError, match=r"spec.workspace can change until the first attempt of a step has started"):
        cluster.edit("claim", {"workspace": {"persistentVolumeClaim": {"claimName": "maskrnn"}}})
    kubelet.finish("train", Play())
    cluster.wait_ready("claim", "Succeeded")
