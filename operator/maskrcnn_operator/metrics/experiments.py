"""Series of experiments, read from what is known of the cluster: they vanish with their experiment."""

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
from maskrcnn_operator.api.status import ConditionType, ExperimentStatus, StepState, StepStatus

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_LIVE_RANK = 2
_RANKS = {Reason.FAILED.value: 1, Reason.SUCCEEDED.value: 0}
"""Which finished experiments keep their series first: a failed one has an alert, which must last."""
_WAITS_FOR_OTHERS = frozenset({Reason.WAITING_FOR_STEPS.value, Reason.UPSTREAM_FAILED.value})
_VOCABULARY = frozenset(reason.value for reason in Reason)


@dataclass(frozen=True, slots=True)
class Reading:
    """An experiment with its metrics by name, looked up once for all series.

    Attributes:
        reported: newest metrics of the current step, as texts.
        evaluated: metrics of the last finished evaluation, as texts.
    """

    experiment: MaskRCNNExperiment
    reported: Mapping[str, str]
    evaluated: Mapping[str, str]


@dataclass(frozen=True)
class Series:
    """One series of every experiment.

    Attributes:
        value: None where the experiment has no such number.
        labels: beside namespace and experiment.
        label_values: theirs.
    """

    name: str
    help: str
    value: Callable[[Reading], float | None]
    labels: tuple[str, ...] = ()
    label_values: Callable[[MaskRCNNExperiment], tuple[str, ...]] = lambda _: ()


class Experiments(Protocol):
    """What is read of :class:`maskrcnn_operator.cluster.cache.Cache`."""

    def experiments(self) -> Iterable[MaskRCNNExperiment]: ...


def state_of(status: ExperimentStatus) -> str:
    """The STATE column: the reason of the condition Ready, one of the documented vocabulary.

    Whoever may write a status could write any reason, and must not make series without bound: it counts as Error.
    """
    ready = status.condition(ConditionType.READY)
    return _in_vocabulary(ready.reason) if ready is not None else Reason.PENDING.value


def step_at(status: ExperimentStatus) -> StepStatus | None:
    """The step that says why the experiment's state is what it is: the one that runs, else waits, else has failed."""
    current = status.step(status.current_step) if status.current_step else None
    if current is not None:
        return current
    for wanted in (StepState.QUEUED, StepState.PENDING, StepState.FAILED):
        for step in status.steps:
            if step.state is wanted and step.reason not in _WAITS_FOR_OTHERS:
                return step
    return None


def _step_labels(experiment: MaskRCNNExperiment) -> tuple[str, ...]:
    step = step_at(experiment.status)
    if step is None:
        return "", ""
    # a failed task's own word comes from its pod: it must not make series without bound
    return step.name, _in_vocabulary(step.reason)


def _in_vocabulary(reason: str) -> str:
    return reason if reason in _VOCABULARY else Reason.ERROR.value


def _reading(experiment: MaskRCNNExperiment) -> Reading:
    status = experiment.status
    return Reading(
        experiment,
        reported={metric.name: metric.value for metric in status.progress.metrics} if status.progress else {},
        evaluated={metric.name: metric.value for metric in status.metrics},
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
        "Always 1; state is what kubectl get shows as STATE, step the one that runs, else waits, else has failed.",
        lambda _: 1.0,
        ("state", "step", "reason"),
        lambda experiment: (state_of(experiment.status), *_step_labels(experiment)),
    ),
    Series(
        "maskrcnn_experiment_progress_ratio",
        "How far the current step has come, from 0 to 1; absent while none reports.",
        _progress,
    ),
    Series(
        "maskrcnn_experiment_restarts",
        "Counted restarts of all steps as they stand in the status; back to 0 when failed steps are tried again.",
        lambda reading: float(reading.experiment.status.restarts),
    ),
    Series("maskrcnn_experiment_loss", "Newest total training loss; absent while none is reported.", _reported("loss")),
    Series(
        "maskrcnn_experiment_images_per_second",
        "Newest speed of the current step, in images a second; absent while none is reported.",
        _reported("images_per_second"),
    ),
    Series(
        "maskrcnn_experiment_box_average_precision_ratio",
        "COCO AP of boxes, 0 to 1: of the last finished evaluation, until then of the training's last checkpoint.",
        _evaluated("AP"),
    ),
    Series(
        "maskrcnn_experiment_mask_average_precision_ratio",
        "COCO AP of masks, 0 to 1: of the last finished evaluation, until then of the training's last checkpoint.",
        _evaluated("mask_AP"),
    ),
    Series(
        "maskrcnn_experiment_created_timestamp_seconds",
        "When the experiment was created, in seconds since 1970; its age is time() minus this.",
        _created,
    ),
)
"""What is told of every experiment, one series each."""

