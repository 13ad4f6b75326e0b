"""Records that a task and the operator exchange as JSON: file names, keys, and the objects that a task writes.

The termination message and ``result.json`` report the end of a task, a line of ``status.json`` its progress, and a
posted report the same with its sender. ``run.json`` names the run that owns a results directory. Keys of
``status.json`` are those of TAO Toolkit, in snake case; ``checkpointStep`` and all other records are in camel
case.

Readers use these keys but check every value, since any program in a user's image may have written it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from maskrcnn_trainer.shared import fingerprints

MESSAGE_VERSION = 1
"""Version of the termination message, of ``result.json`` and of a posted report."""
RUN_VERSION = 1
"""Version of ``run.json``."""

RUN_FILE = "run.json"
RESULT_FILE = "result.json"
STATUS_FILE = "status.json"
TERMINATION_FILE = "termination.json"
"""The termination message of a task that runs without a cluster."""
INPUTS_FILE = "inputs.json.gz"
"""List of the objects that a task has read by URL, next to its ``result.json``."""
REPORT_FILE, REPORT_NUMBERS_FILE = "report.html", "report.json"
"""Report about a step or an experiment: the page, and all its numbers."""

RECORDS_ARTIFACT = "records"
"""Name of the artifact with the TFRecords of a conversion, whose path is a pattern."""

Number = int | float


def finite_numbers(values: Mapping[str, Any] | None) -> dict[str, Number]:
    """Return the entries of ``values`` as Python numbers, without NaN and infinity, which JSON lacks.

    Args:
        values: Python numbers, or scalars of NumPy or TensorFlow.

    Raises:
        TypeError: a value isn't a number.
    """
    numbers: dict[str, Number] = {}
    for name, value in (values or {}).items():
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{name}: a metric must be a number, not {type(value).__name__}")
        if math.isfinite(number):
            numbers[name] = number
    return numbers


class ResultKey(StrEnum):
    """Keys of a termination message and of ``result.json``, which has more."""

    VERSION = "version"
    TASK = "task"
    CODE = "code"
    FINGERPRINT = fingerprints.FINGERPRINT
    ATTEMPT = "attempt"
    MODEL_PATH = "modelPath"
    METRICS = "metrics"
    ARTIFACTS = "artifacts"
    CHECKPOINT_STEP = "checkpointStep"
    ERROR = "error"
    REPORT_PATH = "reportPath"
    UP_TO_DATE = "upToDate"
    IMAGE = "image"
    VERSIONS = "versions"
    PROCESSES = "processes"
    THREADS = "threads"
    DEVICE = "device"
    START_TIME = "startTime"
    COMPLETION_TIME = "completionTime"
    FACTS = "facts"
    INPUTS = "inputs"


class ArtifactKey(StrEnum):
    """Keys of an artifact; the hash is only in ``result.json``."""

    PATH = "path"
    BYTES = "bytes"
    SHA256 = "sha256"


class ErrorKey(StrEnum):
    """Keys of the error of a failed task."""

    REASON = "reason"
    MESSAGE = "message"
    LATER_ATTEMPT = "laterAttempt"


class StatusKey(StrEnum):
    """Keys of a line of ``status.json`` and of a posted report."""

    DATE = "date"
    TIME = "time"
    STATUS = "status"
    MESSAGE = "message"
    EPOCH = "epoch"
    MAX_EPOCH = "max_epoch"
    STEP = "step"
    TOTAL_STEPS = "total_steps"
    ETA = "eta"
    TIME_PER_EPOCH = "time_per_epoch"
    KPI = "kpi"
    GRAPHICAL = "graphical"
    CHECKPOINT_STEP = "checkpointStep"


class TaskStatus(StrEnum):
    """Values of ``status`` in a line of ``status.json``."""

    STARTED = "STARTED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


class SenderKey(StrEnum):
    """Keys of the sender in a posted report, which has the keys of a ``status.json`` line too."""

    VERSION = "version"
    TASK = "task"
    EXPERIMENT_UID = "experimentUid"
    FINGERPRINT = fingerprints.FINGERPRINT
    ATTEMPT = "attempt"


class PostedKey(StrEnum):
    """Keys of a posted report alone, about the moment at which it is posted.

    UNPUBLISHED_SECONDS: time for which a complete checkpoint has waited to be published, in whole seconds; absent if
    none has waited for longer than usual.
    """

    UNPUBLISHED_SECONDS = "unpublishedSeconds"


NOTICE = "notice"
"""Key of a sentence in the file of :func:`notices_name`, which has one JSON object in each line."""


def notices_name(step: str) -> str:
    """Return the name of the file with warnings about publishing, which lies next to the working copy of a step."""
    return f".{step}.notices.jsonl"


class RunFileKey(StrEnum):
    """Keys of ``run.json``; :func:`fingerprints.as_members` adds the member for several fingerprints."""

    VERSION = "version"
    EXPERIMENT_UID = "experimentUid"
    ATTEMPT = "attempt"
    FINGERPRINT = fingerprints.FINGERPRINT
    TOKEN = "token"  # noqa: S105 - the name of a key
    CREATED = "created"
    OWNER_EPOCH = "ownerEpoch"
    EPOCH = "epoch"


@dataclass(frozen=True)
class TaskFailure:
    """Error of a failed task.

    Attributes:
        reason: one CamelCase word, such as ``InvalidData``.
        message: sentence for the user.
        later_attempt: number of the attempt of the same experiment that has the results directory; None for another
            failure.
    """

    reason: str
    message: str
    later_attempt: int | None = None

    def to_json(self) -> dict[str, str | int]:
        """Return the members of the JSON object."""
        content: dict[str, str | int] = {ErrorKey.REASON: self.reason, ErrorKey.MESSAGE: self.message}
        if self.later_attempt is not None:
            content[ErrorKey.LATER_ATTEMPT] = self.later_attempt
        return content


@dataclass(frozen=True)
class StoredArtifact:
    """Artifact of a task.

    Attributes:
        path: a file, a directory, or a pattern, below ``/workspace`` as in a pod.
        size_bytes: size of all its files together.
        sha256: hash as hex; None in a termination message.
    """

    path: str
    size_bytes: int
    sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        digest: dict[str, Any] = {} if self.sha256 is None else {ArtifactKey.SHA256: self.sha256}
        return {ArtifactKey.PATH: self.path, ArtifactKey.BYTES: self.size_bytes, **digest}


@dataclass(frozen=True, kw_only=True)
class TerminationMessage:
    """Content of a termination message.

    Attributes:
        code: exit code.
        model_path: path of the model that the task produced, below ``/workspace``.
        metrics: finite numbers; fractions, such as 0.377.
        checkpoint_step: training step of the newest checkpoint.
        error: None if ``code`` is 0.
        report_path: path of the report that the task wrote; None if it wrote none. It isn't an artifact, because the
            result stays the same if the report is made again later.
        up_to_date: whether the result existed already, so nothing was done.
    """

    task: str
    code: int
    fingerprint: str | None
    attempt: int
    model_path: str | None = None
    metrics: Mapping[str, Number] = field(default_factory=dict)
    artifacts: Mapping[str, StoredArtifact] = field(default_factory=dict)
    checkpoint_step: int | None = None
    error: TaskFailure | None = None
    report_path: str | None = None
    up_to_date: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        return {
            ResultKey.VERSION: MESSAGE_VERSION,
            ResultKey.TASK: self.task,
            ResultKey.CODE: self.code,
            ResultKey.FINGERPRINT: self.fingerprint,
            ResultKey.ATTEMPT: self.attempt,
            ResultKey.MODEL_PATH: self.model_path,
            ResultKey.METRICS: dict(self.metrics),
            ResultKey.ARTIFACTS: {name: artifact.to_json() for name, artifact in self.artifacts.items()},
            ResultKey.CHECKPOINT_STEP: self.checkpoint_step,
            ResultKey.ERROR: None if self.error is None else self.error.to_json(),
            **({} if self.report_path is None else {ResultKey.REPORT_PATH: self.report_path}),
            **({ResultKey.UP_TO_DATE: True} if self.up_to_date else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """Content of ``result.json``.

    Attributes:
        message: the termination message of the task.
        digests: SHA-256 of every artifact, as hex.
        image: image of the pod; None without a cluster.
        versions: versions of Python and of packages that can change a result.
        start_time, completion_time: RFC 3339 in UTC.
        device: name of the GPU or CPU of the first process; None for a task whose speed doesn't depend on it.
        fingerprints: all fingerprints of the step, oldest first.
        facts: numbers for the report, as a JSON object (:mod:`maskrcnn_trainer.results.facts`); left out if empty.
        inputs: number of objects, bytes, and SHA-256 of their list, by URL as the user wrote it; left out if empty.
    """

    message: TerminationMessage
    digests: Mapping[str, str]
    versions: Mapping[str, str]
    processes: int
    threads: int
    start_time: str
    completion_time: str
    fingerprints: Sequence[str] = ()
    image: str | None = None
    device: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        artifacts = {
            name: replace(artifact, sha256=self.digests[name]) for name, artifact in self.message.artifacts.items()
        }
        return {
            **replace(self.message, artifacts=artifacts).to_json(),
            ResultKey.IMAGE: self.image,
            ResultKey.VERSIONS: dict(self.versions),
            ResultKey.PROCESSES: self.processes,
            ResultKey.THREADS: self.threads,
            **({} if self.device is None else {ResultKey.DEVICE: self.device}),
            ResultKey.START_TIME: self.start_time,
            ResultKey.COMPLETION_TIME: self.completion_time,
            **fingerprints.as_members(self.fingerprints),
            **({ResultKey.FACTS: dict(self.facts)} if self.facts else {}),
            **({ResultKey.INPUTS: dict(self.inputs)} if self.inputs else {}),
        }


@dataclass(frozen=True, kw_only=True)
class StatusRecord:
    """Line of ``status.json``.

    Attributes:
        date, time: local time, as ``%m/%d/%Y`` and ``%H:%M:%S``.
        eta, time_per_epoch: durations as ``H:MM:SS``.
        kpi: metrics of an evaluation; graphical: losses and rates of the training.
        checkpoint_step: training step of the newest checkpoint.
    """

    date: str
    time: str
    status: TaskStatus
    message: str
    epoch: int | None = None
    max_epoch: int | None = None
    step: int | None = None
    total_steps: int | None = None
    eta: str | None = None
    time_per_epoch: str | None = None
    kpi: Mapping[str, Number] = field(default_factory=dict)
    graphical: Mapping[str, Number] = field(default_factory=dict)
    checkpoint_step: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        return {StatusKey[name.upper()]: value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Run that posts a report."""

    task: str
    experiment_uid: str | None
    fingerprint: str | None
    attempt: int

    def to_json(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        return {
            SenderKey.VERSION: MESSAGE_VERSION,
            SenderKey.TASK: self.task,
            SenderKey.EXPERIMENT_UID: self.experiment_uid,
            SenderKey.FINGERPRINT: self.fingerprint,
            SenderKey.ATTEMPT: self.attempt,
        }
