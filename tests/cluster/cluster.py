"""The cluster that scenarios speak to, by kubectl and helm only: the bed's, or one that is there already."""

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
"""Where the operator is installed."""
POLL_SECONDS = 0.5
NO_ANSWER_SECONDS = 120.0
"""For the API server to answer at all. Side by side with training on two cores it may take its time."""
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
    """kubectl and helm against one cluster.

    Attributes:
        kubeconfig: by which they are admin.
        kubectl_program, helm_program: their executables.
        bed: what the cluster runs in; None for one that was there already.
        kept: folder of what is kept when a scenario fails.
    """

    kubeconfig: Path
    kubectl_program: Path
    helm_program: Path
    kept: Path
    bed: ClusterBed | None = None
    created: list[str] = field(default_factory=list)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Standard output of kubectl.

        Raises:
            AssertionError: it failed, unless ``check`` is false; the message is what it printed.
        """
        done = self.run(str(self.kubectl_program), *arguments, input=input)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def helm(self, *arguments: str) -> str:
        """Standard output of helm, which must succeed."""
        done = self.run(str(self.helm_program), *arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *command: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Any program with this cluster's KUBECONFIG."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.kept / "cache")}
        return subprocess.run(command, input=input, capture_output=True, text=True, check=False, env=environment)

    def get(self, kind: str, name: str, namespace: str = "") -> Any:
        """Return an object, decoded; None where there is none. ``kind`` is one of ``PATHS``."""
        return self._read(f"{_path(kind, namespace)}/{name}")

    def list(self, kind: str, namespace: str = "", labels: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind that ``labels`` select, decoded; all namespaces where none is named."""
        query = f"?labelSelector={urllib.parse.quote(labels)}" if labels else ""
        found = self._read(f"{_path(kind, namespace)}{query}")
        return list(found["items"]) if found else []

    def _read(self, path: str) -> Any:
        """Return what is at a path of the API; None where nothing is.

        Scenarios look several times a second: a kubectl each time would take a good part of a core.
        """
        if self.bed is not None:
            return _read_bed(self.bed, path)
        done = self.run(str(self.kubectl_program), "get", "--raw", path)
        if done.returncode != 0 and "NotFound" in done.stderr:
            return None
        assert done.returncode == 0, f"kubectl get --raw {path}: {done.returncode}\n{done.stderr}"
        return json.loads(done.stdout)

    def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> str:
        """Kubectl apply of objects."""
        scope = ["-n", namespace] if namespace else []
        text = "\n---\n".join(json.dumps(item) for item in objects)
        return self.kubectl("apply", *scope, "-f", "-", input=text)

    def create_namespace(self, prefix: str, **labels: str) -> str:
        """A namespace that enforces the restricted Pod Security Standard."""
        name = f"{re.sub('[^a-z0-9]+', '-', prefix.lower())[:40].strip('-')}-{secrets.token_hex(3)}"
        enforced = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforced}})
        self.created.append(name)
        return name

    def keep_evidence(self, name: str) -> Path:
        """Objects, events and logs, into a folder of their own; where to look after a failure."""
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
    """Return what is at a path of a bed's API; None where nothing is. Without an answer, ask again for some time."""
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
    """The first answer of ``found`` that is true.

    Raises:
        AssertionError: there was none in time; ``describe`` tells what there was instead.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}\n{describe()}")
        time.sleep(POLL_SECONDS)
