"""Overrides, image, and deadline of a step on a real API server, which validates the resulting Jobs."""

from __future__ import annotations

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, TRAIN, Cluster, condition, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd", "operator")]


def test_conversion_avoids_the_nodes_of_the_training(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    whole = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    own = {
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
        "labels": {"kueue.x-k8s.io/priority-class": "low"},
        "annotations": {"kueue.x-k8s.io/podset-unconstrained-topology": "true"},
    }
    convert = {**CONVERT, "image": "registry.example/convert:1", "podOverrides": own}
    cluster.apply(manifest("apart", convert, TRAIN, podOverrides=whole))
    done = cluster.wait_ready("apart", "Succeeded")
    assert step_of(done, "convert")["image"] == "registry.example/convert:1"
    job, other = cluster.jobs()["convert/1"], cluster.jobs()["train/1"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "low"
    template = job["spec"]["template"]
    assert template["metadata"]["annotations"]["kueue.x-k8s.io/podset-unconstrained-topology"] == "true"
    assert (template["spec"]["nodeSelector"], template["spec"].get("tolerations")) == ({"pool": "cpu"}, None)
    assert {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}} in template["spec"]["volumes"]
    assert other["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert step_of(done, "train")["image"] != "registry.example/convert:1"


def test_invalid_overrides_accepted_by_the_api_server_are_reported(operator: RunningOperator, cluster: Cluster) -> None:
    wrong = {"env": [{"name": "MASKRCNN_KEY"}], "labels": {"kueue.x-k8s.io/queue-name": "other"}}
    cluster.apply(manifest("wrong", CONVERT, {**TRAIN, "podOverrides": wrong}))
    stalled = condition(cluster.wait_ready("wrong", "InvalidSpec"), "Stalled")
    assert stalled is not None
    assert "spec.steps[1].podOverrides.env[0].name: names that begin with MASKRCNN_" in stalled["message"]
    assert (
        "spec.steps[1].podOverrides.labels: kueue.x-k8s.io/queue-name: set spec.queueName instead" in stalled["message"]
    )
    assert not cluster.jobs()


def test_other_steps_continue_when_a_step_exceeds_its_deadline(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(seconds=None))
    cluster.apply(manifest("slow", {**CONVERT, "activeDeadlineSeconds": 2}, TRAIN))
    failed = cluster.wait_ready("slow", "Failed")
    step = step_of(failed, "convert")
    assert (step["state"], step["reason"]) == ("Failed", "DeadlineExceeded")
    assert step["activeSeconds"] >= 2
    assert step_of(failed, "train")["reason"] == "UpstreamFailed"
