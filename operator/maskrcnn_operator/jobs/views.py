"""Views of Jobs, pods, and events: small frozen objects with the few fields that affect a decision.

:mod:`maskrcnn_operator.jobs.parse` makes them from the objects of the API server.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from maskrcnn_trainer.errors import EXIT_KILLED, EXIT_OK, EXIT_STOPPED

CONTAINER_NAME = "trainer"
OOM_KILLED = "OOMKilled"
TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container that terminated without having run."""

JUST_STARTS = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons of a container that waits for its pod's volumes, network, or init containers, or that gives no reason."""


@dataclass(frozen=True, slots=True)
class JobCondition:
    """Condition of a Job that is True."""

    type: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """Fields of a Job.

    Attributes:
        experiment, step, attempt: from its labels; attempt is 0 if the label isn't a number.
        experiment_uid: uid of its controller if that is an experiment, else empty. Labels don't prove ownership.
        take_over_from: state of another owner that its attempt replaces; empty without one.
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
    take_over_from: str = ""
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
        """Return the condition of type ``kind``; None unless it is True."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def finished(self) -> bool:
        """True if it is Complete or Failed."""
        return any(condition.type in ("Complete", "Failed") for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class PodView:
    """Fields of a step's pod.

    Attributes:
        experiment, step, attempt: from its labels; attempt is 0 if the label isn't a number.
        experiment_uid: from its annotation. Only the controller of its Job proves ownership.
        job_uid: uid of its controller if that is a Job, else empty.
        index: completion index; 0 for a Job of one pod.
        scheduled: when it was assigned to its node; None if it has not been.
        waiting_container: init container or sidecar that ``reason`` is about; empty if ``reason`` is not about one.
        container_state: waiting, running, terminated, or empty; state of the container that runs the task.
        container_exit_code: unchanged exit code of that container; None until it has ended.
        accompanied: another one of its containers runs.
        disrupted: its condition DisruptionTarget is True.
        reason, message: why it waits (ImagePullBackOff, Unschedulable, ...) or how it ended (OOMKilled, Evicted, ...).
        started_at, finished_at: times of that container.
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
        """Exit code of its task: always 137 if it ran out of memory; 143 if SIGKILL had to follow SIGTERM."""
        if self.ran_out_of_memory:
            return EXIT_KILLED
        if self.container_exit_code == EXIT_KILLED and self.deletion_timestamp is not None:
            return EXIT_STOPPED
        return self.container_exit_code

    @property
    def ran_out_of_memory(self) -> bool:
        """True if the kernel killed its task because memory ran out."""
        return self.reason == OOM_KILLED

    @property
    def terminal(self) -> bool:
        """True if all of its processes have ended for good."""
        return self.phase in TERMINAL_PHASES

    @property
    def ended(self) -> bool:
        """True if its task has ended for good; a sidecar may still run."""
        return self.terminal or self.container_state == "terminated"

    @property
    def succeeded(self) -> bool:
        """True if its task has succeeded, even if a sidecar failed."""
        return self.phase == "Succeeded" or self.container_exit_code == EXIT_OK

    @property
    def failed(self) -> bool:
        """True if its task has ended without success."""
        return self.ended and not self.succeeded

    @property
    def has_run(self) -> bool:
        """True if its task runs or has run."""
        if self.container_state == "terminated":
            return self.reason not in _NEVER_RAN
        return self.running or self.container_state == "running"

    @property
    def running(self) -> bool:
        """True if its task runs (also if its node does not respond) or has succeeded."""
        return self.phase == "Succeeded" or (
            self.phase == "Running" and (self.ready or self.container_state == "running")
        )

    @property
    def just_starts(self) -> bool:
        """True if it is being created on its node and gives no reason for its wait."""
        on_its_way = bool(self.node) and not self.terminal and self.deletion_timestamp is None
        return on_its_way and self.container_state in ("", "waiting") and self.reason in JUST_STARTS


@dataclass(frozen=True, slots=True)
class EventView:
    """Fields of an event about a Job or a pod.

    Attributes:
        reason: one word, such as FailedMount.
        message: one line.
        time: when it was last observed; None if it has no valid time.
    """

    warning: bool
    reason: str
    message: str
    time: datetime | None
