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
    """Return how steps are planned where they are Jobs."""
    return Settings(default_image=default_image, queueing=True, default_queue=default_queue or "", run_name=run_name)


def report_address(url: str) -> str:
    """Return the URL that steps post to, of the address under which they reach this endpoint."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + REPORT_PATH


@dataclass(frozen=True)
class Options:
    """Options of one replica.

    Attributes:
        namespaces: the ones to watch; none for all.
        kubeconfig: None for the pod's service account, or what KUBECONFIG names.
        settings: what steps are planned by.
        jobs: what Jobs have in common; its report_ca is filled in where reports are served here.
        workers: reconciliations at a time.
        qps, burst: calls of the API server a second on average, and at once after a quiet time; qps 0 for no limit.
        denied_seconds: how long a 401 or 403 of the first list may last before this replica gives up.
        relist_seconds: between two lists of a namespace, which compare versions and read what differs.
        full_relist_seconds: between two lists that read every object.
        resync_seconds: between two looks at every experiment though nothing happened.
        health_port, metrics_port, report_port: None for none, 0 for any free one.
        report_certificate: directory of the report endpoint's certificate; None for one of our own in a Secret.
        experiment_metrics: experiments with series of their own; 0 for none.
        host: address that is listened at; all of them when None.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    settings: Settings = field(default_factory=cluster_settings)
    jobs: JobConfig = field(default_factory=JobConfig)
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
    """Return the options that the flags of :mod:`maskrcnn_operator.runtime.flags` give."""
    report_url = report_address(arguments.report_url) if arguments.report_url else None
    return Options(
        namespaces=tuple(dict.fromkeys(arguments.namespace)),
        kubeconfig=arguments.kubeconfig,
        settings=replace(
            cluster_settings(arguments.trainer_image, defaults.queue_name),
            max_parallel_steps=arguments.max_parallel_steps,
        ),
        jobs=JobConfig(default_image=arguments.trainer_image, report_url=report_url, defaults=defaults),
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