TOTAL = "maskrcnn_experiments"
TOTAL_HELP = "Experiments by namespace and state, whether or not they have series of their own."
LEFT_OUT = "maskrcnn_experiments_without_series"
LEFT_OUT_HELP = "Experiments past the limit of --experiment-metrics, which have no series of their own."

Row = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class Snapshot:
    """Every series at one moment.

    Attributes:
        rows: labels and values, in the order of :data:`SERIES`.
        states: number of experiments by namespace and state.
        left_out: number of experiments without series of their own.
    """

    rows: tuple[Sequence[Row], ...]
    states: tuple[tuple[tuple[str, str], int], ...]
    left_out: int


class ExperimentCollector(Collector):
    """Series of the experiments that a cache knows.

    Args:
        cache: see :class:`Experiments`; it is read in the thread that calls.
        is_leader: only the replica that reconciles exports, so that no series stands there twice.
        limit: experiments with series of their own: those that are not finished first, then those that failed, then
            the newest. 0 for none.
    """

    def __init__(self, cache: Experiments, is_leader: Callable[[], bool], limit: int) -> None:
        self._cache, self._is_leader, self._limit = cache, is_leader, limit

    def deferred_snapshot(self) -> Callable[[], Snapshot | None]:
        """List the experiments, to be called in the thread that fills the cache; what it returns runs in any thread."""
        known = tuple(self._cache.experiments()) if self._is_leader() else None
        return lambda: snapshot_of(known, self._limit) if known is not None else None

    def snapshot(self) -> Snapshot | None:
        """Return what is exported now; None unless this replica is the leader."""
        return self.deferred_snapshot()()

    def collect(self) -> Iterator[Metric]:
        """The series as prometheus_client wants them."""
        return families(self.snapshot())


def snapshot_of(experiments: Iterable[MaskRCNNExperiment], limit: int) -> Snapshot:
    """Return the series of experiments, of which at most ``limit`` have series of their own."""
    known = _newest_by_name(experiments)
    states = Counter((experiment.metadata.namespace, state_of(experiment.status)) for experiment in known)
    chosen = known
    if len(known) > limit:
        chosen = sorted(known, key=_importance, reverse=True)[:limit]
    readings = [_reading(experiment) for experiment in chosen]
    return Snapshot(
        rows=tuple(list(_rows(series, readings)) for series in SERIES),
        states=tuple(sorted(states.items())),
        left_out=len(known) - len(chosen),
    )


def families(snapshot: Snapshot | None) -> Iterator[Metric]:
    """The series of a snapshot as prometheus_client wants them; nothing for None."""
    if snapshot is None:
        return
    total = GaugeMetricFamily(TOTAL, TOTAL_HELP, labels=("namespace", "state"))
    for place_and_state, count in snapshot.states:
        total.add_metric(place_and_state, count)
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
    """One experiment a name: one that was deleted and made again may still be known, and a series must be one."""
    found: dict[tuple[str, str], MaskRCNNExperiment] = {}
    for experiment in sorted(experiments, key=_created_at):
        found[experiment.metadata.namespace, experiment.name] = experiment
    return list(found.values())


def _created_at(experiment: MaskRCNNExperiment) -> datetime:
    return experiment.metadata.creation_timestamp or _LONG_AGO


def _importance(experiment: MaskRCNNExperiment) -> tuple[int, datetime, str, str]:
    rank = _RANKS.get(state_of(experiment.status), _LIVE_RANK)
    return rank, _created_at(experiment), experiment.metadata.namespace, experiment.name
