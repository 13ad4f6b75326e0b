"""The termination message of a task: a JSON object that fits into what Kubernetes keeps of it."""

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

TERMINATION_MESSAGE_BYTES = 4000  # Kubernetes cuts a termination message at 4096 bytes, in the middle of the JSON


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
    up_to_date: bool = False,
) -> TerminationMessage:
    """Return how a task ended, for its termination message.

    Args:
        model_path: as this machine sees it, or below ``/workspace``.
        metrics: numbers; those that are not finite are left out.
        error: None where ``code`` is 0.
        up_to_date: the result was there already, and nothing was done.

    Raises:
        TypeError: a metric is not a number.
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
        up_to_date=up_to_date,
    )


def encode_termination_message(content: TerminationMessage, limit: int = TERMINATION_MESSAGE_BYTES) -> bytes:
    """``content`` as JSON of at most ``limit`` bytes: its error text is cut first, then metrics and artifacts go."""
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
    for part in (ResultKey.MODEL_PATH, ResultKey.ERROR):
        if len(compact_json(message)) > limit:
            message[part] = None
    return compact_json(message)


def write_termination_message(environment: TaskEnvironment, message: TerminationMessage) -> None:
    """Write the termination log in place: in a pod it is a mounted file, which cannot be replaced by a rename.

    A link is not followed: without a cluster the log is in the results directory.
    """
    if environment.termination_log is None:
        return
    try:
        with open_in_place(Path(environment.termination_log), append=False) as stream:
            stream.write(encode_termination_message(message))
    except OSError as error:
        what = error.strerror or error
        logger.warning("%s: the termination message could not be written: %s", environment.termination_log, what)
