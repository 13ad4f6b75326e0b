"""Input and output of a reconciliation: its context with the settings, and the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import ExperimentStatus, StepStatus
from maskrcnn_operator.core.desired import DesiredState
from maskrcnn_operator.core.runs import Run, RunKey
from maskrcnn_trainer.spec.experiment import ExperimentSpec


def _no_name(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Settings:
    """Settings that depend on where steps run, not on the experiment.

    Attributes:
        default_image: trainer image of experiments that name none.
        max_parallel_steps: how many steps may run at a time; None for any number.
        workspace_shared: whether several nodes can mount the workspace; None where its claim is not there or could not
            be read, and then nothing is started.
        queueing: whether a run of an experiment with a queue waits for admission.
        default_queue: LocalQueue of experiments without a queueName; empty for none.
        keep_last_run: how long the last run of a step is kept once its result is in the status.
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
class StartRefusal:
    """An attempt that its executor was to start and could not.

    Attributes:
        reason: NameTaken where an object of that name belongs to another controller or user, JobRefused where it is not
            accepted.
        message: names the object, or what is wrong with it.
    """

    reason: Reason
    message: str


REFUSALS = frozenset({Reason.NAME_TAKEN.value, Reason.JOB_REFUSED.value})


@dataclass(frozen=True)
class ReconcileContext:
    """Input of one reconciliation, the same for every policy and check.

    Attributes:
        experiment: the spec as the user has written it, with the status as it was last written.
        runs: every run of the experiment that exists.
        desired: what follows from the spec alone.
        now: aware, in whole seconds as times in the status are.
        lingering: by step, what has its labels and has not ended although it belongs to no live run, in words.
        refused: by step, attempts that an earlier plan was to start and that could not be.
    """

    experiment: MaskRCNNExperiment
    runs: Sequence[Run]
    desired: DesiredState
    now: datetime
    settings: Settings
    lingering: Mapping[str, str]
    refused: Mapping[str, StartRefusal]

    @property
    def is_edited(self) -> bool:
        """Whether the spec has changed since the status was written."""
        return self.experiment.status.observed_generation != self.experiment.metadata.generation

    @cached_property
    def occupied(self) -> Mapping[str, str]:
        """By step, what of it is alive: its live run, or pods that linger although its status has no run."""
        return {run.step: f"attempt {run.attempt}" for run in self.runs if run.live} | dict(self.lingering)

    @cached_property
    def held_back(self) -> frozenset[str]:
        """Steps that must not start while something of others is alive.

        A run reads the results of what is upstream of it, whether or not the spec still has it run. A step that left
        the spec may have read anything, so it holds back every other.
        """
        graph = self.desired.graph
        if any(name not in graph.nodes for name in self.occupied):
            return frozenset(graph.nodes)
        return frozenset(upstream for name in self.occupied for upstream in graph.ancestors(name))


Steps = Mapping[str, StepStatus]
"""The steps of the spec by name, in its order."""
Policy = Callable[[ReconcileContext, Steps], Steps]


@dataclass(frozen=True)
class StartRun:
    """An attempt to start.

    Attributes:
        spec: merged spec with every path in it, in the manifest's form; None for tasks that read none.
        model_path: what the task takes with -m; None for tasks that take none.
        template: hash of the fields of the spec that its Job is made of (:mod:`maskrcnn_operator.core.template`).
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
class Event:
    """Kubernetes Event to write once, when something has happened."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """Actions in this order: start, write the status, drop the progress, write events, stop, forget, delete.

    Attributes:
        status: the new status. Its progress belongs to another writer, and is only what that one has left.
        start: attempts to start. Where one cannot be, the plan is dropped and made again with a :class:`StartRefusal`.
        stop: live runs to stop; asking again does no harm.
        forget: ended runs whose outcome is in ``status``: what is left of them may be removed.
        events: to be written after the status is.
        wake_at: when to look again even if nothing happens; None for never.
        write_status: whether ``status``, its progress aside, differs from the one that the plan was made from.
        drop_progress: whether the progress is to be removed; what it knew of a checkpoint is in ``status``.
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
