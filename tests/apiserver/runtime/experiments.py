"""Experiments for tests of the running operator, and access to their status, Jobs, pods and events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.apiserver.bed import Bed
from tests.apiserver.rest import RestError

PATIENCE = 90.0
"""Limit of every wait in seconds, long enough for a busy machine."""

TRAINED: dict[str, Any] = {
    "seed": 7,
    "initLearningRate": 0.01,
    "learningRateSteps": [60, 80],
    "learningRateDecayLevels": [0.1, 0.02],
    "totalSteps": 100,
    "trainBatchSize": 1,
    "numExamplesPerEpoch": 10,
    "numStepsPerEval": 50,
    "checkpoint": "/workspace/resnet50.hdf5",
    "dataConfig": {
        "imageSize": [128, 128],
        "numClasses": 4,
        "evalSamples": 10,
        "trainingFilePattern": "/workspace/data/train*.tfrecord",
        "validationFilePattern": "/workspace/data/val*.tfrecord",
        "valJsonFile": "/workspace/data/val.json",
    },
    "maskrcnnConfig": {"nlayers": 50},
}

DATA_FIELDS: dict[str | None, tuple[str, ...]] = {
    "train": ("trainingFilePattern",),
    "val": ("validationFilePattern", "valJsonFile"),
}

CONVERT: dict[str, Any] = {
    "name": "convert",
    "datasetConvert": {"imageDir": "/workspace/raw", "annotationsFile": "/workspace/raw.json", "numShards": 4},
}
TRAIN: dict[str, Any] = {"name": "train", "train": {}}
GANG: dict[str, Any] = {"name": "train", "train": {}, "nodes": 2}
EVALUATE: dict[str, Any] = {"name": "evaluate", "evaluate": {}}
INFERENCE: dict[str, Any] = {"name": "inference", "inference": {"imageDir": "/workspace/samples"}}
EXPORT: dict[str, Any] = {"name": "export", "export": {}}

NINE_STEPS: list[dict[str, Any]] = [
    {**CONVERT, "name": "convert-train"},
    {
        "name": "convert-val",
        "datasetConvert": {"imageDir": "/workspace/raw", "annotationsFile": "/workspace/val.json", "split": "val"},
    },
    GANG,
    EVALUATE,
    {"name": "prune", "prune": {"pruningThreshold": 0.5}},
    {"name": "retrain", "train": {}, "experiment": {"l1WeightDecay": 0, "l2WeightDecay": 0}},
    {"name": "evaluate-pruned", "evaluate": {}},
    INFERENCE,
    {"name": "export", "export": {"dataType": "int8", "batchSize": 8}},
]


def manifest(name: str, *steps: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a manifest with these steps and the claim ``maskrcnn``, without data fields that a conversion fills."""
    data = dict(TRAINED["dataConfig"])
    for step in steps:
        split = step.get("datasetConvert", {}).get("split", "train") if "datasetConvert" in step else None
        for field in DATA_FIELDS.get(split, ()):
            data.pop(field, None)
    return {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": name},
        "spec": {
            "workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}},
            "experiment": {**TRAINED, "dataConfig": data},
            "steps": list(steps),
            **spec,
        },
    }


