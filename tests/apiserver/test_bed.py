"""The bed itself: Jobs get pods, the played kubelet ends them as a real one does, and no process is left over."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.audit import calls
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import NODE, PlayedKubelet
from tests.apiserver.pod_scripts import ContainerEnd, Play, PodFacts
from tests.apiserver.rest import RestError

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 60.0
LABELS = {"maskrcnn.dev/experiment": "shapes", "maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "1"}


def job(name: str, **spec: Any) -> dict[str, Any]:
    """Return a Job like the operator's: no retries, labels, and the trainer's command line."""
    container = {
        "name": "trainer",
        "image": "trainer:test",
        "args": ["launch", "--nodes", "1", "--", "train", "-e", "/etc/maskrcnn/spec.yaml"],
    }
    template = {
        "metadata": {"labels": LABELS, "annotations": {"maskrcnn.dev/fingerprint": "f1"}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"backoffLimit": 0, "podReplacementPolicy": "Failed", "template": template, **spec},
    }


def eventually(look: Callable[[], Any]) -> Any:
    """Return the first truthy value of ``look``; fail after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"timed out, the last result is {found!r}"
        time.sleep(0.05)
    return found


class Namespace:
    """Access to the Jobs and pods of one namespace."""

    def __init__(self, bed: Bed, name: str) -> None:
        self.bed = bed
        self.jobs = f"/apis/batch/v1/namespaces/{name}/jobs"
        self.pods = f"/api/v1/namespaces/{name}/pods"

    def start(self, manifest: dict[str, Any]) -> None:
        self.bed.api("POST", self.jobs, manifest)

    def job(self, name: str) -> Any:
        return self.bed.api("GET", f"{self.jobs}/{name}")

    def condition(self, name: str, kind: str) -> Any:
        conditions = self.job(name)["status"].get("conditions", [])
        return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)

    def list_pods(self) -> Any:
        return self.bed.api("GET", self.pods)["items"]


@pytest.fixture
def here(bed: Bed, namespace: str) -> Namespace:
    return Namespace(bed, namespace)


def test_pods_of_a_job_run_on_a_node_and_end_with_their_termination_message(
    here: Namespace, kubelet: PlayedKubelet
) -> None:
    here.start(job("gang", completions=2, parallelism=2, completionMode="Indexed"))
    eventually(lambda: here.condition("gang", "Complete"))
    pods = {facts.index: facts for facts in kubelet.started}
    assert sorted(pods) == [0, 1]
    assert (pods[0].experiment, pods[0].step, pods[0].attempt, pods[0].task) == ("shapes", "train", 1, "train")
    first = here.bed.api("GET", f"{here.pods}/{pods[0].name}")
    ended = first["status"]["containerStatuses"][0]["state"]["terminated"]
    assert first["spec"]["nodeName"] == NODE
    assert first["status"]["phase"] == "Succeeded"
    assert ended["exitCode"] == 0
    assert '"fingerprint":"f1"' in ended["message"]
    assert '"modelPath":"/workspace/shapes/train/model.step-1000.tlt"' in ended["message"]
    second = here.bed.api("GET", f"{here.pods}/{pods[1].name}")
    assert "message" not in second["status"]["containerStatuses"][0]["state"]["terminated"]


