"""Work that an earlier attempt has left in the working copy, because it couldn't publish it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.publishing.continuing import CopyUse, use_of_left_copy
from maskrcnn_trainer.publishing.published_files import newest_step
from maskrcnn_trainer.publishing.step_publisher import StepPublisher
from maskrcnn_trainer.publishing.step_session import StepSession
from maskrcnn_trainer.results.contents import entries
from maskrcnn_trainer.results.run_file import read_run
from maskrcnn_trainer.shared.messages import RESULT_FILE
from maskrcnn_trainer.task.artifacts import read_result
from maskrcnn_trainer.task.environment import TaskEnvironment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftWork:
    """Work in a working copy that isn't published.

    Attributes:
        result: content of the complete ``result.json``; None: the task hasn't finished.
        checkpoint: step of the checkpoint from which the task resumes; None: the published set replaces the copy.
    """

    result: Mapping[str, Any] | None = None
    checkpoint: int | None = None

    @property
    def is_continued(self) -> bool:
        """Return whether the working copy stays as it is."""
        return self.result is not None or self.checkpoint is not None


def find_left_work(
    results_dir: Path, session: StepSession, published: PublishedSet | None, environment: TaskEnvironment
) -> LeftWork:
    """Return the work that this attempt continues, after its session has claimed the step.

    Args:
        results_dir: the working copy of the step, which may be missing.
        session: that holds the step.
        published: newest published set of the fingerprint; None: none exists.
        environment: of the task, whose variables with the paths of the working copy are set.

    Raises:
        InvalidInput, TryAgain: the working copy can't be read.
    """
    result = read_result(results_dir, *environment.fingerprints)
    checkpoint = newest_step(entry.path for entry in entries(results_dir) if entry.regular)
    use = use_of_left_copy(
        read_run(results_dir),
        session.identity,
        session.store_claim,
        has_result=result is not None,
        # next to an incomplete result, what the task has written since would be published as the result
        checkpoint=None if os.path.lexists(results_dir / RESULT_FILE) else checkpoint,
        published=published,
    )
    if use is CopyUse.RESULT:
        log.info("%s has the results of this fingerprint; they are published now", results_dir)
        return LeftWork(result=result)
    if use is CopyUse.CHECKPOINT:
        log.info("%s: resuming from the checkpoint of step %d, which isn't published yet", results_dir, checkpoint)
        return LeftWork(checkpoint=checkpoint)
    return LeftWork()


def publish_left_result(
    results_dir: Path,
    session: StepSession,
    *,
    seconds: float,
    is_kept: bool,
    others: tuple[PublishedFile, ...],
    interrupted: threading.Event,
    on_start: Callable[[StepPublisher], None],
) -> None:
    """Publish a working copy with a result.

    Args:
        results_dir: the working copy of the step, which this start has claimed.
        session: that holds the step.
        seconds: time after which it is given up.
        is_kept: see :class:`StepPublisher`.
        others: logs of other nodes of earlier attempts, which the published set names and the next one names again.
        interrupted: see :class:`StepPublisher`.
        on_start: called with the publisher, to hurry it.

    Raises:
        TryAgain: the store has failed for that time, or the result is gone (75).
        Superseded, InvalidInput: see :meth:`StepPublisher.finish`.
    """
    published: list[PublishedSet] = []
    publisher = StepPublisher(
        session,
        results_dir,
        on_superseded=lambda error: log.error("%s", error),
        on_published=published.append,
        others=lambda: others,
        is_kept=is_kept,
        interrupted=interrupted,
    )
    on_start(publisher)
    with publisher:
        publisher.finish(seconds=seconds)
    if not published or published[-1].result is None:
        raise TryAgain(f"{results_dir} was changed while its result was published", reason="NotPublished")
