"""Namespace whose workspace contains the shapes data set, with queries about its experiments."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster, wait_until

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 420.0
"""Limit for waits on training: the machine may be slow, and TensorFlow starts slowly."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Team:
    """One namespace.

    Attributes:
        cluster: of the namespace.
        namespace: its name.
        folder: of the workspace, on this machine.
    """

    cluster: Cluster
    namespace: str
    folder: Path

    def apply(self, *objects: Object) -> None:
        """Apply objects in the namespace."""
        self.cluster.apply(*objects, namespace=self.namespace)

    def patch(self, name: str, **spec: Any) -> None:
        """Change fields of an experiment's spec."""
        text = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "mrx", name, "-n", self.namespace, "--type=merge", "-p", text)

    def status(self, name: str) -> Object:
        """Return an experiment's status; empty if there is none yet."""
        found = self.cluster.get("mrx", name, self.namespace)
        return dict((found or {}).get("status") or {})

    def step(self, experiment: str, name: str) -> Object:
        """Return a step's status; empty if there is none yet."""
        return next((step for step in self.status(experiment).get("steps", []) if step["name"] == name), {})

    def pods(self, experiment: str, step: str) -> list[Object]:
        """Return the pods of a step that have not ended, by name."""
        selector = f"maskrcnn.dev/experiment={experiment},maskrcnn.dev/step={step}"
        items = self.cluster.list("pod", self.namespace, selector)
        live = [item for item in items if item["status"].get("phase") in ("Pending", "Running")]
        return sorted(live, key=lambda item: str(item["metadata"]["name"]))

    def jobs(self, experiment: str) -> list[str]:
        """Return the names of an experiment's Jobs."""
        selector = f"maskrcnn.dev/experiment={experiment}"
        items = self.cluster.list("job", self.namespace, selector)
        return sorted(item["metadata"]["name"] for item in items)

    def condition(self, name: str, kind: str) -> Object:
        """Return a condition; empty if there is none yet."""
        return next((entry for entry in self.status(name).get("conditions", []) if entry["type"] == kind), {})

    def wait(self, what: str, found: Callable[[], Any], seconds: float = PATIENCE_SECONDS, *, of: str) -> Any:
        """Wait until ``found`` is true; the message of a timeout has the status of the experiment ``of``."""
        return wait_until(what, found, seconds, lambda: json.dumps(self.status(of), indent=1)[-6000:])

    def wait_succeeded(self, name: str, seconds: float = PATIENCE_SECONDS) -> Object:
        """Wait until an experiment has Succeeded and return its status.

        Raises:
            AssertionError: it is Stalled, or the time is over.
        """

        def ended() -> bool:
            stalled = self.condition(name, "Stalled")
            assert stalled.get("status") != "True", json.dumps(self.status(name), indent=1)[-6000:]
            return bool(self.condition(name, "Succeeded").get("status") == "True")

        self.wait(f"{name} Succeeded", ended, seconds, of=name)
        return self.status(name)

    def wait_stalled(self, name: str, seconds: float = PATIENCE_SECONDS) -> Object:
        """Wait until an experiment is Stalled and return this condition."""

        def stalled() -> Object | None:
            condition = self.condition(name, "Stalled")
            return condition if condition.get("status") == "True" else None

        return dict(self.wait(f"{name} Stalled", stalled, seconds, of=name))

    def wait_checkpoint(self, experiment: str, step: str = "train") -> int:
        """Wait until a running training has written a checkpoint and return its step."""
        folder = self.folder / experiment / step

        def newest() -> int:
            names = [path.stem.rpartition("-")[2] for path in folder.glob("model.step-*.tlt")]
            return max((int(name) for name in names), default=0)

        return int(self.wait("a checkpoint", newest, of=experiment))

    def results(self, name: str) -> dict[str, dict[str, str]]:
        """Return the metrics of every step, as in the status."""
        steps = self.status(name)["steps"]
        return {step["name"]: {item["name"]: item["value"] for item in step.get("metrics", [])} for step in steps}


def draw_shapes(folder: Path, train: int = 24, val: int = 6) -> None:
    """Generate the shapes data set for the scenarios."""
    generate = [sys.executable, str(ROOT / "examples" / "shapes" / "generate.py"), "--output", str(folder)]
    subprocess.run([*generate, "--train", str(train), "--val", str(val)], check=True, capture_output=True)
