"""Running Job of ours whose labels or owner are changed: only its step is held."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.cluster.conftest import EXPERIMENT, FakeServer, Object
from tests.unit.runtime.test_reconciler import KEY, Stage

from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS
from maskrcnn_operator.jobs.names import (
    ANNOTATION_EXPERIMENT_UID,
    ANNOTATION_FINGERPRINT,
    LABEL_ATTEMPT,
    LABEL_EXPERIMENT,
    LABEL_STEP,
    job_name,
)

CONVERT = {"imageDir": "/workspace/raw", "annotationsFile": "/workspace/raw.json"}
A = {"name": "a", "datasetConvert": CONVERT}
B = {"name": "b", "datasetConvert": {**CONVERT, "split": "val"}}
C = {"name": "c", "datasetConvert": {**CONVERT, "tag": "more"}}
CHANGES: list[dict[str, Any]] = [
    {"labels": {}},
    {"labels": {LABEL_EXPERIMENT: "other", LABEL_STEP: "a", LABEL_ATTEMPT: "1"}},
    {"labels": {LABEL_EXPERIMENT: "nuclei", LABEL_STEP: "b", LABEL_ATTEMPT: "1"}},
    {"labels": {LABEL_EXPERIMENT: "nuclei", LABEL_STEP: "b", LABEL_ATTEMPT: "2"}},
    {"labels": {LABEL_EXPERIMENT: "nuclei", LABEL_STEP: "c", LABEL_ATTEMPT: "1"}},
    {"labels": {LABEL_EXPERIMENT: "nuclei", LABEL_STEP: "a", LABEL_ATTEMPT: "2"}},
    {"ownerReferences": []},
]


class Relabeling(Stage):
    """Experiment of independent steps, in which the Job of step ``a`` can be relabeled."""

    def __init__(self, *steps: Object) -> None:
        server = FakeServer()
        experiment = copy.deepcopy(EXPERIMENT)
        experiment["spec"]["steps"] = list(steps)
        server.add(EXPERIMENTS, "ns", experiment)
        super().__init__(server)
        self.before: Object = {}

    def job(self, step: str = "a", attempt: int = 1) -> Object:
        return self.server.objects["jobs", "ns", job_name("nuclei", step, attempt, "exp-1")]

    def jobs(self) -> set[str]:
        """Return step and attempt of every Job, by its name."""
        suffix = job_name("nuclei", "a", 1, "exp-1").removeprefix("nuclei-a-1")
        names = (name for plural, _, name in self.server.objects if plural == "jobs")
        return {name.removeprefix("nuclei-").removesuffix(suffix) for name in names}

    def remove_job(self, step: str) -> None:
        name = self.job(step)["metadata"]["name"]
        del self.server.objects["jobs", "ns", name]

    def write(self, step: str, **fields: Any) -> None:
        """Change a Job without the operator, and let the watch deliver it."""
        job = self.job(step)
        job |= {key: value for key, value in fields.items() if key != "metadata"}
        job["metadata"] |= fields.get("metadata", {})
        job = self.server.add(JOBS, "ns", job)
        if LABEL_EXPERIMENT in job["metadata"]["labels"]:
            self.cache.put(JOBS, job)
        else:
            self.cache.drop(JOBS, job["metadata"]["uid"], int(job["metadata"]["resourceVersion"]))

    def relabel(self, change: dict[str, Any]) -> None:
        self.before = {key: copy.deepcopy(self.job()["metadata"][key]) for key in ("labels", "ownerReferences")}
        self.write("a", metadata=change)

    def edit(self, **spec: Any) -> None:
        experiment = copy.deepcopy(self.stored)
        experiment["spec"] |= spec
        experiment["metadata"]["generation"] += 1
        self.put(experiment)

    def step(self, name: str) -> tuple[str, str]:
        [step] = [step for step in self.stored["status"]["steps"] if step["name"] == name]
        return step["state"], step["reason"]

    async def looks(self, times: int = 4) -> None:
        for _ in range(times):
            await self.look()


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_relabeled_job_holds_only_its_step(change: dict[str, Any]) -> None:
    stage = Relabeling(A, B)
    await stage.looks()
    assert stage.jobs() == {"a-1", "b-1"}
    stage.relabel(change)
    stage.edit(steps=[A, B, C])
    await stage.looks()
    assert stage.step("a") == ("Starting", "JobRelabeled")
    assert stage.jobs() == {"a-1", "b-1", "c-1"}
    assert "runs, but its labels or its owner were changed" in str(stage.stored["status"])
    assert stage.reasons["Ready"] == "Starting"

    stage.edit(suspend=True)
    await stage.looks()
    assert stage.step("a") == ("Stopping", "Suspended")
    for step in ("b", "c"):
        assert stage.job(step)["metadata"]["deletionTimestamp"]
    assert "deletionTimestamp" not in stage.job()["metadata"]
    assert "Suspended" not in stage.reasons

    stage.write("a", metadata=stage.before)
    await stage.looks()
    assert stage.job()["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_relabeled_job_is_followed_again_once_its_labels_are_back(change: dict[str, Any]) -> None:
    stage = Relabeling(A, B, C)
    await stage.looks()
    stage.relabel(change)
    await stage.looks()
    stage.write("a", metadata=stage.before)
    await stage.looks()
    assert stage.step("a") == ("Starting", "Starting")
    assert "JobRelabeled" not in str(stage.stored["status"])
    assert stage.jobs() == {"a-1", "b-1", "c-1"}


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
async def test_relabeled_job_whose_pods_have_ended_gets_no_other_attempt_next_to_it(phase: str) -> None:
    stage = Relabeling(A)
    await stage.looks()
    job = stage.job()["metadata"]
    pod = {
        "name": "nuclei-a-1-0",
        "labels": dict(job["labels"]),
        "annotations": {ANNOTATION_EXPERIMENT_UID: stage.stored["metadata"]["uid"], ANNOTATION_FINGERPRINT: "x"},
        "ownerReferences": [{"kind": "Job", "controller": True, "name": job["name"], "uid": job["uid"]}],
    }
    stage.cache.put(PODS, stage.server.add(PODS, "ns", {"metadata": pod, "status": {"phase": phase}}))
    stage.relabel({"labels": {}})
    await stage.looks()
    assert stage.step("a") in {("Starting", "JobRelabeled"), ("Running", "JobRelabeled")}
    assert stage.jobs() == {"a-1"}


async def test_deleted_relabeled_job_is_created_again() -> None:
    stage = Relabeling(A)
    await stage.looks()
    stage.relabel({"labels": {}})
    await stage.looks()
    wait = await stage.reconciler.reconcile(KEY)
    assert wait is not None
    assert 0 < wait <= 30
    stage.remove_job("a")
    await stage.looks()
    assert stage.step("a") == ("Pending", "RunLost")


async def test_step_removed_and_added_again_starts_nothing_next_to_its_relabeled_job() -> None:
    stage = Relabeling(A, B)
    await stage.looks()
    # the Job has a later attempt, so that the name of the next one would be free
    stage.remove_job("a")
    stage.cache.replace(JOBS, [stage.job("b")])
    stored = copy.deepcopy(stage.stored)
    job = stage.job("b")
    copied = copy.deepcopy(job)
    name = job_name("nuclei", "a", 2, "exp-1")
    copied["metadata"] |= {"name": name, "uid": "a-2"}
    copied["metadata"]["labels"] = {}
    stage.server.add(JOBS, "ns", copied)
    stored["status"]["steps"][0] |= {"attempt": 2, "jobName": name}
    stage.put(stored)
    await stage.looks()
    assert stage.step("a") == ("Starting", "JobRelabeled")
    stage.edit(steps=[B])
    await stage.looks()
    stage.edit(steps=[A, B])
    await stage.looks()
    assert stage.jobs() == {"a-2", "b-1"}
    assert stage.step("a")[0] in ("Starting", "Stopping")
