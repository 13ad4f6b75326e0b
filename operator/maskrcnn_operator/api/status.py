"""What the operator writes back: the status of the resource."""

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
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
CONDITION_MESSAGE_LENGTH = 32768
"""In characters, as the API server counts them; the length of metav1.Condition."""
COUNT_MAX = 2**53
"""Most attempts and restarts: one more still fits into every reader's numbers."""
ACTIVE_SECONDS_MAX = 10**10
"""Three centuries; a Python timedelta ends at three million years, 64-bit seconds do not."""


class ConditionType(StrEnum):
    """Type of a condition. Reconciling, Stalled and Suspended are present only while True, as kstatus expects."""

    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    READY = "Ready"


def utc(moment: datetime) -> datetime:
    """Return a time in UTC, which one without a zone is taken for, from 1970 to 3000: others cannot be calculated with.

    The API server takes a time without a zone for a ``date-time``, and years from 0 to 9999.
    """
    if not EARLIEST.year <= moment.year < LATEST.year:
        return EARLIEST if moment.year < EARLIEST.year else LATEST
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else max(EARLIEST, moment.astimezone(UTC))


def _clamp(least: int, most: int) -> Callable[[int], int]:
    return lambda value: min(max(value, least), most)


Time = Annotated[datetime, AfterValidator(utc), PlainSerializer(format_time, return_type=str, when_used="json")]
# the status is written back whole: a number that another writer has put there must not make that fail
Count = Annotated[int, Field(ge=0), AfterValidator(_clamp(0, COUNT_MAX))]
Size = Annotated[int, AfterValidator(_clamp(0, INT64_MAX))]
Code = Annotated[int, AfterValidator(_clamp(-INT32_MAX - 1, INT32_MAX))]
ActiveSeconds = Annotated[int, AfterValidator(_clamp(0, ACTIVE_SECONDS_MAX))]


class StepState(StrEnum):
    """Where a step stands."""

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
    """One number, a string so that no reader loses digits."""

    # a model has a dictionary and a set of its own; of finished experiments, metrics and artifacts are the most of all

    name: str = Field(description="Name as in status.json, such as AP or mask_AP.")
    value: str = Field(description="Value in decimal; fractions, not percent.")


@dataclass(slots=True, frozen=True, kw_only=True, config=_LEAF)
class Artifact:
    """A file, or a directory counted as one, that a step has produced."""

    path: str = Field(description="Path under /workspace.")
    size_bytes: Size | None = Field(default=None, alias="bytes", description="Size, in bytes.")
    sha256: str | None = Field(default=None, description="SHA-256 of a file, in hex.")


MOST_CONDITIONS = 16
"""Those of other writers included."""