class Cluster:
    """One namespace, accessed as admin."""

    def __init__(self, bed: Bed, namespace: str) -> None:
        self.bed, self.namespace = bed, namespace
        self._experiments = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{namespace}/maskrcnnexperiments"
        self._jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def claim(self, *modes: str, name: str = "maskrcnn") -> None:
        """Create a claim for the workspace."""
        spec = {"accessModes": list(modes), "resources": {"requests": {"storage": "1Gi"}}}
        path = f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims"
        self.bed.api("POST", path, {"metadata": {"name": name}, "spec": spec})

    def apply(self, value: dict[str, Any]) -> dict[str, Any]:
        """Create an experiment."""
        created: dict[str, Any] = self.bed.api("POST", self._experiments, value)
        return created

    def edit(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Apply a merge patch to an experiment's spec."""
        edited: dict[str, Any] = self.bed.api("PATCH", f"{self._experiments}/{name}", {"spec": spec})
        return edited

    def delete(self, name: str, *, propagation: str = "Background") -> None:
        """Delete an experiment."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        self.bed.api("DELETE", f"{self._experiments}/{name}", options)

    def experiment(self, name: str) -> dict[str, Any] | None:
        """Return an experiment; None if it doesn't exist."""
        try:
            found: dict[str, Any] = self.bed.api("GET", f"{self._experiments}/{name}")
        except RestError as error:
            if error.status == 404:
                return None
            raise
        return found

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return all Jobs by ``step/attempt``."""
        labels = ((job, job["metadata"].get("labels", {})) for job in self.bed.api("GET", self._jobs)["items"])
        return {
            f"{found['maskrcnn.dev/step']}/{found['maskrcnn.dev/attempt']}": job
            for job, found in labels
            if "maskrcnn.dev/step" in found
        }

    def pods(self) -> list[dict[str, Any]]:
        """Return all pods."""
        found: list[dict[str, Any]] = self.bed.api("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return found

    def delete_job(self, name: str) -> None:
        """Delete a Job and its pods."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        self.bed.api("DELETE", f"{self._jobs}/{name}", options)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events about an experiment, oldest first."""
        listed = self.bed.api("GET", f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")["items"]
        mine = [event for event in listed if event["regarding"].get("name") == name]
        return sorted(mine, key=lambda event: str(event.get("eventTime")))

    def wait_event(self, name: str, reason: str) -> list[str]:
        """Wait for an event with that reason, which follows the status; return the reasons of all events."""
        reasons: list[str] = []

        def reported() -> bool:
            reasons[:] = [event["reason"] for event in self.events(name)]
            return reason in reasons

        self.wait_for(reported, f"the event {reason}")
        return reasons

    def wait(
        self, name: str, until: Callable[[dict[str, Any]], bool], what: str, seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until ``until`` holds for an experiment, and return it.

        Raises:
            AssertionError: it doesn't hold after ``seconds``; the message has the status, the Jobs, and the pods.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = self.experiment(name)
            if found is not None and until(found):
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"timed out waiting for {what}; {self.picture(name)}")
            time.sleep(0.05)

    def wait_for(self, until: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until ``until`` holds."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError(f"timed out waiting for {what}; Jobs {sorted(self.jobs())}")
            time.sleep(0.05)

    def wait_ready(self, name: str, reason: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until the STATE column shows ``reason``."""
        return self.wait(name, lambda found: ready_reason(found) == reason, f"state {reason}", seconds)

    def wait_step(self, name: str, step: str, **expected: Any) -> dict[str, Any]:
        """Wait until a step's status has these values; return the step's status."""

        def holds(found: dict[str, Any]) -> bool:
            status = step_of(found, step)
            return all(status.get(key) == value for key, value in expected.items())

        return step_of(self.wait(name, holds, f"step {step} with {expected}"), step)

    def picture(self, name: str) -> str:
        """Return the status, Jobs and pods of an experiment as text, for the message of a failed wait."""
        found = self.experiment(name) or {}
        steps = [
            {key: step[key] for key in ("name", "state", "reason", "message", "attempt") if key in step}
            for step in found.get("status", {}).get("steps", [])
        ]
        conditions = [
            (item["type"], item["status"], item["reason"], item["message"])
            for item in found.get("status", {}).get("conditions", [])
        ]
        jobs = {key: job.get("status") for key, job in self.jobs().items()}
        pods = [(pod["metadata"]["name"], pod["status"].get("phase")) for pod in self.pods()]
        return f"steps {steps}\nconditions {conditions}\nJobs {jobs}\npods {pods}"


def step_of(experiment: dict[str, Any], step: str) -> dict[str, Any]:
    """Return a step's status; empty if it has none."""
    steps: list[dict[str, Any]] = experiment.get("status", {}).get("steps", [])
    return next((found for found in steps if found["name"] == step), {})


def condition(experiment: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Return the condition of that type; None if there is none."""
    found: list[dict[str, Any]] = experiment.get("status", {}).get("conditions", [])
    return next((item for item in found if item["type"] == kind), None)


def ready_reason(experiment: dict[str, Any]) -> str:
    """Return the value that ``kubectl get`` shows as STATE."""
    ready = condition(experiment, "Ready")
    return ready["reason"] if ready else ""
