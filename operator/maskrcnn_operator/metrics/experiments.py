"""Series of experiments, made at each scrape from the cache, so that they disappear with their experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import (
    EARLIEST,
    LIVE_STATES,
    ConditionType,
    ExperimentStatus,
    StepState,
    StepStatus,
)

_LIVE_RANK = 2
_RANKS = {Reason.FAILED.value: 1, Reason.SUCCEEDED.value: 0}
"""Priority of finished experiments for series: the alert on a failed one must not resolve because its series ended."""
_WAITS_FOR_OTHERS = frozenset({Reason.WAITING_FOR_STEPS.value, Reason.UPSTREAM_FAILED.value})
_VOCABULARY = frozenset(reason.value for reason in Reason)


@dataclass(frozen=True, slots=True)
class Reading:
    """Experiment with its metrics by name, looked up once for all series.

    Attributes:
        experiment: from the cache.
        reported: newest metrics of the current step, as in the status (text).
        evaluated: metrics of the last finished evaluation, as in the status (text).
        now: time of the scrape, aware.
    """

    experiment: MaskRCNNExperiment
    reported: Mapping[str, str]
    evaluated: Mapping[str, str]
    now: datetime


@dataclass(frozen=True)
class Series:
    """Definition of a series that each experiment has.

    Attributes:
        name: of the metric.
        help: its description in ``/metrics`` and docs/reference/metrics.md.
        value: returns the value for an experiment; None if it has none.
        labels: names of labels in addition to namespace and experiment.
        label_values: returns the values of ``labels`` for an experiment.
    """

    name: str
    help: str
    value: Callable[[Reading], float | None]
    labels: tuple[str, ...] = ()
    label_values: Callable[[MaskRCNNExperiment], tuple[str, ...]] = lambda _: ()


class Experiments(Protocol):
    """Interface of :class:`maskrcnn_operator.cluster.cache.Cache` that this module uses."""

    def experiments(self) -> Iterable[MaskRCNNExperiment]:
        """Return all experiments in the cache."""


def state_of(status: ExperimentStatus) -> str:
    """Return the value of the STATE column, which is the reason of the condition Ready.

    A reason that isn't documented becomes Error: clients that may write a status must not create any number of series.
    """
    ready = status.condition(ConditionType.READY)
    return _in_vocabulary(ready.reason) if ready is not None else Reason.PENDING.value


def step_at(status: ExperimentStatus) -> StepStatus | None:
    """Return the step responsible for the experiment's state: a running one, else a waiting one, else a failed one."""
    current = status.step(status.current_step) if status.current_step else None
    if current is not None:
        return current
    for state in (StepState.QUEUED, StepState.PENDING, StepState.FAILED):
        for step in status.steps:
            if step.state is state and step.reason not in _WAITS_FOR_OTHERS:
                return step
    return None


def _step_labels(experiment: MaskRCNNExperiment) -> tuple[str, ...]:
    step = step_at(experiment.status)
    if step is None:
        return "", ""
    # the reason of a failed task comes from its pod, which must not create any number of series
    return step.name, _in_vocabulary(step.reason)


def _in_vocabulary(reason: str) -> str:
    return reason if reason in _VOCABULARY else Reason.ERROR.value


