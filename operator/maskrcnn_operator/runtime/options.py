"""Options of an operator process."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from maskrcnn_operator.cluster.lease import LeaseTimes
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.jobs.config import JobConfig, run_name
from maskrcnn_operator.jobs.defaults import JobDefaults
from maskrcnn_operator.progress_endpoint.server import REPORT_PATH


def cluster_settings(default_image: str | None = None, default_queue: str | None = None) -> Settings:
    """Return the settings for planning steps as Jobs in a cluster."""
    return Settings(default_image=default_image, queueing=True, default_queue=default_queue or "", run_name=run_name)


def report_address(url: str) -> str:
    """Return the URL to which steps post: ``url`` if it has a path, else ``url`` with the endpoint's path."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + REPORT_PATH


@dataclass(frozen=True)
class Options:
    """Options of one replica.

    Attributes:
        namespaces: namespaces to watch; empty for all.
        kubeconfig: None for the pod's service account, or else the file in KUBECONFIG.
        settings: settings for planning steps.
        jobs: settings of all Jobs; its report_ca is filled in if this replica serves reports.
        owner_id: owner of all results in object storage; None for the uid of each experiment's namespace.
        workers: concurrent reconciliations.
        qps, burst: average API calls per second, and calls at once after an idle time; qps 0 for no limit.
        denied_seconds: seconds of 401 or 403 for the first list after which this replica exits.
        relist_seconds: seconds between two lists of a namespace, which compare versions and read changed objects.
        full_relist_seconds: seconds between two lists that read all objects.
        resync_seconds: seconds between two reconciliations of all experiments without a change.
        health_port, metrics_port, report_port: None for no server, 0 for any free port.
        report_certificate: directory of the report endpoint's certificate; None for the operator's own CA in a Secret.
        experiment_metrics: most experiments with their own series; 0 for none.
        host: address to listen on; None for all.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    settings: Settings = field(default_factory=cluster_settings)
    jobs: JobConfig = field(default_factory=JobConfig)
    owner_id: str | None = None
    workers: int = 8
    qps: float = 50.0
    burst: int = 100
    lease_namespace: str = "default"
    lease_name: str = "maskrcnn-operator"
    lease_times: LeaseTimes = field(default_factory=LeaseTimes)
    denied_seconds: float = 30.0
    relist_seconds: float = 300.0
    full_relist_seconds: float = 3600.0
    resync_seconds: float = 1800.0
    health_port: int | None = None
    metrics_port: int | None = None
    report_port: int | None = None
    report_certificate: Path | None = None
    experiment_metrics: int = 0
    host: str | None = None


def options_of(arguments: argparse.Namespace, defaults: JobDefaults) -> Options:
    """Return the options from the parsed flags of :mod:`maskrcnn_operator.runtime.flags`."""
    report_url = report_address(arguments.report_url) if arguments.report_url else None
    return Options(
        namespaces=tuple(dict.fromkeys(arguments.namespace)),
        kubeconfig=arguments.kubeconfig,
        settings=replace(
            cluster_settings(arguments.trainer_image, defaults.queue_name),
            max_parallel_steps=arguments.max_parallel_steps,
        ),
        jobs=JobConfig(default_image=arguments.trainer_image, report_url=report_url, defaults=defaults),
        owner_id=arguments.object_storage_owner_id,
        workers=arguments.workers,
        qps=arguments.qps,
        burst=arguments.burst,
        lease_namespace=arguments.lease_namespace,
        lease_name=arguments.lease_name,
        health_port=arguments.health_port,
        metrics_port=arguments.metrics_port,
        report_port=arguments.report_port,
        report_certificate=arguments.report_certificate,
        experiment_metrics=arguments.experiment_metrics,
    )
