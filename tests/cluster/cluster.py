"""Cluster as scenarios use it, through kubectl and helm: the bed's, or an existing one."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from tests.apiserver.rest import RestError
from tests.cluster.bed import ClusterBed
from tests.cluster.node import log_tail

T = TypeVar("T")

NAMESPACE = "maskrcnn-system"
"""Namespace of the operator."""
POLL_SECONDS = 0.5
NO_ANSWER_SECONDS = 120.0
"""Limit for a response of the API server, which is slow when trainings use all cores."""
PATHS = {
    "mrx": ("/apis/maskrcnn.dev/v1alpha1", "maskrcnnexperiments"),
    "pod": ("/api/v1", "pods"),
    "node": ("/api/v1", "nodes"),
    "job": ("/apis/batch/v1", "jobs"),
    "deployment": ("/apis/apps/v1", "deployments"),
    "lease": ("/apis/coordination.k8s.io/v1", "leases"),
}


@dataclass
class Cluster:
    """kubectl and helm for one cluster.

    Attributes:
        kubeconfig: of the admin.
        kubectl_program: path of the executable.
        helm_program: path of the executable.
        bed: that runs the cluster; None for an existing cluster.
        kept: folder for the evidence of failed scenarios.
    """

    kubeconfig: Path
    kubectl_program: Path
    helm_program: Path
    kept: Path
    bed: ClusterBed | None = None
    created: list[str] = field(default_factory=list)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl and return its standard output.

        Raises:
            AssertionError: kubectl failed and ``check`` is true; the message is its output.
        """
        done = self.run(str(self.kubectl_program), *arguments, input=input)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def helm(self, *arguments: str) -> str:
        """Run helm and return its standard output; fail the test if helm fails."""
        done = self.run(str(self.helm_program), *arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *command: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program with this cluster's KUBECONFIG."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.kept / "cache")}
        return subprocess.run(command, input=input, capture_output=True, text=True, check=False, env=environment)

    def get(self, kind: str, name: str, namespace: str = "") -> Any:
        """Return an object, decoded; None if it doesn't exist. ``kind`` is one of ``PATHS``."""
        return self._read(f"{_path(kind, namespace)}/{name}")

    def list(self, kind: str, namespace: str = "", labels: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind that ``labels`` select, decoded; of all namespaces if none is given."""
        query = f"?labelSelector={urllib.parse.quote(labels)}" if labels else ""
        found = self._read(f"{_path(kind, namespace)}{query}")
        return list(found["items"]) if found else []

    def _read(self, path: str) -> Any:
        """Return the object or list at a path of the API; None if there is none.

        A bed is read without kubectl: several kubectl processes per second would load a core.
        """
        if self.bed is not None:
            return _read_bed(self.bed, path)
        done = self.run(str(self.kubectl_program), "get", "--raw", path)
        if done.returncode != 0 and "NotFound" in done.stderr:
            return None
        assert done.returncode == 0, f"kubectl get --raw {path}: {done.returncode}\n{done.stderr}"
        return json.loads(done.stdout)

    def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> str:
        """Apply objects by kubectl and return its output."""
        scope = ["-n", namespace] if namespace else []
        text = "\n---\n".join(json.dumps(item) for item in objects)
        return self.kubectl("apply", *scope, "-f", "-", input=text)

    def create_namespace(self, prefix: str, **labels: str) -> str:
        """Create a namespace that enforces the restricted Pod Security Standard, and return its name."""
        name = f"{re.sub('[^a-z0-9]+', '-', prefix.lower())[:40].strip('-')}-{secrets.token_hex(3)}"
        enforced = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforced}})
        self.created.append(name)
        return name

    def keep_evidence(self, name: str) -> Path:
        """Write objects, events and logs to a new folder and return it, for the analysis of a failure."""
        folder = self.kept / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, arguments in (
            ("objects.txt", ("get", "mrx,jobs,pods,pvc,events", "-A", "-o", "wide")),
            ("experiments.yaml", ("get", "mrx", "-A", "-o", "yaml")),
            ("pods.yaml", ("get", "pods", "-A", "-o", "yaml")),
            (
                "operator.log",
                ("logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=maskrcnn-operator", "--tail=-1", "--prefix"),
            ),
        ):
            (folder / file).write_text(self.kubectl(*arguments, check=False))
        for log in self.bed.folder.glob("*.log") if self.bed is not None else ():
            (folder / f"bed-{log.name}").write_text(log_tail(log))
        return folder


def _read_bed(bed: ClusterBed, path: str) -> Any:
    """Return the object or list at a path of a bed's API; None if there is none. Retry if there is no response."""
    deadline = time.monotonic() + NO_ANSWER_SECONDS
    while True:
        try:
            return bed.api("GET", path)
        except RestError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _path(kind: str, namespace: str) -> str:
    group, plural = PATHS[kind]
    return f"{group}/namespaces/{namespace}/{plural}" if namespace else f"{group}/{plural}"


def wait_until(what: str, found: Callable[[], T | None], seconds: float, describe: Callable[[], str] = str) -> T:
    """Call ``found`` until its result is true, and return this result.

    Raises:
        AssertionError: the time is over; the message has the text of ``describe``.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds:g} s waiting for {what}\n{describe()}")
        time.sleep(POLL_SECONDS)
