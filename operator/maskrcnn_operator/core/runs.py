"""Runs: the observed state of attempts, each a Job with its pods in a cluster, or a local process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maskrcnn_operator.core.result import TaskResult


class RunState(StrEnum):
    """State of an attempt, as its executor observes it."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED})


@dataclass(frozen=True)
class RunKey:
    """Key of a run: step and number of the attempt."""

    step: str
    attempt: int


@dataclass(frozen=True)
class Run:
    """Observed state of one attempt.

    Attributes:
        step: name of the step.
        attempt: number of the attempt, counted from 1 and never reused.
        state: state of the attempt; an ended one never changes.
        fingerprint: fingerprint of the step when the attempt started; empty if unreadable.
        template: hash of the fields that its Job was made from; empty if unreadable, and for a local process.
        take_over_from: takeOverFrom of the workspace when it was started, empty without one; None if its Job is gone,
            and for a local process.
        name: of the Job or the process.
        image: trainer image; None for a local process.
        waiting_reason: why it does not run yet, such as ImagePullBackOff.
        ran: when its task first ran, as far as known; None until all pods of its worker group have run.
        failing: sentence about a pod that has failed while others, which the Job does not end, run; empty if none has.
        unfinished: whether it has ended but left pods that do not end by themselves, so that it is removed at once.
        disrupted: whether something outside ended it (preemption, eviction, a lost node), so that it does not count.
        exit_code: of the process whose error is reported, also while it is failing; None if there is none.
        result: termination message or result.json; None if it is missing or unreadable.
        message: further information from the executor, such as a reason from the pod.
        adopted: whether it was not started because the result already existed.
        started: time of the start.
        ended: time of the end.
        checkpoint_step: training step of the newest checkpoint that it has reported.
        lost: sentence about its pods on a lost node; empty if there are none.
        deleted: whether its removal has been requested.
        held: sentence why it can be neither observed nor stopped although it is live; empty if it can.
        older_fingerprints: fingerprints of the same result in older releases, oldest first.
    """

    step: str
    attempt: int
    state: RunState
    fingerprint: str = ""
    template: str = ""
    take_over_from: str | None = None
    name: str = ""
    image: str | None = None
    waiting_reason: str = ""
    ran: datetime | None = None
    failing: str = ""
    unfinished: bool = False
    disrupted: bool = False
    exit_code: int | None = None
    result: TaskResult | None = None
    message: str = ""
    adopted: bool = False
    started: datetime | None = None
    ended: datetime | None = None
    checkpoint_step: int | None = None
    lost: str = ""
    deleted: bool = False
    held: str = ""
    older_fingerprints: tuple[str, ...] = ()

    @property
    def key(self) -> RunKey:
        """Return step and number of the attempt."""
        return RunKey(self.step, self.attempt)

    @property
    def live(self) -> bool:
        """Return whether the attempt has not ended."""
        return self.state not in ENDED
