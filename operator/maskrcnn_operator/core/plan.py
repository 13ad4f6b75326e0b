"""Input and output of a reconciliation: the context, the settings, and the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
        max_parallel_steps: maximum number of steps that run at a time; None for no limit.
        workspace_shared: whether several nodes can mount the workspace; None if its claim does not exist or cannot be
            read, in which case no step starts.
        cache_shared: the same for the claim of the cache, if steps mount one.
        owner_id: owner of the results of an experiment in object storage; None if it is unknown, in which case no step
            of such an experiment starts.
        queueing: whether a run of an experiment with a queue waits for admission.
        default_queue: LocalQueue of experiments without a queueName; empty for none.
        keep_last_run: time for which the last run of a step is kept after its result is in the status.
        back_off_base, back_off_limit: shortest and longest wait before another attempt.
        run_name: name of an attempt's Job, by experiment, step, and attempt.
    """

    default_image: str | None = None
    max_parallel_steps: int | None = None
    workspace_shared: bool | None = True
    cache_shared: bool | None = True
    owner_id: str | None = None
    queueing: bool = False
    default_queue: str = ""
    keep_last_run: timedelta = timedelta(hours=3)
    back_off_base: timedelta = timedelta(seconds=10)
    back_off_limit: timedelta = timedelta(minutes=5)
    run_name: Callable[[MaskRCNNExperiment, str, int], str | None] = _no_name


@dataclass(frozen=True)
class StartRefusal:
    """Refusal of an attempt that an executor could not start.

    Attributes:
        reason: NameTaken if another controller or user has an object of that name, JobRefused if the Job is not
            accepted.
        message: names the object, or what is wrong with it.
    """

    reason: Reason
    message: str


REFUSAL_REASONS = frozenset({Reason.NAME_TAKEN.value, Reason.JOB_REFUSED.value})


@dataclass(frozen=True)
class ReconcileContext:
    """Input of one reconciliation, the same for every policy and check.

    Attributes:
        experiment: spec as written by the user, with the status as last written.
        runs: all existing runs of the experiment.
        desired: desired state that follows from the spec.
        now: aware, in whole seconds, like the times in the status.
        settings: settings of the executor.
        lingering: by step, description of pods or Jobs that have the step's labels and have not ended, but belong to no
            live run.
        refused: by step, refusals of attempts that an earlier plan was to start.
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
        """Return whether the spec has changed since the status was written."""
        return self.experiment.status.observed_generation != self.experiment.metadata.generation

    @cached_property
    def occupied(self) -> Mapping[str, str]:
        """Return by step a description of what is still alive: its live run, or lingering pods without a run."""
        return {run.step: f"attempt {run.attempt}" for run in self.runs if run.live} | dict(self.lingering)

    @cached_property
    def held_back(self) -> frozenset[str]:
        """Return the steps that must not start while runs or pods of other steps are alive.

        A run reads the results of its upstream steps, even if its step need not run by the current spec. A step that
        left the spec may read any results, so no other step may start.
        """
        graph = self.desired.graph
        if any(name not in graph.nodes for name in self.occupied):
            return frozenset(graph.nodes)
        return frozenset(upstream for name in self.occupied for upstream in graph.ancestors(name))


Steps = Mapping[str, StepStatus]
"""Status of each step of the spec by name, in the order of the spec."""
Policy = Callable[[ReconcileContext, Steps], Steps]


@dataclass(frozen=True)
class StartRun:
    """Attempt to start.

    Attributes:
        step: name of the step.
        attempt: number of the attempt, from 1.
        fingerprint: fingerprint to record.
        image: trainer image; None for a local process.
        spec: merged spec with all paths, as in the manifest; None for tasks that read none.
        model_path: model that the task takes with -m; None for tasks that take none.
        template: hash of the fields of the spec that its Job is made from (:mod:`maskrcnn_operator.core.template`).
        older_fingerprints: fingerprints of the same result in older releases, oldest first.
        input_fingerprints: fingerprints of each step whose results it may read, oldest first, by name of the step.
    """

    step: str
    attempt: int
    fingerprint: str
    image: str | None
    spec: ExperimentSpec | None
    model_path: str | None
    template: str = ""
    older_fingerprints: tuple[str, ...] = ()
    input_fingerprints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Return all fingerprints of the step, oldest first."""
        return (*self.older_fingerprints, self.fingerprint)


@dataclass(frozen=True)
class Event:
    """Kubernetes Event to write once."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """Actions, in this order: start, write the status, drop the progress, write events, stop, forget, delete.

    Attributes:
        status: new status. Its progress is that of the former status, because another writer owns it.
        start: attempts to start. If one cannot start, the plan is replaced by one made with a :class:`StartRefusal`.
        stop: live runs to stop; repeating a request does no harm.
        forget: ended runs whose outcome is in ``status``; their Jobs and pods may be removed.
        events: events to write after the status.
        wake_at: when to reconcile again even if nothing happens; None for never.
        write_status: whether ``status``, apart from its progress, differs from the former status.
        drop_progress: whether to remove the progress; its newest checkpoint is in ``status``.
        delete_experiment: whether the time of ttlSecondsAfterFinished has passed.
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
