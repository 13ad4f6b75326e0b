"""Experiments in a queue of a real Kueue: waiting, preemption, topology, and a complete run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play, PodFacts
from tests.apiserver.runtime.experiments import GANG, NINE_STEPS, TRAIN, Cluster, manifest, step_of
from tests.kueue.conftest import Log
from tests.kueue.queues import BLOCK, DEFAULT_QUEUE, GPU, QUEUE, Queues, conditions

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd", "operator"), pytest.mark.timeout(300)]

GPU_GANG: dict[str, Any] = {**GANG, "gpusPerNode": 1}
GPU_STEP: dict[str, Any] = {**TRAIN, "gpusPerNode": 2}
RUNS = Play(seconds=None)


@dataclass(frozen=True)
class Contest:
    """Step of two experiments that each need the whole quota, and the field that sets their priority."""

    step: dict[str, Any]
    pods: int
    workload_class: bool

    def spec(self, priority: str) -> dict[str, Any]:
        """Return the fields of an experiment with the priority class of that name."""
        label = {"labels": {"kueue.x-k8s.io/priority-class": priority}}
        return {"queueName": QUEUE, "podOverrides": label if self.workload_class else {"priorityClassName": priority}}


CONTESTS = {
    "gang with PriorityClass": Contest(GPU_GANG, 2, workload_class=False),
    "gang with WorkloadPriorityClass": Contest(GPU_GANG, 2, workload_class=True),
    "one pod with PriorityClass": Contest(GPU_STEP, 1, workload_class=False),
}


def jobs_of(cluster: Cluster, experiment: str) -> list[dict[str, Any]]:
    """Return the Jobs of an experiment, oldest first."""
    path = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs"
    found: list[dict[str, Any]] = cluster.bed.api(
        "GET", f"{path}?labelSelector=maskrcnn.dev/experiment%3D{experiment}"
    )["items"]
    return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]))


def running(kubelet: PlayedKubelet, experiment: str) -> list[str]:
    """Return the names of an experiment's running pods."""
    return [pod.name for pod in kubelet.running("train") if pod.experiment == experiment]


def tasks(pods: list[PodFacts]) -> dict[int, Any]:
    """Return container and volumes of pods by completion index: equal ones resume from the same checkpoint."""
    return {pod.index: (pod.pod["spec"]["containers"], pod.pod["spec"]["volumes"]) for pod in pods}


def test_second_gang_waits_until_the_first_has_ended(
    cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, log: Log
) -> None:
    queues.create(gpus=2)
    kubelet.play("train", RUNS)
    log("quota: 2 GPUs; each gang has 2 pods with 1 GPU")
    cluster.apply(manifest("first", GPU_GANG, queueName=QUEUE))
    kubelet.wait_running("train", pods=2)
    (first,) = jobs_of(cluster, "first")
    log(f"first: {conditions(queues.workload(first))['Admitted']['message']}; both pods run")

    cluster.apply(manifest("second", GPU_GANG, queueName=QUEUE))
    waiting = cluster.wait_ready("second", "Queued")
    (second,) = jobs_of(cluster, "second")
    log(f"second: {step_of(waiting, 'train')['reason']}; Kueue: {queues.wait_refused(second)}")
    assert not running(kubelet, "second")

    kubelet.finish("train")
    cluster.wait_ready("first", "Succeeded")
    log("first: Succeeded")
    cluster.wait_ready("second", "Running")
    kubelet.wait_running("train", pods=2)
    log(f"second: {conditions(queues.workload(second))['Admitted']['message']}; both pods run")
    assert "Finished" in conditions(queues.workload(first))
    kubelet.finish("train")
    done = step_of(cluster.wait_ready("second", "Succeeded"), "train")
    assert (done["attempt"], done["restarts"], done["disruptions"]) == (1, 0, 0)
    log("second: Succeeded")


@pytest.mark.parametrize("contest", CONTESTS.values(), ids=CONTESTS)
def test_preempted_step_resumes_uncounted_in_the_same_job(
    contest: Contest, cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, log: Log
) -> None:
    step, pods = contest.step, contest.pods
    queues.create(gpus=2)
    queues.add_priorities()
    kubelet.play("train", Play(seconds=None, checkpoint_step=60, stop_seconds=1.0))
    cluster.apply(manifest("low", step, maxRestarts=0, **contest.spec("low")))
    before = kubelet.wait_running("train", pods=pods)
    (job,) = jobs_of(cluster, "low")
    log(f"low: Admitted with priority {queues.workload(job)['spec']['priority']}; {pods} pods run")

    cluster.apply(manifest("high", step, **contest.spec("high")))
    cluster.wait_for(lambda: len(running(kubelet, "high")) == pods, "the pods of high")
    preempted = conditions(queues.workload(job))["Preempted"]
    log(f"low: Preempted ({preempted['reason']}); its pods ended with exit code 143")
    waiting = step_of(cluster.wait_ready("low", "Queued"), "train")
    log(f"low: {waiting['reason']}: {waiting['message']}")
    assert not running(kubelet, "low")
    assert (waiting["attempt"], waiting["restarts"], waiting["disruptions"]) == (1, 0, 0)
    (high,) = jobs_of(cluster, "high")
    log(f"high: Admitted with priority {queues.workload(high)['spec']['priority']}")

    kubelet.finish("train")
    cluster.wait_ready("high", "Succeeded")
    log("high: Succeeded")
    after = kubelet.wait_running("train", pods=pods)
    cluster.wait_ready("low", "Running")
    assert not {pod.uid for pod in before} & {pod.uid for pod in after}
    assert tasks(before) == tasks(after), "the new pods have the same commands and volumes, so they find the checkpoint"
    log("low: runs again in the same Job, with new pods")
    kubelet.finish("train", Play(checkpoint_step=100))
    done = step_of(cluster.wait_ready("low", "Succeeded"), "train")
    assert (done["attempt"], done["restarts"], done["disruptions"]) == (1, 0, 0)
    assert [found["metadata"]["uid"] for found in jobs_of(cluster, "low")] == [job["metadata"]["uid"]]
    log(f"low: Succeeded with attempt 1, restarts 0, disruptions 0, checkpoint of step {done['checkpointStep']}")


