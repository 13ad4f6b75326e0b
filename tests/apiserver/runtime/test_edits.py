"""Edits of the spec, while steps run and after they have ended."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.rest import RestError
from tests.apiserver.runtime.experiments import (
    CONVERT,
    EVALUATE,
    EXPORT,
    TRAIN,
    Cluster,
    manifest,
    ready_reason,
    step_of,
)
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def attempts(experiment: dict[str, Any]) -> dict[str, int]:
    return {step["name"]: step["attempt"] for step in experiment["status"]["steps"]}


def settled(cluster: Cluster, name: str, generation: int) -> dict[str, Any]:
    return cluster.wait(
        name,
        lambda found: found["status"].get("observedGeneration") == generation and ready_reason(found) == "Succeeded",
        f"generation {generation} to have succeeded",
    )


def test_edit_of_finished_experiment_reruns_affected_steps_only(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    steps = [CONVERT, TRAIN, EVALUATE, EXPORT]
    cluster.apply(manifest("done", *steps))
    done = cluster.wait_ready("done", "Succeeded")
    assert attempts(done) == {"convert": 1, "train": 1, "evaluate": 1, "export": 1}
    first_metrics = done["status"]["metrics"]
    assert first_metrics

    # fields that cannot change a result rerun nothing
    spec = {"image": "registry.example/other:2", "maxRestarts": 9, "podOverrides": {"nodeSelector": {"gpu": "a100"}}}
    edited = cluster.edit("done", spec)
    done = settled(cluster, "done", edited["metadata"]["generation"])
    assert attempts(done) == {"convert": 1, "train": 1, "evaluate": 1, "export": 1}

    # a change of export reruns only export, with the new image
    changed = [CONVERT, TRAIN, EVALUATE, {**EXPORT, "export": {"dataType": "fp16"}}]
    edited = cluster.edit("done", {"steps": changed})
    done = settled(cluster, "done", edited["metadata"]["generation"])
    assert attempts(done) == {"convert": 1, "train": 1, "evaluate": 1, "export": 2}
    assert step_of(done, "export")["image"] == "registry.example/other:2"
    template = cluster.jobs()["export/2"]["spec"]["template"]["spec"]
    assert template["nodeSelector"] == {"gpu": "a100"}

    # a new revision reruns the step and its consumers
    changed = [CONVERT, {**TRAIN, "revision": "new data"}, EVALUATE, changed[3]]
    edited = cluster.edit("done", {"steps": changed})
    done = settled(cluster, "done", edited["metadata"]["generation"])
    assert attempts(done) == {"convert": 1, "train": 2, "evaluate": 2, "export": 3}

    # a removed step leaves the status; only the added one runs
    changed = [CONVERT, changed[1], {**EVALUATE, "name": "judge"}, changed[3]]
    edited = cluster.edit("done", {"steps": changed})
    done = settled(cluster, "done", edited["metadata"]["generation"])
    assert attempts(done) == {"convert": 1, "train": 2, "judge": 1, "export": 3}

    # a field of the experiment that only some tasks read
    edited = cluster.edit("done", {"experiment": {"totalSteps": 120}})
    done = settled(cluster, "done", edited["metadata"]["generation"])
    assert attempts(done) == {"convert": 1, "train": 3, "judge": 2, "export": 4}


def test_running_step_stops_before_its_changed_upstream_step_restarts(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None, stop_seconds=6.0), attempt=1)
    cluster.apply(manifest("stream", CONVERT, TRAIN))
    kubelet.wait_running("train")
    cluster.edit("stream", {"steps": [{**CONVERT, "revision": "2"}, TRAIN]})
    held = cluster.wait(
        "stream",
        lambda found: step_of(found, "convert").get("reason") == "UpstreamChanged",
        "the conversion to wait for the training that reads its old result",
    )
    assert step_of(held, "train")["state"] == "Stopping"
    assert not step_of(held, "convert").get("metrics")
    done = cluster.wait_ready("stream", "Succeeded")
    assert attempts(done) == {"convert": 2, "train": 2}
    assert [facts.step for facts in kubelet.started] == ["convert", "train", "convert", "train"]
    assert step_of(done, "train")["restarts"] == 0


def test_image_and_resources_take_effect_with_the_next_attempt(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None), attempt=1)
    cluster.apply(manifest("next", TRAIN))
    kubelet.wait_running("train")
    more = {**TRAIN, "resources": {"requests": {"cpu": "2"}}}
    edited = cluster.edit("next", {"image": "registry.example/other:2", "steps": [more]})
    generation = edited["metadata"]["generation"]
    cluster.wait(
        "next", lambda found: found["status"].get("observedGeneration") == generation, "the edit to be observed"
    )
    assert [facts.attempt for facts in kubelet.running("train")] == [1]
    kubelet.finish("train", Play(exit_code=1))
    cluster.wait_ready("next", "Succeeded")
    container = cluster.jobs()["train/2"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example/other:2"
    assert container["resources"]["requests"]["cpu"] == "2"


def test_workspace_queue_and_key_can_change_only_while_suspended(
    operator: RunningOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None), attempt=1)
    cluster.apply(manifest("fixed", TRAIN))
    cluster.wait_step("fixed", "train", state="Running", attempt=1)
    cluster.claim("ReadWriteMany", name="other")
    moved = {"workspace": {"persistentVolumeClaim": {"claimName": "other"}}}
    for spec in (moved, {"queueName": "team"}, {"encryptionKeySecretRef": {"name": "k", "key": "k"}}):
        with pytest.raises(RestError) as refused:
            cluster.edit("fixed", spec)
        assert refused.value.status == 422
        assert next(iter(spec)) in str(refused.value)
    cluster.edit("fixed", {"suspend": True})
    cluster.wait_ready("fixed", "Suspended")
    cluster.edit("fixed", moved)
    cluster.edit("fixed", {"suspend": False})
    cluster.wait_ready("fixed", "Succeeded")
    volumes = cluster.jobs()["train/2"]["spec"]["template"]["spec"]["volumes"]
    assert "other" in [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in volumes]


def test_failed_step_reruns_when_it_changes(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(exit_code=64), attempt=1)
    cluster.apply(manifest("corrected", TRAIN, EVALUATE))
    cluster.wait_ready("corrected", "Failed")
    cluster.edit("corrected", {"experiment": {"totalSteps": 110}})
    done = cluster.wait_ready("corrected", "Succeeded")
    assert attempts(done) == {"train": 2, "evaluate": 1}