class Condition(StatusModel):
    """A condition as Kubernetes and kstatus define it."""

    type: str = Field(max_length=64, description="Reconciling, Stalled, Suspended, Succeeded or Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="One word of the documented vocabulary.")
    message: str = Field(
        default="",
        max_length=CONDITION_MESSAGE_LENGTH,
        description="What happened, and what can be done about it.",
    )
    last_transition_time: Time = Field(description="When the status last changed.")
    observed_generation: Size | None = Field(default=None, description="The generation that the condition speaks of.")


class StepStatus(StatusModel):
    """One step of the experiment."""

    name: str = Field(description="Name of the step.")
    state: StepState = Field(default=StepState.PENDING, description="Where the step stands.")
    reason: str = Field(default="", description="One word of the documented vocabulary.")
    message: str = Field(default="", description="What happened, in a sentence.")
    attempt: Count = Field(default=0, description="Number of the newest attempt; 0 before the first.")
    restarts: Count = Field(default=0, description="Attempts started because one failed; disruptions are not counted.")
    restarts_since_checkpoint: Count = Field(
        default=0, description="Of these, those since the newest checkpoint; maxRestarts bounds them."
    )
    disruptions: Count = Field(
        default=0, description="Attempts that were disrupted, not counted, since the newest checkpoint."
    )
    job_name: str | None = Field(default=None, description="Name of the newest attempt's Job.")
    image: str | None = Field(default=None, description="Trainer image of the newest attempt, which its retries keep.")
    fingerprint: str | None = Field(default=None, description="What the result depends on, as a hash.")
    older_fingerprint: str | None = Field(
        default=None, description="The fingerprint by which older releases know the same result, if they know one."
    )
    start_time: Time | None = Field(default=None, description="When the first attempt started.")
    run_start_time: Time | None = Field(default=None, description="When a pod of the newest attempt first ran.")
    completion_time: Time | None = Field(default=None, description="When the step succeeded or failed for good.")
    next_attempt_time: Time | None = Field(default=None, description="When the next attempt may start.")
    active_seconds: ActiveSeconds | None = Field(
        default=None, description="Active time before activeSince, in seconds; of a step with activeDeadlineSeconds."
    )
    active_since: Time | None = Field(
        default=None, description="Since when the step is active; of a step with activeDeadlineSeconds."
    )
    checkpoint_step: Size | None = Field(default=None, description="Training step of the newest checkpoint.")
    exit_code: Code | None = Field(default=None, description="Exit code of the newest attempt that ended.")
    model_path: str | None = Field(default=None, description="The model that the step hands on.")
    artifacts: dict[str, Artifact] = Field(default={}, description="What the step has produced, by name.")
    metrics: tuple[Metric, ...] = Field(default=(), description="Last metrics of the step.")


class Progress(StatusModel):
    """How far the running step has come; written under a field manager of its own."""

    step: str = Field(description="Name of the step.")
    iteration: Size | None = Field(default=None, description="Training steps (or items) done.")
    total_iterations: Size | None = Field(default=None, description="Training steps (or items) in all.")
    percentage: int | None = Field(default=None, ge=0, le=100, description="Done, in percent.")
    checkpoint_step: Size | None = Field(default=None, description="Training step of the newest checkpoint.")
    estimated_remaining_seconds: Size | None = Field(default=None, description="Time left, in seconds.")
    eta: str | None = Field(default=None, description="Time left, h:mm:ss.")
    metrics: tuple[Metric, ...] = Field(default=(), description="Newest metrics of the running step.")
    last_updated_time: Time | None = Field(default=None, description="When the step last reported.")


class ExperimentStatus(StatusModel):
    """Status of an experiment."""

    observed_generation: Size | None = Field(default=None, description="The generation that this status is about.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=MOST_CONDITIONS,
        description="Reconciling, Stalled, Suspended, Succeeded, Ready; room for 11 of other writers is left.",
    )
    steps: tuple[StepStatus, ...] = Field(default=(), description="The steps, in the order of the spec.")
    current_step: str | None = Field(default=None, description="The running train step, else the first running step.")
    restarts: Size = Field(default=0, description="Counted restarts of all steps.")
    active_seconds: ActiveSeconds = Field(
        default=0,
        description="Time with a step running up to activeSince, in seconds; "
        "queue, suspension and the start of pods excluded.",
    )
    active_since: Time | None = Field(default=None, description="Since when a step is running; absent when none is.")
    start_time: Time | None = Field(default=None, description="When the first step started.")
    completion_time: Time | None = Field(default=None, description="When the experiment succeeded or failed.")
    progress: Progress | None = Field(default=None, description="How far the current step has come.")
    metrics: tuple[Metric, ...] = Field(
        default=(), description="Metrics of the last finished evaluation of a trained model."
    )
    model_path: str | None = Field(default=None, description="Model of the last finished train step.")
    export_path: str | None = Field(default=None, description="Model of the last finished export step.")

    def step(self, name: str) -> StepStatus | None:
        """The status of the step called ``name``, or None."""
        return next((step for step in self.steps if step.name == name), None)

    def condition(self, kind: str) -> Condition | None:
        """The condition of type ``kind``, or None where it is absent."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def is_true(self, kind: str) -> bool:
        """Whether the condition of type ``kind`` is True."""
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"
