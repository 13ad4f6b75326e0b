"""Status of the resource, which the operator writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from maskrcnn_operator.api.base import StatusModel


def format_time(moment: datetime) -> str:
    """Return a time as Kubernetes writes it: RFC 3339 in UTC with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Earliest time that is read. It also replaces an unknown time in comparisons."""
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
CONDITION_MESSAGE_LENGTH = 32768
"""Maximum length of a message in characters, as in metav1.Condition."""
COUNT_MAX = 2**53
"""Maximum number of attempts and of restarts; one more still fits into the numbers of every reader."""
ACTIVE_SECONDS_MAX = 10**10
"""Three centuries. A Python timedelta is limited to three million years, 64-bit seconds are not."""


class ConditionType(StrEnum):
    """Type of a condition. Reconciling, Stalled, and Suspended are present only while True, as kstatus expects."""

    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    READY = "Ready"


def utc(moment: datetime) -> datetime:
    """Return a time in UTC, limited to the years 1970 to 3000, so that calculations with it cannot overflow.

    The API server accepts a ``date-time`` without a zone, which is taken as UTC, and years from 0 to 9999.
    """
    if not EARLIEST.year <= moment.year < LATEST.year:
        return EARLIEST if moment.year < EARLIEST.year else LATEST
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else max(EARLIEST, moment.astimezone(UTC))


def _clamp(least: int, most: int) -> Callable[[int], int]:
    return lambda value: min(max(value, least), most)


Time = Annotated[datetime, AfterValidator(utc), PlainSerializer(format_time, return_type=str, when_used="json")]
# the status is written back as a whole: a number from another writer must not make that fail
Count = Annotated[int, Field(ge=0), AfterValidator(_clamp(0, COUNT_MAX))]
Size = Annotated[int, AfterValidator(_clamp(0, INT64_MAX))]
Code = Annotated[int, AfterValidator(_clamp(-INT32_MAX - 1, INT32_MAX))]
ActiveSeconds = Annotated[int, AfterValidator(_clamp(0, ACTIVE_SECONDS_MAX))]


class StepState(StrEnum):
    """State of a step."""

    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


LIVE_STATES = frozenset({StepState.QUEUED, StepState.STARTING, StepState.RUNNING, StepState.STOPPING})
"""States in which a run of the step exists."""


_LEAF = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", strict=True)


@dataclass(slots=True, frozen=True, kw_only=True, config=_LEAF)
class Metric:
    """Metric; its value is a string so that no reader loses digits."""

    # not a pydantic model, which needs a dictionary and a set: finished experiments have more metrics and artifacts
    # than anything else

    name: str = Field(description="Name of the metric, as in status.json, such as AP or mask_AP.")
    value: str = Field(description="Value as a decimal number; AP from 0 to 1, not in percent.")


@dataclass(slots=True, frozen=True, kw_only=True, config=_LEAF)
class Artifact:
    """File or directory that a step has produced."""

    path: str = Field(description="Absolute path, under /workspace, or URL in object storage.")
    size_bytes: Size | None = Field(
        default=None, alias="bytes", description="Size of the file, or of all files in the directory, in bytes."
    )
    sha256: str | None = Field(default=None, description="SHA-256 of the file, in hexadecimal; absent for a directory.")


MOST_CONDITIONS = 16
"""Maximum number of conditions, including those of other writers."""


class Condition(StatusModel):
    """Condition as Kubernetes and kstatus define it."""

    type: str = Field(
        max_length=64, description="Type of the condition: Reconciling, Stalled, Suspended, Succeeded, or Ready."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Status of the condition: True, False, or Unknown.")
    reason: str = Field(description="Reason in one word, from the documented list.")
    message: str = Field(
        default="",
        max_length=CONDITION_MESSAGE_LENGTH,
        description="What happened, and what to do about it.",
    )
    last_transition_time: Time = Field(description="Time at which the condition's status last changed.")
    observed_generation: Size | None = Field(
        default=None, description="Generation of the spec for which the condition was written."
    )


class StepStatus(StatusModel):
    """Status of one step of the experiment."""

    name: str = Field(description="Name of the step.")
    state: StepState = Field(default=StepState.PENDING, description="State of the step.")
    reason: str = Field(default="", description="Reason of the state in one word, from the documented list.")
    message: str = Field(default="", description="What happened, in one sentence.")
    attempt: Count = Field(default=0, description="Number of the newest attempt; 0 before the first.")
    restarts: Count = Field(
        default=0, description="Number of attempts started after a failure; disruptions do not count."
    )
    restarts_since_checkpoint: Count = Field(
        default=0, description="Number of restarts since the newest checkpoint; at most maxRestarts."
    )
    disruptions: Count = Field(
        default=0,
        description="Number of disrupted attempts since the newest checkpoint; they do not count as restarts.",
    )
    job_name: str | None = Field(default=None, description="Name of the Job of the newest attempt.")
    image: str | None = Field(default=None, description="Trainer image of the newest attempt; retries use it again.")
    fingerprint: str | None = Field(default=None, description="Hash of everything on which the result depends.")
    older_fingerprint: str | None = Field(
        default=None, description="Fingerprint of the same result in older releases, if they have one."
    )
    start_time: Time | None = Field(default=None, description="Time at which the first attempt started.")
    run_start_time: Time | None = Field(default=None, description="Time at which the newest attempt first ran.")
    completion_time: Time | None = Field(
        default=None, description="Time at which the step succeeded or finally failed."
    )
    next_attempt_time: Time | None = Field(default=None, description="Earliest time at which the next attempt starts.")
    active_seconds: ActiveSeconds | None = Field(
        default=None,
        description="Running time before activeSince, in seconds; only for a step with activeDeadlineSeconds.",
    )
    active_since: Time | None = Field(
        default=None, description="Time since which the step runs; only for a step with activeDeadlineSeconds."
    )
    checkpoint_step: Size | None = Field(default=None, description="Training step of the newest checkpoint.")
    exit_code: Code | None = Field(default=None, description="Exit code of the newest attempt that ended.")
    model_path: str | None = Field(default=None, description="Path or URL of the model that the step has made.")
    report_path: str | None = Field(
        default=None, description="Path or URL of the report about the step, a page of HTML; absent if there is none."
    )
    artifacts: dict[str, Artifact] = Field(
        default={}, description="Files and directories that the step has produced, by name."
    )
    metrics: tuple[Metric, ...] = Field(default=(), description="Final metrics of the step.")

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Return the known fingerprints of the step's newest attempt, oldest first."""
        return tuple(name for name in (self.older_fingerprint, self.fingerprint) if name)


