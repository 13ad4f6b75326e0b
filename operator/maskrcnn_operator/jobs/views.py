"""Views of a Job, a pod and an event: the few fields that decide something, in small frozen objects.

:mod:`maskrcnn_operator.jobs.parse` makes them of what the API server shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from maskrcnn_trainer.errors import EXIT_KILLED, EXIT_OK, EXIT_STOPPED

CONTAINER_NAME = "trainer"
OOM_KILLED = "OOMKilled"
TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container that has terminated without having run."""

JUST_STARTS = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons of a container that waits for its pod's volumes, network and init containers, or for nothing."""


@dataclass(frozen=True, slots=True)
class JobCondition:
    """A condition of a Job that is True."""

    type: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job.

    Attributes:
        experiment, step, attempt: of its labels; attempt is 0 where the label is no number.
        experiment_uid: of its controller, where that is an experiment; empty otherwise; labels prove nothing.
        queue: Kueue LocalQueue; empty without one.
        conditions: those that are True.
        start_time: when it was started or last admitted; None while it is suspended.
    """

    uid: str
    name: str
    namespace: str
    resource_version: str = ""
    experiment: str = ""
    step: str = ""
    attempt: int = 0
    experiment_uid: str = ""
    fingerprint: str = ""
    older_fingerprints: tuple[str, ...] = ()
    template: str = ""
    image: str | None = None
    queue: str = ""
    suspended: bool = False
    conditions: tuple[JobCondition, ...] = ()
    start_time: datetime | None = None
    completion_time: datetime | None = None
    creation: datetime | None = None
    deletion_timestamp: datetime | None = None
    parallelism: int = 1

    def condition(self, kind: str) -> JobCondition | None:
        """The condition of type ``kind`` if it is True."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def finished(self) -> bool:
        """Whether it is Complete or Failed."""
        return any(condition.type in ("Complete", "Failed") for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of a step.

    Attributes:
        experiment, step, attempt: of its labels; attempt is 0 where the label is no number.
        experiment_uid: of its annotation; the proof is the controller of its Job.
        job_uid: of its controller, where that is a Job; empty otherwise.
        index: its completion index; 0 for a Job of one pod.
        scheduled: when it got its node; None where it has none.
        waiting_container: the init container or sidecar that ``reason`` is about; empty where it is another one.
        container_state: of the container that runs the task: waiting, running, terminated or empty.
        container_exit_code: of that container, as it is; None while it has not ended.
        accompanied: whether another of its containers runs.
        disrupted: whether its condition DisruptionTarget is True.
        reason, message: why it waits (ImagePullBackOff, Unschedulable, ...) or how it ended (OOMKilled, Evicted, ...).
        started_at, finished_at: of that container.
        deletion_timestamp: when it should be gone: the time of its deletion plus its grace period.
    """

    uid: str
    name: str
    namespace: str
    resource_version: str = ""
    experiment: str = ""
    step: str = ""
    attempt: int = 0
    experiment_uid: str = ""
    fingerprint: str = ""
    older_fingerprints: tuple[str, ...] = ()
    template: str = ""
    job_uid: str = ""
    index: int = 0
    node: str = ""
    scheduled: datetime | None = None
    waiting_container: str = ""
    phase: str = "Pending"
    ready: bool = False
    container_state: str = ""
    container_exit_code: int | None = None
    accompanied: bool = False
    termination_message: str = ""
    disrupted: bool = False
    reason: str = ""
    message: str = ""
    creation: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deletion_timestamp: datetime | None = None

    @property
    def exit_code(self) -> int | None:
        """Exit code of its task: 137 whenever it ran out of memory, 143 where SIGTERM had to be followed by SIGKILL."""
        if self.ran_out_of_memory:
            return EXIT_KILLED
        if self.container_exit_code == EXIT_KILLED and self.deletion_timestamp is not None:
            return EXIT_STOPPED
        return self.container_exit_code

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed its task because memory ran out."""
        return self.reason == OOM_KILLED

    @property
    def terminal(self) -> bool:
        """Whether none of its processes can run any more."""
        return self.phase in TERMINAL_PHASES

    @property
    def ended(self) -> bool:
        """Whether its task cannot run any more; a sidecar may."""
        return self.terminal or self.container_state == "terminated"

    @property
    def succeeded(self) -> bool:
        """Whether its task has run to a good end, whatever became of its sidecars."""
        return self.phase == "Succeeded" or self.container_exit_code == EXIT_OK

    @property
    def failed(self) -> bool:
        """Whether its task has ended, and not well."""
        return self.ended and not self.succeeded

    @property
    def has_run(self) -> bool:
        """Whether its task runs or has run."""
        if self.container_state == "terminated":
            return self.reason not in _NEVER_RAN
        return self.running or self.container_state == "running"

    @property
    def running(self) -> bool:
        """Whether its task runs (also while its node does not answer), or has run to a good end."""
        return self.phase == "Succeeded" or (
            self.phase == "Running" and (self.ready or self.container_state == "running")
        )

    @property
    def just_starts(self) -> bool:
        """Whether its node makes it and it says nothing of what it waits for."""
        on_its_way = bool(self.node) and not self.terminal and self.deletion_timestamp is None
        return on_its_way and self.container_state in ("", "waiting") and self.reason in JUST_STARTS


@dataclass(frozen=True, slots=True)
class EventView:
    """An event about a Job or a pod.

    Attributes:
        reason: one word, such as FailedMount.
        message: one line.
        time: when it was last observed; None where it does not say.
    """

    warning: bool
    reason: str
    message: str
    time: datetime | None
