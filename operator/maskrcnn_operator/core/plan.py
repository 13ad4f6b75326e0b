"""What a reconciliation decides, and what it is told beside the experiment and its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.core.runs import RunKey
from maskrcnn_trainer.spec.experiment import ExperimentSpec


def _no_name(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Settings:
    """What depends on where steps run, not on the experiment.

    Attributes:
        default_image: trainer image of experiments that name none.
        max_parallel_steps: how many steps may run at a time; None for any number.
        workspace_shared: whether several nodes can mount the workspace; None where its claim is not there or could not
            be read, and then nothing is started.
        queueing: whether a run of an experiment with a queue waits for admission.
        default_queue: LocalQueue of experiments without a queueName; empty for none.
        keep_last_run: how long the last run of a step is kept once its result stands in the status.
        back_off_base, back_off_limit: first and longest wait before another attempt.
        run_name: name of an attempt's Job, by experiment, step and attempt.
    """

    default_image: str | None = None
    max_parallel_steps: int | None = None
    workspace_shared: bool | None = True
    queueing: bool = False
    default_queue: str = ""
    keep_last_run: timedelta = timedelta(hours=3)
    back_off_base: timedelta = timedelta(seconds=10)
    back_off_limit: timedelta = timedelta(minutes=5)
    run_name: Callable[[MaskRCNNExperiment, str, int], str | None] = _no_name


@dataclass(frozen=True)
class StartRun:
    """An attempt to start.

    Attributes:
        spec: merged spec with every path in it, in the manifest's form; None for tasks that read none.
        model_path: what the task takes with -m; None for tasks that take none.
        template: hash of what the spec says of its Job (:mod:`maskrcnn_operator.core.template`).
        older_fingerprints: those by which older releases know the same results, oldest first.
    """

    step: str
    attempt: int
    fingerprint: str
    image: str | None
    spec: ExperimentSpec | None
    model_path: str | None
    template: str = ""
    older_fingerprints: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All fingerprints of the step, oldest first."""
        return (*self.older_fingerprints, self.fingerprint)


@dataclass(frozen=True)
class Refusal:
    """An attempt that its executor was told to start and could not.

    Attributes:
        reason: NameTaken where an object of that name belongs to somebody else, JobRefused where it is not accepted.
        message: names the object, or what is wrong with it.
    """

    reason: Reason
    message: str


@dataclass(frozen=True)
class Event:
    """Something worth telling, once, when it happened."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do now, in this order: start, write the status, drop the progress, tell events, stop, forget, delete.

    Attributes:
        status: the new status. Its progress belongs to another writer, and is only what that one has left.
        start: attempts to start. Where one cannot be, the plan is dropped and made again with a :class:`Refusal`.
        stop: live runs to stop; asking again does no harm.
        forget: ended runs whose outcome stands in ``status``: what is left of them may be removed.
        events: to be told after the status is written.
        wake_at: when to look again even if nothing happens; None for never.
        write_status: whether ``status``, its progress aside, differs from the one that the plan was made from.
        drop_progress: whether the progress is to be removed; what it knew of a checkpoint stands in ``status``.
        delete_experiment: whether the time of ttlSecondsAfterFinished is over.
    """

    status: ExperimentStatus
    start: tuple[StartRun, ...] = ()
    stop: tuple[RunKey, ...] = ()
    forget: tuple[RunKey, ...] = ()
    events: tuple[Event, ...] = ()
    wake_at: datetime | None = None
    write_status: bool = True
    drop_progress: bool = False
    delete_experiment: bool = False
