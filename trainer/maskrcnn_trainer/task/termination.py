"""Termination message of a task: a JSON object within the size limit of Kubernetes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.files import open_in_place
from maskrcnn_trainer.shared.messages import (
    ErrorKey,
    ResultKey,
    StoredArtifact,
    TaskFailure,
    TerminationMessage,
    finite_numbers,
)
from maskrcnn_trainer.task.artifacts import PathLike
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import compact_json
from maskrcnn_trainer.task.workspace import manifest_path

logger = logging.getLogger(__name__)

TERMINATION_MESSAGE_BYTES = 4000  # the kubelet truncates a termination message at 4,096 bytes, within the JSON


def termination_message(
    task: str,
    code: int,
    environment: TaskEnvironment,
    *,
    model_path: PathLike | None = None,
    metrics: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, StoredArtifact] | None = None,
    checkpoint_step: int | None = None,
    error: TaskFailure | None = None,
    report_path: PathLike | None = None,
    up_to_date: bool = False,
) -> TerminationMessage:
    """Return the termination message of a task.

    Args:
        task: name of the task on the command line.
        code: exit code.
        environment: environment variables of the task.
        model_path: path on this machine, or below ``/workspace``.
        metrics: numbers; those that aren't finite are left out.
        artifacts: artifacts by name.
        checkpoint_step: training step of the newest checkpoint.
        error: None if ``code`` is 0.
        report_path: path on this machine, or below ``/workspace``.
        up_to_date: whether the result existed already, so nothing was done.

    Raises:
        TypeError: a metric isn't a number.
    """
    return TerminationMessage(
        task=task,
        code=code,
        fingerprint=environment.fingerprint,
        attempt=environment.attempt,
        model_path=None if model_path is None else manifest_path(os.fspath(model_path)),
        metrics=finite_numbers(metrics),
        artifacts=dict(artifacts or {}),
        checkpoint_step=checkpoint_step,
        error=error,
        report_path=None if report_path is None else manifest_path(os.fspath(report_path)),
        up_to_date=up_to_date,
    )


def encode_termination_message(content: TerminationMessage, limit: int = TERMINATION_MESSAGE_BYTES) -> bytes:
    """Return ``content`` as JSON of at most ``limit`` bytes.

    If it is longer, the error message is shortened first; then metrics and artifacts are dropped.
    """
    message: dict[str, Any] = json.loads(json.dumps(content.to_json()))
    if len(compact_json(message)) <= limit:
        return compact_json(message)
    error = message.get(ResultKey.ERROR) or {}
    text = error.get(ErrorKey.MESSAGE, "")
    if text:
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            error[ErrorKey.MESSAGE] = text[:middle] + "…"
            fits, too_long = (middle, too_long) if len(compact_json(message)) <= limit else (fits, middle)
        error[ErrorKey.MESSAGE] = text[:fits] + "…"
    for part in (ResultKey.METRICS, ResultKey.ARTIFACTS):
        while len(compact_json(message)) > limit and message.get(part):
            message[part].popitem()
    for part in (ResultKey.REPORT_PATH, ResultKey.MODEL_PATH, ResultKey.ERROR):
        if part in message and len(compact_json(message)) > limit:
            message[part] = None
    return compact_json(message)


def with_checkpoint_step(message: bytes, step: int | None) -> bytes:
    """Return an encoded termination message with another step of the newest checkpoint.

    Raises:
        ValueError: the message isn't a JSON object.
    """
    content = json.loads(message)
    if not isinstance(content, dict):
        raise ValueError("A termination message is a JSON object")
    return compact_json(content | {ResultKey.CHECKPOINT_STEP: step})


def write_termination_message(environment: TaskEnvironment, message: TerminationMessage) -> None:
    """Encode a termination message and write it; see :func:`write_encoded_message`."""
    write_encoded_message(environment, encode_termination_message(message))


def write_encoded_message(environment: TaskEnvironment, message: bytes) -> None:
    """Write the termination log in place: in a pod it is a mounted file, which cannot be replaced by a rename.

    Links aren't followed, since the log is in the results directory when there is no cluster.
    """
    if environment.termination_log is None:
        return
    try:
        with open_in_place(Path(environment.termination_log), append=False) as stream:
            stream.write(message)
    except OSError as error:
        what = error.strerror or error
        logger.warning("%s: the termination message could not be written: %s", environment.termination_log, what)
