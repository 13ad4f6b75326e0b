"""Metrics of the operator's process, and functions that update them."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.spec.task_name import TaskName

REGISTRY = CollectorRegistry()
"""Registry of this module's metrics and of the process's CPU, memory, and files."""

ProcessCollector(registry=REGISTRY)

_BUILD = Gauge(
    "maskrcnn_operator_build_info",
    "Constant 1, labeled with the versions of the operator and of Python.",
    ["version", "python_version"],
    registry=REGISTRY,
)
_RECONCILE = Histogram(
    "maskrcnn_operator_reconcile_duration_seconds",
    "Duration of one reconciliation of an experiment, including its writes.",
    ["result"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
    registry=REGISTRY,
)
_QUEUE_DEPTH = Gauge(
    "maskrcnn_operator_queue_depth", "Number of experiments that wait to be reconciled.", registry=REGISTRY
)
_QUEUE_WAIT = Histogram(
    "maskrcnn_operator_queue_wait_seconds",
    "Time from when an experiment was due until its reconciliation started.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0),
    registry=REGISTRY,
)
_API_CALLS = Counter(
    "maskrcnn_operator_api_requests",
    "Requests to the Kubernetes API; the code is none if there was no response.",
    ["verb", "resource", "code"],
    registry=REGISTRY,
)
_API_SECONDS = Histogram(
    "maskrcnn_operator_api_request_duration_seconds",
    "Duration of requests to the Kubernetes API, without the wait for the rate limit.",
    ["verb", "resource"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
    registry=REGISTRY,
)
_API_HELD = Histogram(
    "maskrcnn_operator_api_request_held_seconds",
    "Time that a request to the Kubernetes API waited for the rate limit (qps and burst), by purpose; requests that"
    " didn't wait are counted, too.",
    ["purpose"],
    buckets=(0.001, 0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0),
    registry=REGISTRY,
)
_STEPS = Counter(
    "maskrcnn_operator_steps_finished",
    "Steps that ended and won't be retried; the result is Succeeded or Failed.",
    ["task", "result"],
    registry=REGISTRY,
)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_STEP_SECONDS = Histogram(
    "maskrcnn_step_duration_seconds",
    "Time from the start of a step's first attempt until the step succeeded or failed without another retry, including"
    " waits between attempts; a step that failed without an attempt isn't observed.",
    ["task", "result"],
    buckets=(
        *(_MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
        *(_HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR),
        *(_DAY, 2 * _DAY, 4 * _DAY, 8 * _DAY),
    ),
    registry=REGISTRY,
)
_RESTARTS = Counter(
    "maskrcnn_operator_step_restarts",
    "Attempts of steps that are followed by another one, by reason, whether or not they count against maxRestarts.",
    ["reason"],
    registry=REGISTRY,
)
_REPORTS = Counter(
    "maskrcnn_operator_reports",
    "Responses to progress reports of running steps, by HTTP status.",
    ["code"],
    registry=REGISTRY,
)
_PROGRESS_INTERVAL = Gauge(
    "maskrcnn_operator_progress_interval_seconds",
    "Minimum time between two writes of one experiment's progress; it grows with the number of reporting experiments.",
    registry=REGISTRY,
)
_CONNECTIONS_CUT = Counter(
    "maskrcnn_operator_report_connections_cut",
    "Connections to the report endpoint that were closed without a response, because they exceeded a limit on number,"
    " time, or size.",
    registry=REGISTRY,
)
_UNREADABLE = Counter(
    "maskrcnn_operator_unreadable_objects",
    "Objects that couldn't be parsed, counted each time that a list or a watch returned them; the log names each once.",
    ["kind"],
    registry=REGISTRY,
)
_LEADER = Gauge(
    "maskrcnn_operator_leader", "1 while this replica holds the Lease and reconciles, else 0.", registry=REGISTRY
)
_NAMESPACE_LISTED = Gauge(
    "maskrcnn_operator_namespace_listed",
    "1 if the latest list of a watched namespace succeeded, else 0; the namespace is * if all are watched.",
    ["namespace"],
    registry=REGISTRY,
)

_BEGAN = time.monotonic()
_LIST_AGE = Gauge(
    "maskrcnn_operator_last_list_age_seconds",
    "Time since the cluster was last listed, or since the start of the process before the first list.",
    registry=REGISTRY,
)


def _begin_at_zero() -> None:
    """Create the series with the value 0: ``rate`` misses the first event of a series that starts at 1."""
    _BUILD.labels(version(), platform.python_version()).set(1)
    for result in ("success", "conflict", "not_found", "not_leading", "api_error", "error"):
        _RECONCILE.labels(result)
    for task in TaskName:
        for ended in ("Succeeded", "Failed"):
            _STEPS.labels(task.value, ended)
            _STEP_SECONDS.labels(task.value, ended)
    for reason in (
        Reason.BACK_OFF, Reason.DISRUPTED, Reason.NODE_LOST, Reason.RUN_LOST, Reason.RESULT_UNREADABLE,
    ):  # fmt: skip
        _RESTARTS.labels(reason.value)
    for purpose in CallPurpose:
        _API_HELD.labels(purpose.value)
    for code in (200, 401, 403, 429, 503):
        _REPORTS.labels(str(code))
    for kind in ("maskrcnnexperiments", "jobs", "pods", "persistentvolumeclaims"):
        _UNREADABLE.labels(kind)


_begin_at_zero()


def observe_reconcile(seconds: float, result: str) -> None:
    """Observe a reconciliation that ended; ``result`` is one of a few words, such as ``success`` or ``conflict``."""
    _RECONCILE.labels(result).observe(seconds)


def queue_depth(waiting: int) -> None:
    """Set the number of experiments that wait to be reconciled."""
    _QUEUE_DEPTH.set(waiting)


def queue_wait(seconds: float) -> None:
    """Observe how long an experiment was due when it was taken from the queue."""
    _QUEUE_WAIT.observe(seconds)


def api_call(verb: str, resource: str, code: int, seconds: float) -> None:
    """Observe a request to the API server; ``code`` is 0 if there was no response."""
    _API_CALLS.labels(verb, resource, str(code) if code else "none").inc()
    _API_SECONDS.labels(verb, resource).observe(seconds)


def api_call_held(purpose: CallPurpose, seconds: float) -> None:
    """Observe how long a request to the API server waited for the rate limit."""
    _API_HELD.labels(purpose.value).observe(seconds)


def step_ended(task: str, result: str, seconds: float | None) -> None:
    """Count a step that ended and won't be retried.

    Args:
        task: of the step, such as ``train``.
        result: ``Succeeded`` or ``Failed``.
        seconds: from the start of its first attempt to its end; None if it never started.
    """
    _STEPS.labels(task, result).inc()
    if seconds is not None:
        _STEP_SECONDS.labels(task, result).observe(max(0.0, seconds))


def step_restarted(reason: str) -> None:
    """Count an attempt of a step that is followed by another one; ``reason`` is a documented one."""
    _RESTARTS.labels(reason).inc()


def report_answered(code: int) -> None:
    """Count a response to a progress report, by its HTTP status."""
    _REPORTS.labels(str(code)).inc()


def progress_interval(seconds: float) -> None:
    """Set the minimum time between two writes of one experiment's progress."""
    _PROGRESS_INTERVAL.set(seconds)


def report_connection_cut() -> None:
    """Count a connection to the report endpoint that was closed without a response because of a limit."""
    _CONNECTIONS_CUT.inc()


def unreadable_object(kind: str) -> None:
    """Count an object that couldn't be parsed; ``kind`` is the plural of its resource, such as ``pods``."""
    _UNREADABLE.labels(kind).inc()


def leading(holds_lease: bool) -> None:
    """Set whether this replica holds the Lease."""
    _LEADER.set(1 if holds_lease else 0)


def last_listed(moment: Callable[[], float | None]) -> None:
    """Export the age of the last list; ``moment`` returns its ``time.monotonic()``, or None before the first one."""
    _LIST_AGE.set_function(lambda: time.monotonic() - (moment() or _BEGAN))


def namespace_listed(namespace: str, listed: bool) -> None:
    """Set whether the latest list of a namespace succeeded."""
    _NAMESPACE_LISTED.labels(namespace).set(1 if listed else 0)


def forget_namespace(namespace: str) -> None:
    """Remove the series of a namespace that is no longer listed."""
    _NAMESPACE_LISTED.remove(namespace)
