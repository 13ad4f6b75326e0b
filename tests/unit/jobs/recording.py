"""Experiments in all states of their life, with their Jobs and pods in the form of an API server.

``MASKRCNN_WRITE_RECORDED=1 pytest tests/unit/jobs/test_observe_recorded.py`` writes the recordings of this release.
Those of a published release are never written again: later releases must be able to handle them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import Progress, format_time
from maskrcnn_operator.core.plan import Plan, Settings, StartRefusal
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.jobs.config import JobConfig, run_name
from maskrcnn_operator.jobs.manifests import job_manifest
from maskrcnn_operator.jobs.observe import observe
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import MANIFEST, UID, at

RELEASE = "v0.1.0"
RECORDED = Path(__file__).parents[1] / "core" / "recorded"
CONFIG = JobConfig(default_image="example.org/maskrcnn-trainer:0.1.0")
SETTINGS = Settings(default_image=CONFIG.default_image, run_name=run_name, queueing=True)

Change = Callable[[dict[str, Any]], object]
Object = dict[str, Any]


def read_experiment(*changes: Change, generation: int = 1) -> MaskRCNNExperiment:
    manifest = copy.deepcopy(MANIFEST)
    manifest["metadata"] |= {"namespace": "lab", "uid": UID, "generation": generation, "resourceVersion": "4711"}
    for change in changes:
        change(manifest["spec"])
    return read_object(manifest)


class Scene:
    """Experiment with its objects, in a cluster that carries out the operator's plans at once."""

    def __init__(self, *changes: Change) -> None:
        self.changes = changes
        self.experiment = read_experiment(*changes)
        self.jobs: list[Object] = []
        self.pods: list[Object] = []
        self.now = at(0)
        self.refused: dict[str, StartRefusal] = {}
        self.settings = SETTINGS

    def look(self) -> Plan:
        plan = replayed(self.experiment, self.jobs, self.pods, self.now, settings=self.settings, refused=self.refused)
        self.experiment = self.experiment.with_status(plan.status)
        for start in plan.start:
            self.jobs.append(self.accepted(job_manifest(self.experiment, start, CONFIG)))
        gone = {(key.step, str(key.attempt)) for key in (*plan.stop, *plan.forget)}
        for job in self.jobs:
            if _attempt(job) in gone:
                job["metadata"]["deletionTimestamp"] = format_time(self.now)
                for pod in self.pods_of(job):
                    pod["metadata"].setdefault("deletionTimestamp", format_time(self.now + timedelta(seconds=120)))
        return plan

    def settle(self) -> None:
        for _ in range(20):
            plan = self.look()
            if not (plan.start or plan.stop or plan.forget or plan.write_status or plan.drop_progress):
                return
        raise AssertionError("no fixed point")

    def accepted(self, job: Object) -> Object:
        """Return a Job in the form of an API server, without fields that affect no decision."""
        job["metadata"] |= {
            "uid": f"uid-of-{job['metadata']['name']}",
            "resourceVersion": "1",
            "creationTimestamp": format_time(self.now),
        }
        template = job["spec"]["template"]
        template["metadata"]["annotations"].pop("maskrcnn.dev/spec", None)
        main = template["spec"]["containers"][0]
        template["spec"] = {"containers": [{key: main[key] for key in ("name", "image", "args")}]}
        queued = job["spec"]["suspend"]
        job["status"] = {} if queued else {"startTime": format_time(self.now)}
        return job

    def job(self, step: str) -> Object:
        mine = [job for job in self.jobs if job["metadata"]["labels"]["maskrcnn.dev/step"] == step]
        return max(mine, key=lambda job: int(job["metadata"]["labels"]["maskrcnn.dev/attempt"]))

    def pods_of(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        return [pod for pod in self.pods if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def run(self, *steps: str, **status: Any) -> None:
        """Make the pods of the newest attempts run, or give them ``status``."""
        for step in steps:
            job = self.job(step)
            template = job["spec"]["template"]
            for index in range(job["spec"]["parallelism"]):
                name = f"{job['metadata']['name']}-{index}"
                labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-completion-index": str(index)}
                owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
                self.pods.append(
                    {
                        "metadata": {
                            "name": name,
                            "namespace": "lab",
                            "uid": f"uid-of-{name}",
                            "creationTimestamp": format_time(self.now),
                            "labels": labels,
                            "annotations": template["metadata"]["annotations"],
                            "ownerReferences": [owner],
                        },
                        "spec": {"nodeName": f"node-{index}"},
                        "status": status
                        or {
                            "phase": "Running",
                            "conditions": [{"type": "Ready", "status": "True"}],
                            "containerStatuses": [{"name": "trainer", "state": {"running": {}}}],
                        },
                    }
                )
        self.settle()

    def end(self, step: str, code: int, **word: Any) -> None:
        """End the newest attempt with exit code ``code``."""
        self.now += timedelta(minutes=10)
        job = self.job(step)
        if not self.pods_of(job):
            self.run(step)
        labels = job["metadata"]["labels"]
        said = {
            "version": 1,
            "task": step,
            "code": code,
            "fingerprint": job["metadata"]["annotations"]["maskrcnn.dev/fingerprint"],
            "attempt": int(labels["maskrcnn.dev/attempt"]),
            **word,
        }
        for index, pod in enumerate(self.pods_of(job)):
            ended = {
                "exitCode": code,
                "reason": "Error" if code else "Completed",
                "message": "" if index else json.dumps(said),
                "finishedAt": format_time(self.now),
            }
            pod["status"] = {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [{"name": "trainer", "state": {"terminated": ended}}],
            }
        kind, reason = ("Failed", "BackoffLimitExceeded") if code else ("Complete", "CompletionsReached")
        told = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": format_time(self.now)}
        job["status"] = {**job["status"], "conditions": [told]}
        if not code:
            job["status"]["completionTime"] = format_time(self.now)
        self.settle()

    def succeed(self, *steps: str) -> None:
        for step in steps:
            path = f"/workspace/nuclei/{step}/model.tlt"
            model = {"model": {"path": path, "bytes": 123456789}}
            makes_model = step in ("train", "prune", "retrain", "export")
            metrics = {"AP": 0.377, "mask_AP": 0.342} if step.startswith("evaluate") else {"loss": 0.61}
            self.end(
                step,
                0,
                modelPath=path if makes_model else None,
                artifacts=model if makes_model else {},
                metrics=metrics,
                checkpointStep=120000 if step in ("train", "retrain") else None,
            )

    def edit(self, *changes: Change) -> None:
        generation = self.experiment.metadata.generation + 1
        status = self.experiment.status
        self.experiment = read_experiment(*self.changes, *changes, generation=generation).with_status(status)
        self.settle()

    def to_yaml(self) -> str:
        content = {
            "now": format_time(self.now),
            "experiment": self.experiment.to_json(),
            "jobs": self.jobs,
            "pods": self.pods,
        }
        # through JSON, so that YAML has no anchors: objects that are shared here are separate on a server
        return yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, width=120)


def replayed(
    experiment: MaskRCNNExperiment,
    jobs: list[Object],
    pods: list[Object],
    now: datetime,
    *,
    settings: Settings = SETTINGS,
    refused: dict[str, StartRefusal] | None = None,
) -> Plan:
    """Return the plan for recorded objects."""
    seen = observe(experiment, [job_view(job) for job in jobs], [pod_view(pod) for pod in pods], now)
    return reconcile(experiment, seen.runs, now, settings, lingering=seen.lingering, refused=refused or {})


def _attempt(job: Object) -> tuple[str, str]:
    labels = job["metadata"]["labels"]
    return labels["maskrcnn.dev/step"], labels["maskrcnn.dev/attempt"]


def scenes() -> Iterator[tuple[str, Scene]]:  # noqa: PLR0915 - one story, each scene continues the last
    """Yield all states in which an experiment may rest, by name."""
    scene = Scene()
    scene.settle()
    yield "starting", scene
    scene.run("convert-train", "convert-val")
    yield "converting", scene
    scene.succeed("convert-train", "convert-val")
    scene.run("train")
    progress = Progress(step="train", iteration=50400, total_iterations=120000, checkpoint_step=50000)
    scene.experiment = scene.experiment.with_status(scene.experiment.status.model_copy(update={"progress": progress}))
    scene.settle()
    yield "training", scene
    scene.experiment = scene.experiment.with_status(scene.experiment.status.model_copy(update={"progress": None}))
    scene.end("train", 75, error={"reason": "LostPeer", "message": "rank 9 does not answer"}, checkpointStep=60000)
    yield "back-off", scene
    scene.now += timedelta(seconds=10)
    scene.settle()
    scene.run("train")
    scene.succeed("train", "evaluate", "prune", "retrain", "evaluate-pruned", "inference", "export")
    yield "succeeded", scene
    scene.edit(lambda spec: spec["steps"][8]["export"].update(dataType="fp16"))
    scene.run("export")
    yield "exporting-again", scene

    scene = Scene(lambda spec: spec.update(queueName="gpus"))
    scene.settle()
    yield "queued", scene

    scene = Scene()
    scene.settle()
    image = {
        "waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x": ErrImagePull: not found'}
    }
    pending = {"phase": "Pending", "containerStatuses": [{"name": "trainer", "state": image}]}
    scene.run("convert-train", "convert-val", **pending)
    yield "image-pull-back-off", scene

    scene = Scene()
    scene.settle()
    scene.run("convert-train", "convert-val")
    scene.edit(lambda spec: spec.update(suspend=True))
    yield "stopping", scene
    for step in ("convert-train", "convert-val"):
        scene.end(step, 143, error={"reason": "Stopped", "message": "stopped"})
    scene.jobs, scene.pods = [], []
    scene.settle()
    yield "suspended", scene

    scene = Scene()
    scene.settle()
    scene.end("convert-train", 64, error={"reason": "InvalidData", "message": "train.json: no images"})
    scene.succeed("convert-val")
    yield "failed", scene

    scene = Scene(lambda spec: spec["steps"][3].update(modelFrom="nobody"))
    scene.settle()
    yield "invalid", scene

    scene = Scene()
    taken = StartRefusal(Reason.NAME_TAKEN, "Job nuclei-convert-train-1-abcde is owned by another controller")
    scene.refused = {"convert-train": taken}
    scene.settle()
    yield "name-taken", scene

    scene = Scene()
    scene.settle()
    scene.succeed("convert-train", "convert-val")
    scene.run("train")
    for pod in scene.pods_of(scene.job("train")):
        pod["metadata"]["deletionTimestamp"] = format_time(scene.now)
    scene.now += timedelta(seconds=60)
    scene.settle()
    yield "node-lost", scene
