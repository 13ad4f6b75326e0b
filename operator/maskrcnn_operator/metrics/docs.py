"""Generator of docs/reference/metrics.md from the metrics: ``python -m maskrcnn_operator.metrics.docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from prometheus_client.metrics import MetricWrapperBase

from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.metrics import process
from maskrcnn_operator.metrics.experiments import LEFT_OUT, LEFT_OUT_HELP, SERIES, TOTAL, TOTAL_HELP

_HEAD = """\
# Metrics

<!-- Generated: python -m maskrcnn_operator.metrics.docs > docs/reference/metrics.md -->

The controller serves `/metrics` on `--metrics-port`, in the Prometheus text format and as OpenMetrics.

## The operator

Every replica exports these. The number of series doesn't depend on the number of experiments.

"""

_EXPERIMENTS = """
## Experiments

Only the replica that holds the Lease exports these. They are read from the operator's cache at every scrape, so the
series of an experiment disappear when it is deleted. `maskrcnn_experiments` counts all experiments. At most
`--experiment-metrics` experiments (0: none) have their own series, up to {count} each: first those that aren't
finished, then those that failed, then the newest. There are no labels for pods, attempts, or messages. Scrape with
`honorLabels: true`, so that `namespace` is the experiment's.

"""

_API = "maskrcnn_operator_api_requests_total"
_BAD_STATES = "Failed|InvalidSpec|WorkspaceNotShared|CacheNotShared"
_QUERIES: tuple[tuple[str, str], ...] = (
    ("Ratio of failed API calls:", f'sum(rate({_API}{{code=~"5..|none"}}[5m])) / sum(rate({_API}[5m]))'),
    (
        "99th percentile of the duration of a reconciliation:",
        "histogram_quantile(0.99, sum by (le) (rate(maskrcnn_operator_reconcile_duration_seconds_bucket[5m])))",
    ),
    (
        "Median duration of successful trainings in the last 30 days:",
        "histogram_quantile(0.5, sum by (le) ("
        'increase(maskrcnn_step_duration_seconds_bucket{task="train", result="Succeeded"}[30d])))',
    ),
    ("Experiments that need attention:", f'maskrcnn_experiment_state{{state=~"{_BAD_STATES}"}}'),
    ("Age of an experiment, in hours:", "(time() - maskrcnn_experiment_created_timestamp_seconds) / 3600"),
    (
        "Experiments with the same progress as an hour ago:",
        "maskrcnn_experiment_progress_ratio == maskrcnn_experiment_progress_ratio offset 1h",
    ),
)


def page() -> str:
    """Return the page as Markdown."""
    experiments = _EXPERIMENTS.format(count=len(SERIES))
    return "".join([_HEAD, _table(_operator()), experiments, _table(_experiments()), _states(), _queries()])


def _operator() -> Iterator[tuple[str, str, str, str]]:
    metrics = [value for value in vars(process).values() if isinstance(value, MetricWrapperBase)]
    for metric in metrics:
        family = next(iter(metric.describe()))
        suffix = "_total" if family.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - it has no public name
        yield f"{family.name}{suffix}", family.type, labels, family.documentation
    yield "process_*", "gauge, counter", "", "CPU, memory, file descriptors, and start time of the process."


def _experiments() -> Iterator[tuple[str, str, str, str]]:
    yield TOTAL, "gauge", "`namespace`, `state`", TOTAL_HELP
    yield LEFT_OUT, "gauge", "", LEFT_OUT_HELP
    for series in SERIES:
        labels = ", ".join(f"`{label}`" for label in ("namespace", "experiment", *series.labels))
        yield series.name, "gauge", labels, series.help


def _states() -> str:
    named = (
        Reason.PENDING, Reason.STARTING, Reason.RUNNING, Reason.QUEUED, Reason.WORKLOAD_DEACTIVATED, Reason.STOPPING,
        Reason.WAITING, Reason.SUSPENDED, Reason.SUCCEEDED, Reason.FAILED, Reason.INVALID_SPEC,
        Reason.WORKSPACE_NOT_SHARED, Reason.CACHE_NOT_SHARED, Reason.STATUS_REFUSED, Reason.API_SERVER_ERROR,
        Reason.ERROR,
    )  # fmt: skip
    return f"\nStates: {', '.join(f'`{reason.value}`' for reason in named)}.\n"


def _queries() -> str:
    return "\n## Queries\n" + "".join(f"\n{question}\n\n```promql\n{query}\n```\n" for question, query in _QUERIES)


def _table(rows: Iterator[tuple[str, str, str, str]]) -> str:
    lines = ["| name | type | labels | description |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in rows]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page to standard output, or compare it with a file; return the exit code."""
    return write_or_check(page, arguments, module="maskrcnn_operator.metrics.docs", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
