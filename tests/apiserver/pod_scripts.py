"""Behavior of a played pod, and the termination message that its task would have written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LABEL = "maskrcnn.dev"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
STOPPED = 143
ERRORS = {64: "InvalidInput", 70: "WorkspaceFull", 75: "TryAgain", STOPPED: "Stopped"}
ARTIFACT_BYTES = 1_000_000


@dataclass(frozen=True)
class Play:
    """Course of a pod; by default it starts, becomes ready, and succeeds at once with the message of its task.

    Args:
        seconds: running time; None to run until the pod is deleted or PlayedKubelet.finish ends it.
        exit_code: of the container at that end.
        reason: of the terminated container, such as ``OOMKilled``; default ``Completed`` or ``Error``.
        message: termination message; None for the one that the task would write (index 0 only), ``""`` for none.
        error: reason in the task's message of a failure; by default that of the exit code.
        metrics: numbers in the task's message; by default those of an evaluation for ``evaluate``.
        checkpoint_step: newest checkpoint in the task's message.
        ready: whether the pod becomes ready while it runs.
        unschedulable: why no node takes the pod; it stays Pending.
        waiting: why the container does not start, such as ``ImagePullBackOff``; the pod stays Pending on its node.
        waiting_message: the kubelet's message for it.
        disrupted: whether the pod is evicted after ``seconds`` (the API server sets DisruptionTarget and deletes it).
        stop_seconds: from the pod's deletion (SIGTERM) to its exit.
        stop_exit_code: of the container when it is stopped.
        outlived: whether the other containers keep running after the task's end, until the pod is deleted.
        lost: whether its node is gone, so that a deleted pod stays Terminating forever.
        node: name of the node that it is bound to.
        program: what runs the pod until it returns, in place of all fields above but ``node``. Its event is set once
            the pod is deleted, as a kubelet sends SIGTERM.
    """

    seconds: float | None = 0.0
    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    error: str | None = None
    metrics: Mapping[str, float] | None = None
    checkpoint_step: int | None = None
    ready: bool = True
    unschedulable: str | None = None
    waiting: str | None = None
    waiting_message: str | None = None
    disrupted: bool = False
    stop_seconds: float = 0.0
    stop_exit_code: int = STOPPED
    outlived: bool = False
    lost: bool = False
    node: str | None = None
    program: Callable[[PodFacts, asyncio.Event], Awaitable[ContainerEnd]] | None = None


@dataclass(frozen=True)
class ContainerEnd:
    """End of a pod's container.

    Attributes:
        code: exit code, 128 and the number for a signal.
        message: termination message.
    """

    code: int
    message: str


@dataclass(frozen=True)
class PodFacts:
    """Properties that decide the play; ``step`` is ``""`` and ``attempt`` 0 for a pod that isn't the operator's."""

    namespace: str
    name: str
    uid: str
    experiment: str
    step: str
    attempt: int
    index: int
    task: str
    fingerprint: str | None
    pod: Mapping[str, Any] = field(repr=False, compare=False)


def pod_facts(pod: Mapping[str, Any]) -> PodFacts:
    """Read a pod's labels, annotations and command line (``launch ... -- TASK ...``)."""
    metadata = pod["metadata"]
    labels = metadata.get("labels", {})
    annotations = metadata.get("annotations", {})
    container = pod["spec"]["containers"][0]
    words = [*container.get("command", ()), *container.get("args", ())]
    after = words.index("--") + 1 if "--" in words else len(words)
    return PodFacts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        experiment=labels.get(f"{LABEL}/experiment", ""),
        step=labels.get(f"{LABEL}/step", ""),
        attempt=int(labels.get(f"{LABEL}/attempt", 0)),
        index=int(annotations.get(INDEX_ANNOTATION, 0)),
        task=words[after] if after < len(words) else "",
        fingerprint=annotations.get(f"{LABEL}/fingerprint"),
        pod=pod,
    )


def termination_message(facts: PodFacts, play: Play, code: int) -> str:
    """Return the termination message that the trainer would write in that pod; ``""`` for any index but 0."""
    if play.message is not None:
        return play.message
    if not facts.step or facts.index != 0:
        return ""
    results = f"/workspace/{facts.experiment}/{facts.step}"
    step = play.checkpoint_step
    model, report, artifacts, metrics = None, None, {}, dict(play.metrics or {})
    if code == 0:
        if facts.task == "train":
            step = 1000 if step is None else step
            model = f"{results}/model.step-{step}.tlt"
        elif facts.task == "prune":
            model = f"{results}/model.tlt"
        elif facts.task == "export":
            model = f"{results}/model.onnx"
        elif facts.task == "evaluate":
            report = f"{results}/report.html"
            metrics = {"AP": 0.377, "AP50": 0.591, "mask_AP": 0.342} if play.metrics is None else metrics
        if model:
            artifacts = {"model": {"path": model, "bytes": ARTIFACT_BYTES}}
    reason = play.error or ERRORS.get(code, "Failed")
    error = None if code == 0 else {"reason": reason, "message": f"played: exit code {code}"}
    content = {
        "version": 1,
        "task": facts.task,
        "code": code,
        "fingerprint": facts.fingerprint,
        "attempt": facts.attempt,
        "modelPath": model,
        "metrics": metrics,
        "artifacts": artifacts,
        "checkpointStep": step,
        "error": error,
        **({"reportPath": report} if report else {}),
    }
    return json.dumps(content, separators=(",", ":"))
