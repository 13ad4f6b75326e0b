"""Termination messages of a launch whose results are in object storage.

Each is written after the results that it names are published, and names the newest checkpoint that is published, not
the newest one that this machine has.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput, TaskError
from maskrcnn_trainer.launch.endings import failure_message, message_of_code, up_to_date_message
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.launch.working_copy import make_room_for_log
from maskrcnn_trainer.object_store.fence.explaining import remedy_of_results
from maskrcnn_trainer.object_store.fence.records import PublishedSet
from maskrcnn_trainer.publishing.published_files import newest_step
from maskrcnn_trainer.publishing.step_session import StepSession
from maskrcnn_trainer.shared.messages import TerminationMessage
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.stored_step import StoredStep
from maskrcnn_trainer.task.termination import with_checkpoint_step, write_encoded_message, write_termination_message

log = logging.getLogger(__name__)

_LARGEST_RESULT = 1 << 24
"""Maximum bytes of a published result.json; one has a few thousand."""


@dataclass
class StoredEnding:
    """Writer of the termination message of a launch.

    Attributes:
        settings: options of the command.
        environment: of the task, with the termination log of the pod.
        stored: step of the results.
        checkpoint_step: of the newest published checkpoint; None: no checkpoint is published.
    """

    settings: LaunchSettings
    environment: TaskEnvironment
    stored: StoredStep
    checkpoint_step: int | None = None

    def take(self, published: PublishedSet | None) -> None:
        """Take a set as the newest that is published."""
        newest = newest_step(published.checkpoints) if published is not None else None
        self.checkpoint_step = self.checkpoint_step if newest is None else newest

    def pass_on(self, held_back: Path, code: int, working_dir: Path) -> None:
        """Write the message that the task has left in its working copy; without one, that of its exit code.

        Args:
            held_back: file of the task's message.
            code: exit code of the task.
            working_dir: directory of the working copies, which the message about a full disk names.
        """
        make_room_for_log(self.environment, self.stored)
        try:
            content = held_back.read_bytes()
            if code != EXIT_OK:
                content = with_checkpoint_step(content, self.checkpoint_step)
        except (OSError, ValueError):
            self._write(
                message_of_code(
                    code, self.environment, self.settings, working_dir, checkpoint_step=self.checkpoint_step
                )
            )
        else:
            write_encoded_message(self.environment, content)

    def report_done(self, session: StepSession, published: PublishedSet) -> None:
        """Write the message of a step whose result is published.

        Raises:
            InvalidInput: the published ``result.json`` isn't the result of a task.
            TryAgain: it can't be read.
        """
        log.info("%s already has the results of this fingerprint; nothing to do", self.stored.url)
        result = next(file for file in published.files if file.path == published.result)
        if result.size > _LARGEST_RESULT:
            raise InvalidInput(f"{self.stored.url}/{result.path}: has {result.size} bytes, which no result has")
        with tempfile.TemporaryDirectory(prefix="maskrcnn-result-") as folder:
            into = Path(folder, self.stored.experiment, self.stored.step)
            session.restore(published, into, frozenset({result.path}))
            content = (into / result.path).read_bytes()
        try:
            message = up_to_date_message(json.loads(content), self.environment, self.settings)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"{self.stored.url}/{result.path}: isn't the result of a task; {remedy_of_results(result.key)}",
                reason="InvalidResult",
            ) from error
        self._write(message)

    def report_result(self, result: Mapping[str, Any]) -> None:
        """Write the message of a result that an earlier attempt has computed and this one has published.

        Args:
            result: content of ``result.json``.
        """
        self._write(up_to_date_message(result, self.environment, self.settings))

    def report_failure(self, error: TaskError) -> None:
        """Write the message of an error of the launch itself."""
        self._write(failure_message(error, self.environment, self.settings, checkpoint_step=self.checkpoint_step))

    def _write(self, message: TerminationMessage) -> None:
        make_room_for_log(self.environment, self.stored)
        write_termination_message(self.environment, message)
