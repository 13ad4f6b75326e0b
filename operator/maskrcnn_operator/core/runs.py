"""Runs: what was observed of one attempt at a step, a Job with its pods in a cluster or a process on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maskrcnn_operator.core.result import TaskResult


class RunState(StrEnum):
    """State of an attempt, as its executor sees it."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED})


@dataclass(frozen=True)
class RunKey:
    """Key of a run: its step and the number of the attempt."""

    step: str
    attempt: int


@dataclass(frozen=True)
class Run:
    """One attempt as observed.

    Attributes:
        step, attempt: which; attempts count from 1 and only rise.
        state: how far it has come; an ended one never changes.
        fingerprint: what it was started for; empty where it cannot be read.
        older_fingerprints: those by which images of older releases know the same results, oldest first.
        template: hash of the fields that its Job was made of; empty where it cannot be read, and on this machine.
        name: of the Job, or of the process.
        image: trainer image; None on this machine.
        waiting_reason: why it does not run yet, such as ImagePullBackOff.
        ran: when its task first ran, as far as is known; None where no pod of it has, or not all of a worker group.
        failing: which of its pods has failed while others run and will not be ended by their Job, in a sentence; empty
            where there is none.
        unfinished: it has ended, and what is left of it does not end by itself: it is to be removed at once.
        disrupted: something outside ended it (preemption, eviction, a lost node): it does not count.
        exit_code: of the process whose error counts, also of one that is failing; None where there is none.
        result: its termination message or result.json; None where there is none or it cannot be read.
        message: what the executor has to add, such as a reason from the pod.
        adopted: it was not started: the result was there already.
        started, ended: when.
        checkpoint_step: newest checkpoint that it has reported.
        lost: which of its pods are on a node that is lost, in a sentence; empty where none is.
        deleted: its removal was asked for already.
        held: why it can be neither followed nor stopped although it is live, in a sentence; empty where it can.
    """

    step: str
    attempt: int
    state: RunState
    fingerprint: str = ""
    template: str = ""
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
        """Its step and the number of the attempt."""
        return RunKey(self.step, self.attempt)

    @property
    def live(self) -> bool:
        """Whether it may still do something."""
        return self.state not in ENDED