def test_failing_pod_fails_its_job_with_its_exit_code(here: Namespace, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(exit_code=75))
    kubelet.play("train", Play(exit_code=64, message="bad spec"), attempt=1)
    on_64 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64]}}
    here.start(job("wrong", podFailurePolicy={"rules": [on_64]}))
    failed = eventually(lambda: here.condition("wrong", "Failed"))
    assert failed["reason"] == "PodFailurePolicy"
    ended = here.list_pods()[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (64, "Error", "bad spec")


def test_gated_pod_runs_on_its_selected_node_once_the_gate_is_removed(here: Namespace, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(seconds=None))
    manifest = job("gated")
    manifest["spec"]["template"]["spec"]["schedulingGates"] = [{"name": "example.com/topology"}]
    here.start(manifest)
    (gated,) = eventually(here.list_pods)
    here.start(job("other"))
    kubelet.wait_running("train")
    assert [pod.name for pod in kubelet.running("train")] != [gated["metadata"]["name"]]
    spec = {"schedulingGates": [], "nodeSelector": {"kubernetes.io/hostname": "chosen"}}
    here.bed.api("PATCH", f"{here.pods}/{gated['metadata']['name']}", {"spec": spec})
    kubelet.wait_running("train", pods=2)
    assert here.bed.api("GET", f"{here.pods}/{gated['metadata']['name']}")["spec"]["nodeName"] == "chosen"


def test_existing_node_keeps_its_capacity(here: Namespace, kubelet: PlayedKubelet) -> None:
    here.bed.api("POST", "/api/v1/nodes", {"metadata": {"name": "small"}})
    here.bed.api("PATCH", "/api/v1/nodes/small/status", {"status": {"capacity": {"nvidia.com/gpu": "1"}}})
    kubelet.play("train", Play(node="small"))
    here.start(job("placed"))
    eventually(lambda: here.condition("placed", "Complete"))
    assert here.bed.api("GET", "/api/v1/nodes/small")["status"]["capacity"] == {"nvidia.com/gpu": "1"}


def test_evicted_pod_counts_as_disruption_and_is_replaced(here: Namespace, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(seconds=None))
    disruption = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    here.start(job("evicted", podFailurePolicy={"rules": [disruption]}))
    kubelet.wait_running("train")
    kubelet.play("train", Play())
    assert kubelet.finish("train", Play(disrupted=True)) == 1
    eventually(lambda: here.condition("evicted", "Complete"))
    assert len(kubelet.started) == 2
    assert here.job("evicted")["status"].get("failed", 0) == 0


def test_deleted_pod_exits_with_143_and_counts_as_failed(here: Namespace, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(seconds=None))
    here.start(job("stopped"))
    (pod,) = kubelet.wait_running("train")
    here.bed.api("DELETE", f"{here.pods}/{pod.name}")
    eventually(lambda: here.condition("stopped", "Failed"))
    assert here.job("stopped")["status"]["failed"] == 1
    eventually(lambda: not here.list_pods())


def test_program_of_a_pod_ends_it_once_it_is_deleted(here: Namespace, kubelet: PlayedKubelet) -> None:
    ended: list[str] = []

    async def run(pod: PodFacts, deleted: asyncio.Event) -> ContainerEnd:
        await deleted.wait()
        ended.append(pod.name)
        return ContainerEnd(3, "the message")

    kubelet.play("train", Play(program=run))
    here.start(job("program"))
    (pod,) = kubelet.wait_running("train")
    assert not ended
    here.bed.api("DELETE", f"{here.pods}/{pod.name}")
    eventually(lambda: here.condition("program", "Failed"))
    assert ended == [pod.name]
    eventually(lambda: not here.list_pods())


def test_pod_of_a_lost_node_stays_terminating(bed: Bed, here: Namespace, namespace: str) -> None:
    with PlayedKubelet(bed.rest, namespace) as kubelet:
        kubelet.play("train", Play(seconds=None, lost=True))
        here.start(job("lost"))
        (pod,) = kubelet.wait_running("train")
        bed.api("DELETE", f"{here.jobs}/lost", {"propagationPolicy": "Background"})
        eventually(lambda: "deletionTimestamp" in here.list_pods()[0]["metadata"])
        kubelet.play("train", Play())
        here.start(job("next"))
        eventually(lambda: here.condition("next", "Complete"))
        lost = bed.api("GET", f"{here.pods}/{pod.name}")
        assert lost["status"]["phase"] == "Running"
        assert "deletionTimestamp" in lost["metadata"]
        bed.api("DELETE", f"{here.jobs}/next", {"propagationPolicy": "Background"})
    eventually(lambda: not here.list_pods())


def test_pod_without_image_waits_and_pod_without_node_is_pending(here: Namespace, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(waiting="ImagePullBackOff"))
    here.start(job("image"))
    status = eventually(lambda: [p for p in here.list_pods() if "containerStatuses" in p["status"]])[0]["status"]
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    here.bed.api("DELETE", f"{here.jobs}/image", {"propagationPolicy": "Foreground"})
    eventually(lambda: not here.list_pods())

    kubelet.play("train", Play(unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu."))
    here.start(job("no-node"))
    status = eventually(lambda: [p for p in here.list_pods() if "conditions" in p["status"]])[0]["status"]
    assert status["conditions"][-1]["reason"] == "Unschedulable"
    assert kubelet.started == []


def test_clients_continue_when_the_api_server_is_back_on_its_port(here: Namespace, kubelet: PlayedKubelet) -> None:
    kubelet.play("train", Play(seconds=None))
    here.start(job("through"))
    kubelet.wait_running("train")
    with here.bed.apiserver_down():
        assert here.bed.kubectl("get", "namespaces", check=False).returncode != 0
        with pytest.raises(ConnectionError):
            here.job("through")
    kubelet.finish("train")
    eventually(lambda: here.condition("through", "Complete"))


def test_service_account_has_no_permissions_until_they_are_granted(bed: Bed, namespace: str) -> None:
    kubeconfig = str(bed.kubeconfig_for("reader", namespace))
    refused = bed.kubectl("--kubeconfig", kubeconfig, "get", "pods", check=False)
    assert "Forbidden" in refused.stderr
    bed.kubectl("-n", namespace, "create", "role", "reader", "--verb=list", "--resource=pods")
    bed.kubectl(
        "-n", namespace, "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader"
    )
    eventually(lambda: bed.kubectl("--kubeconfig", kubeconfig, "get", "pods", check=False).returncode == 0)


def test_bound_token_is_valid_for_its_audience_only(here: Namespace, namespace: str) -> None:
    with PlayedKubelet(here.bed.rest, namespace, default=Play(seconds=None)) as kubelet:
        here.start(job("token"))
        (pod,) = kubelet.wait_running("train")
        token = here.bed.token_for("default", namespace, audience="maskrcnn-operator", pod=(pod.name, pod.uid))

        def review(audience: str) -> Any:
            spec = {"token": token, "audiences": [audience]}
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
            return here.bed.api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)["status"]

        assert review("maskrcnn-operator")["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod.uid]
        assert not review("somebody-else").get("authenticated")


def test_audit_log_has_each_request_once(bed: Bed, here: Namespace, namespace: str) -> None:
    offset = bed.audit_log.stat().st_size
    here.start(job("counted", suspend=True))
    with pytest.raises(RestError):
        here.start(job("counted", suspend=True))
    here.job("counted")

    def made() -> list[tuple[str, str, int, bool]]:
        mine = calls(bed.audit_log, user="admin", namespace=namespace, offset=offset)
        return [(call.verb, call.name, call.code, call.writes) for call in mine]

    eventually(lambda: len(made()) == 3)
    assert made() == [
        ("create", "counted", 201, True),
        ("create", "counted", 409, True),
        ("get", "counted", 200, False),
    ]


HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.apiserver.bed import Bed
bed = Bed(Path({binaries!r})).start()
print(bed.folder, *bed.pids(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["test process", "supervisor"])
def test_no_process_survives_the_test_process_or_the_supervisor(bed: Bed, victim: str) -> None:
    script = textwrap.dedent(HOLDER).format(root=str(ROOT), binaries=str(bed.binaries))
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    folder, *numbers = holder.stdout.readline().split()
    pids = [int(number) for number in numbers]
    assert len(pids) == 4  # the supervisor, etcd, kube-apiserver, kube-controller-manager
    try:
        os.kill(holder.pid if victim == "test process" else pids[0], signal.SIGKILL)
        if victim == "test process":
            holder.wait()
            eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
            assert not Path(folder).exists()
        else:
            eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids[1:]))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)