def test_nine_steps_succeed_through_a_queue(cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, log: Log) -> None:
    queues.create(gpus=2, cpus=4)
    steps = [
        {**step, "resources": {"requests": {"cpu": "2"}}, **({"gpusPerNode": 1} if "train" in step else {})}
        for step in NINE_STEPS
    ]
    cluster.apply(manifest("nine", *steps, queueName=QUEUE))
    done = cluster.wait_ready("nine", "Succeeded", 180)
    jobs = jobs_of(cluster, "nine")
    for job in jobs:
        step = job["metadata"]["labels"]["maskrcnn.dev/step"]
        workload = queues.workload(job)
        log(f"{step}: {conditions(workload)['Finished']['reason']} after admission with {usage(workload)}")
        assert "Admitted" in conditions(workload)
        assert (step_of(done, step)["attempt"], step_of(done, step)["restarts"]) == (1, 0)
    assert len(jobs) == len(NINE_STEPS)


def test_default_queue_of_a_namespace_takes_experiments_without_a_queue(
    cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, log: Log
) -> None:
    queues.create(gpus=1, queue=DEFAULT_QUEUE)
    kubelet.play("train", RUNS)
    cluster.apply(manifest("first", {**TRAIN, "gpusPerNode": 1}))
    kubelet.wait_running("train")
    cluster.apply(manifest("second", {**TRAIN, "gpusPerNode": 1}))
    cluster.wait_ready("second", "Queued")
    log("without queueName: first runs, second is Queued")
    kubelet.finish("train")
    cluster.wait_ready("first", "Succeeded")
    kubelet.wait_running("train")
    kubelet.finish("train")
    cluster.wait_ready("second", "Succeeded")
    log("both: Succeeded")


def test_gang_stays_within_the_required_topology(
    cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, log: Log
) -> None:
    queues.add_nodes(blocks=2, hosts=3, gpus=1)
    queues.create(gpus=6, topology=True)
    kubelet.play("train", RUNS)
    required = {"podOverrides": {"annotations": {"kueue.x-k8s.io/podset-required-topology": BLOCK}}}
    log("nodes: 2 blocks of 3 hosts with 1 GPU each; each gang has 2 pods with 1 GPU and requires one block")
    placed: dict[str, set[str]] = {}
    for name in ("first", "second"):
        cluster.apply(manifest(name, GPU_GANG, queueName=QUEUE, **required))
        cluster.wait_for(lambda name=name: len(running(kubelet, name)) == 2, f"the pods of {name}")
        (job,) = jobs_of(cluster, name)
        workload = queues.workload(job)
        nodes = {
            pod["spec"]["nodeName"]
            for pod in cluster.pods()
            if pod["metadata"]["labels"]["maskrcnn.dev/experiment"] == name
        }
        required_by = workload["spec"]["podSets"][0]["topologyRequest"]
        assert required_by["required"] == BLOCK
        log(f"{name}: the Workload has topologyRequest {required_by}; it runs on {sorted(nodes)}")
        placed[name] = {node.rsplit("-", 1)[0] for node in nodes}
        assert len(nodes) == 2
    assert [len(blocks) for blocks in placed.values()] == [1, 1]
    assert placed["first"] != placed["second"], "the block of the first gang has one host left"
    cluster.apply(manifest("third", GPU_GANG, queueName=QUEUE, **required))
    cluster.wait_ready("third", "Queued")
    (third,) = jobs_of(cluster, "third")
    log(f"third: Queued, with a GPU left in each block; Kueue: {queues.wait_refused(third)}")
    assert not running(kubelet, "third")
    kubelet.finish("train")
    cluster.wait_for(lambda: len(running(kubelet, "third")) == 2, "the pods of third")
    log("third: runs once the others have ended")


def usage(workload: dict[str, Any]) -> str:
    """Return the resources that Kueue counted for a Workload."""
    used = workload["status"]["admission"]["podSetAssignments"][0].get("resourceUsage", {})
    return ", ".join(f"{name} {used[name]}" for name in ("cpu", GPU) if name in used) or "no resources"