class UnpublishedStep(StatusModel):
    """Running step of which a complete checkpoint waits to be published to object storage."""

    step: str = Field(description="Name of the step.")
    attempt: Count = Field(description="Number of the attempt that has the checkpoint.")
    since: Time = Field(description="Time since which the checkpoint waits.")
    checkpoint_step: Size | None = Field(
        default=None, description="Training step of the newest published checkpoint; absent if none is published."
    )


class Progress(StatusModel):
    """Progress of the running step; written with a field manager of its own."""

    step: str = Field(description="Name of the step.")
    iteration: Size | None = Field(default=None, description="Number of training steps (or items) done.")
    total_iterations: Size | None = Field(default=None, description="Total number of training steps (or items).")
    percentage: int | None = Field(default=None, ge=0, le=100, description="Part that is done, in percent.")
    checkpoint_step: Size | None = Field(default=None, description="Training step of the newest checkpoint.")
    estimated_remaining_seconds: Size | None = Field(default=None, description="Estimated time left, in seconds.")
    eta: str | None = Field(default=None, description="Estimated time left, as h:mm:ss.")
    unpublished: tuple[UnpublishedStep, ...] = Field(
        default=(),
        description="All running steps of which a complete checkpoint has waited for two minutes to be published to "
        "object storage.",
    )
    metrics: tuple[Metric, ...] = Field(default=(), description="Newest metrics of the running step.")
    last_updated_time: Time | None = Field(default=None, description="Time of the step's last report.")

    def wait_of(self, step: StepStatus) -> UnpublishedStep | None:
        """Return the wait of a step's newest attempt, current or not; None if no checkpoint is known to wait."""
        same = (wait for wait in self.unpublished if (wait.step, wait.attempt) == (step.name, step.attempt))
        return next(same, None)


class ExperimentStatus(StatusModel):
    """Status of an experiment."""

    observed_generation: Size | None = Field(
        default=None, description="Generation of the spec for which this status was written."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=MOST_CONDITIONS,
        description="Conditions Reconciling, Stalled, Suspended, Succeeded, and Ready, and at most 11 of other "
        "writers.",
    )
    steps: tuple[StepStatus, ...] = Field(default=(), description="Status of each step, in the order of the spec.")
    current_step: str | None = Field(
        default=None, description="Name of the running train step, or of the first running step."
    )
    restarts: Size = Field(default=0, description="Number of restarts of all steps; disruptions do not count.")
    active_seconds: ActiveSeconds = Field(
        default=0,
        description="Time during which steps ran, before activeSince, in seconds. Time in a queue, while suspended, or "
        "while pods start does not count.",
    )
    active_since: Time | None = Field(default=None, description="Time since which a step runs; absent if none runs.")
    workspace: str | None = Field(
        default=None,
        description="Workspace that this status is about: the URL, or the claim's name and subPath, with a slash "
        "between them. After a change of the workspace every step runs again.",
    )
    start_time: Time | None = Field(default=None, description="Time at which the first step started.")
    completion_time: Time | None = Field(default=None, description="Time at which the experiment succeeded or failed.")
    progress: Progress | None = Field(default=None, description="Progress of the current step.")
    metrics: tuple[Metric, ...] = Field(
        default=(), description="Metrics of the last finished evaluation of a trained model."
    )
    model_path: str | None = Field(
        default=None, description="Path or URL of the model of the last finished train step."
    )
    export_path: str | None = Field(
        default=None, description="Path or URL of the model of the last finished export step."
    )

    def step(self, name: str) -> StepStatus | None:
        """Return the status of the step called ``name``; None if there is none."""
        return next((step for step in self.steps if step.name == name), None)

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of type ``kind``; None if it is absent."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def is_true(self, kind: str) -> bool:
        """Return whether the condition of type ``kind`` is True."""
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"

    def unpublished_since(self, step: StepStatus) -> datetime | None:
        """Return since when a checkpoint of a step's newest attempt waits to be published; None if none is known to."""
        wait = self.progress.wait_of(step) if self.progress is not None else None
        return wait.since if wait is not None else None
