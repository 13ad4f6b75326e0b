"""Experiments from creation to end, on a real API server, with the operator's own service account."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import (
    CONVERT,
    EVALUATE,
    EXPORT,
    GANG,
    NINE_STEPS,
    TRAIN,
    Cluster,
    condition,
    manifest,
    ready_reason,
    step_of,
)
from tests.apiserver.runtime.running import RunningOperator

from maskrcnn_operator.cluster import optional_reads
from maskrcnn_operator.core import readiness

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def test_nine_steps_succeed(operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet) -> None:
    cluster.apply(manifest("nuclei", *NINE_STEPS))
    done = cluster.wait_ready("nuclei", "Succeeded", seconds=240)
    status = done["status"]
    assert [step["state"] for step in status["steps"]] == ["Succeeded"] * 9
    assert [step["attempt"] for step in status["steps"]] == [1] * 9
    assert {item["type"]: item["status"] for item in status["conditions"]} == {"Succeeded": "True", "Ready": "True"}
    assert {metric["name"]: metric["value"] for metric in status["metrics"]}["AP"] == "0.377"
    assert status["modelPath"].startswith("/workspace/nuclei/retrain/")
    assert status["exportPath"] == "/workspace/nuclei/export/model.onnx"
    assert status["restarts"] == 0
    assert "progress" not in status
    assert done["metadata"].get("annotations") is None
    assert done["metadata"].get("finalizers") is None

    reports = {step["name"]: step["reportPath"] for step in status["steps"] if "reportPath" in step}
    evaluations = ("evaluate", "evaluate-pruned")
    assert reports == {name: f"/workspace/nuclei/{name}/report.html" for name in evaluations}

    names = cluster.wait_event("nuclei", "Succeeded")
    assert names.count("StepStarted") == names.count("StepSucceeded") == 9
    assert names.count("ReportWritten") == 2
    assert names[-1] == "Succeeded"

    gang = [facts for facts in kubelet.started if facts.step == "train"]
    assert sorted(facts.index for facts in gang) == [0, 1]
    services = cluster.bed.api("GET", f"/api/v1/namespaces/{cluster.namespace}/services")["items"]
    assert [service["metadata"]["labels"]["maskrcnn.dev/step"] for service in services] == ["train"]
    columns = cluster.bed.kubectl("get", "mrx", "-n", cluster.namespace, "nuclei").stdout.splitlines()
    assert columns[1].split()[1] == "Succeeded"


def test_step_waits_for_the_steps_that_it_needs(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(seconds=None))
    cluster.apply(manifest("order", CONVERT, TRAIN, EVALUATE))
    kubelet.wait_running("convert")
    cluster.wait_step("order", "convert", state="Running", reason="Converting")
    found = cluster.wait_ready("order", "Running")
    assert step_of(found, "train")["reason"] == "WaitingForSteps"
    assert found["status"]["currentStep"] == "convert"
    assert condition(found, "Reconciling") is not None
    assert set(cluster.jobs()) == {"convert/1"}
    kubelet.finish("convert")
    cluster.wait_ready("order", "Succeeded")
    assert [facts.step for facts in kubelet.started] == ["convert", "train", "evaluate"]


def test_permanent_failure_is_not_retried(operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(exit_code=64))
    cluster.apply(manifest("wrong", TRAIN, EVALUATE))
    found = cluster.wait_ready("wrong", "Failed")
    assert step_of(found, "train") | {"exitCode": 64, "attempt": 1, "restarts": 0, "reason": "InvalidInput"} == step_of(
        found, "train"
    )
    assert step_of(found, "evaluate")["reason"] == "UpstreamFailed"
    stalled, succeeded = condition(found, "Stalled"), condition(found, "Succeeded")
    assert stalled is not None and (stalled["status"], stalled["reason"]) == ("True", "StepFailed")
    assert succeeded is not None and succeeded["status"] == "False"
    assert "played: exit code 64" in step_of(found, "train")["message"]
    cluster.wait_event("wrong", "Failed")
    assert cluster.events("wrong")[-1]["type"] == "Warning"
    waited = cluster.bed.kubectl(
        "wait", "-n", cluster.namespace, "mrx/wrong", "--for=condition=Stalled", "--timeout=5s", check=False
    )
    assert waited.returncode == 0


def test_step_continues_when_an_independent_step_fails(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(exit_code=64))
    kubelet.play("inference", Play(seconds=None))
    sample = {"name": "inference", "inference": {"imageDir": "/workspace/x"}, "modelPath": "/workspace/m.tlt"}
    cluster.apply(manifest("beside", CONVERT, sample))
    found = cluster.wait_step("beside", "convert", state="Failed")
    kubelet.wait_running("inference")
    whole = cluster.wait_ready("beside", "Running")
    assert condition(whole, "Reconciling") is not None
    assert condition(whole, "Stalled") is None
    assert found["exitCode"] == 64
    kubelet.finish("inference")
    assert ready_reason(cluster.wait_ready("beside", "Failed")) == "Failed"


def test_invalid_spec_starts_nothing_until_it_is_corrected(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("cycle", {**CONVERT, "dependsOn": ["evaluate"]}, {**EVALUATE, "modelPath": "/workspace/m"}))
    found = cluster.wait_ready("cycle", "InvalidSpec")
    stalled = condition(found, "Stalled")
    assert stalled is not None and "dependsOn" in stalled["message"]
    assert not cluster.jobs()
    cluster.edit("cycle", {"steps": [CONVERT, {**EVALUATE, "modelPath": "/workspace/m"}]})
    cluster.wait_ready("cycle", "Succeeded")


def test_gang_needs_a_shared_workspace(operator: RunningOperator, bed: Bed, namespace: str) -> None:
    cluster = Cluster(bed, namespace)
    cluster.claim("ReadWriteOnce")
    cluster.apply(manifest("lonely", GANG))
    found = cluster.wait_ready("lonely", "WorkspaceNotShared")
    stalled = condition(found, "Stalled")
    assert stalled is not None and "spec.steps[0].nodes" in stalled["message"]


def test_steps_run_one_at_a_time_without_a_shared_workspace(
    operator: RunningOperator, bed: Bed, namespace: str, kubelet: PlayedKubelet
) -> None:
    cluster = Cluster(bed, namespace)
    cluster.claim("ReadWriteOnce")
    first, second = {**CONVERT, "name": "one"}, {**CONVERT, "name": "two"}
    kubelet.play("one", Play(seconds=None))
    cluster.apply(manifest("turns", first, second))
    kubelet.wait_running("one")
    assert cluster.wait_step("turns", "two", reason="WaitingForTurn")["attempt"] == 0
    kubelet.finish("one")
    cluster.wait_ready("turns", "Succeeded")


def test_nothing_starts_before_the_claim_exists(
    operator: RunningOperator, bed: Bed, namespace: str, kubelet: PlayedKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CLAIM_CHECK_INTERVAL", timedelta(seconds=2))
    monkeypatch.setattr(optional_reads, "UNKNOWN_SECONDS", 2.0)
    cluster = Cluster(bed, namespace)
    cluster.apply(manifest("early", CONVERT))
    waiting = cluster.wait_step("early", "convert", reason="WaitingForClaim")
    assert "maskrcnn" in waiting["message"]
    assert not cluster.jobs()
    cluster.claim("ReadWriteMany")
    cluster.wait_ready("early", "Succeeded")


def test_ttl_deletes_the_experiment_and_its_objects(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("short", GANG, EXPORT, ttlSecondsAfterFinished=2))
    cluster.wait_ready("short", "Succeeded")
    cluster.wait_for(lambda: cluster.experiment("short") is None, "the deletion of the experiment")
    cluster.wait_for(lambda: not cluster.jobs() and not cluster.pods(), "the deletion of its Jobs and pods")