def _reading(experiment: MaskRCNNExperiment, now: datetime) -> Reading:
    status = experiment.status
    return Reading(
        experiment,
        reported={metric.name: metric.value for metric in status.progress.metrics} if status.progress else {},
        evaluated={metric.name: metric.value for metric in status.metrics},
        now=now,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _progress(reading: Reading) -> float | None:
    progress = reading.experiment.status.progress
    if progress is None or progress.iteration is None or not progress.total_iterations:
        return None
    return min(1.0, progress.iteration / progress.total_iterations)


def _unpublished(reading: Reading) -> float | None:
    status = reading.experiment.status
    waits = (status.unpublished_since(step) for step in status.steps if step.state in LIVE_STATES)
    since = min((moment for moment in waits if moment is not None), default=None)
    # another replica with a clock ahead of ours may have written it
    return None if since is None else max(0.0, (reading.now - since).total_seconds())


def _reported(name: str) -> Callable[[Reading], float | None]:
    return lambda reading: _number(reading.reported.get(name))


def _evaluated(name: str) -> Callable[[Reading], float | None]:
    return lambda reading: _number(reading.evaluated.get(name, reading.reported.get(name)))


def _created(reading: Reading) -> float | None:
    created = reading.experiment.metadata.creation_timestamp
    return created.timestamp() if created else None


SERIES: tuple[Series, ...] = (
    Series(
        "maskrcnn_experiment_state",
        "Constant 1, labeled with the experiment's state, as in the STATE column of kubectl get, and the step"
        " responsible for it (running, else waiting, else failed) with its reason.",
        lambda _: 1.0,
        ("state", "step", "reason"),
        lambda experiment: (state_of(experiment.status), *_step_labels(experiment)),
    ),
    Series(
        "maskrcnn_experiment_progress_ratio",
        "Progress of the current step, from 0 to 1; absent while no step reports.",
        _progress,
    ),
    Series(
        "maskrcnn_experiment_unpublished_seconds",
        "Longest time for which a checkpoint of a running step has waited to be published to object storage, in"
        " seconds; absent while none has waited for two minutes.",
        _unpublished,
    ),
    Series(
        "maskrcnn_experiment_restarts",
        "Restarts of all steps that count against maxRestarts, as in the status; reset to 0 when failed steps are"
        " retried.",
        lambda reading: float(reading.experiment.status.restarts),
    ),
    Series(
        "maskrcnn_experiment_loss",
        "Latest total training loss; absent while no step reports one.",
        _reported("loss"),
    ),
    Series(
        "maskrcnn_experiment_images_per_second",
        "Latest throughput of the current step, in images per second; absent while no step reports it.",
        _reported("images_per_second"),
    ),
    Series(
        "maskrcnn_experiment_box_average_precision_ratio",
        "COCO box AP, from 0 to 1, of the last finished evaluation; before the first one, of the last checkpoint.",
        _evaluated("AP"),
    ),
    Series(
        "maskrcnn_experiment_mask_average_precision_ratio",
        "COCO mask AP, from 0 to 1, of the last finished evaluation; before the first one, of the last checkpoint.",
        _evaluated("mask_AP"),
    ),
    Series(
        "maskrcnn_experiment_created_timestamp_seconds",
        "Creation time of the experiment, in seconds since 1970.",
        _created,
    ),
)
"""All series that an experiment may have."""

TOTAL = "maskrcnn_experiments"
TOTAL_HELP = "Number of experiments by namespace and state, including those without their own series."
LEFT_OUT = "maskrcnn_experiments_without_series"
LEFT_OUT_HELP = "Number of experiments without their own series, because there are more than --experiment-metrics."

Row = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class Snapshot:
    """Values of all series at one moment.

    Attributes:
        rows: labels and values, in the order of :data:`SERIES`.
        states: number of experiments by namespace and state.
        left_out: number of experiments without their own series.
    """

    rows: tuple[Sequence[Row], ...]
    states: tuple[tuple[tuple[str, str], int], ...]
    left_out: int


class ExperimentCollector(Collector):
    """Collector of the series of all experiments in a cache.

    Args:
        cache: see :class:`Experiments`; it is read in the calling thread.
        is_leader: returns whether this replica reconciles; others export nothing, so that no series is exported twice.
        limit: maximum number of experiments with their own series, 0 for none: first those that aren't finished, then
            those that failed, then the newest.
        now: time of day, aware.
    """

    def __init__(
        self,
        cache: Experiments,
        is_leader: Callable[[], bool],
        limit: int,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cache, self._is_leader, self._limit, self._now = cache, is_leader, limit, now

    def deferred_snapshot(self) -> Callable[[], Snapshot | None]:
        """List the experiments, and return a function that makes the snapshot.

        Call this method in the thread that fills the cache; the returned function may be called in any thread.
        """
        known = tuple(self._cache.experiments()) if self._is_leader() else None
        return lambda: snapshot_of(known, self._limit, self._now()) if known is not None else None

    def snapshot(self) -> Snapshot | None:
        """Return the current values of all series; None unless this replica is the leader."""
        return self.deferred_snapshot()()

    def collect(self) -> Iterator[Metric]:
        """Return the series as metric families of prometheus_client."""
        return families(self.snapshot())


def snapshot_of(experiments: Iterable[MaskRCNNExperiment], limit: int, now: datetime) -> Snapshot:
    """Return the values of all series of experiments at a time, of which at most ``limit`` have their own."""
    known = _newest_by_name(experiments)
    states = Counter((experiment.metadata.namespace, state_of(experiment.status)) for experiment in known)
    chosen = known
    if len(known) > limit:
        chosen = sorted(known, key=_importance, reverse=True)[:limit]
    readings = [_reading(experiment, now) for experiment in chosen]
    return Snapshot(
        rows=tuple(list(_rows(series, readings)) for series in SERIES),
        states=tuple(sorted(states.items())),
        left_out=len(known) - len(chosen),
    )


def families(snapshot: Snapshot | None) -> Iterator[Metric]:
    """Yield the series of a snapshot as metric families of prometheus_client; none for None."""
    if snapshot is None:
        return
    total = GaugeMetricFamily(TOTAL, TOTAL_HELP, labels=("namespace", "state"))
    for namespace_and_state, count in snapshot.states:
        total.add_metric(namespace_and_state, count)
    yield total
    yield GaugeMetricFamily(LEFT_OUT, LEFT_OUT_HELP, value=snapshot.left_out)
    for series, rows in zip(SERIES, snapshot.rows, strict=True):
        if rows:
            family = GaugeMetricFamily(series.name, series.help, labels=("namespace", "experiment", *series.labels))
            for labels, value in rows:
                family.add_metric(labels, value)
            yield family


def _rows(series: Series, readings: Iterable[Reading]) -> Iterator[Row]:
    for reading in readings:
        value = series.value(reading)
        if value is not None:
            experiment = reading.experiment
            yield (experiment.metadata.namespace, experiment.name, *series.label_values(experiment)), value


def _newest_by_name(experiments: Iterable[MaskRCNNExperiment]) -> list[MaskRCNNExperiment]:
    """Return the newest experiment of each name: the cache may still have a deleted one, and series must be unique."""
    found: dict[tuple[str, str], MaskRCNNExperiment] = {}
    for experiment in sorted(experiments, key=_created_at):
        found[experiment.metadata.namespace, experiment.name] = experiment
    return list(found.values())


def _created_at(experiment: MaskRCNNExperiment) -> datetime:
    return experiment.metadata.creation_timestamp or EARLIEST


def _importance(experiment: MaskRCNNExperiment) -> tuple[int, datetime, str, str]:
    rank = _RANKS.get(state_of(experiment.status), _LIVE_RANK)
    return rank, _created_at(experiment), experiment.metadata.namespace, experiment.name
