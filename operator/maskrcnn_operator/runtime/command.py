"""``maskrcnn-operator controller``: the operator in, or beside, a cluster.

What it needs is imported when it runs: ``maskrcnn-operator run`` works without a client of Kubernetes.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput
from maskrcnn_trainer.shared.version import version

if TYPE_CHECKING:
    from maskrcnn_operator.jobs.defaults import JobDefaults

N = TypeVar("N", int, float)

RECURSION_LIMIT = 15_000
"""The API server takes JSON nested 10,000 levels deep, and Python's decoder counts each as a call. The 8 MiB of a
thread's stack hold 30,000 levels of what needs most of it, comparing and printing."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``controller``."""
    watched = parser.add_argument_group("what is watched")
    watched.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="namespace to watch, may be repeated (default: all)",
    )
    watched.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="default: the pod's service account, else KUBECONFIG"
    )
    steps = parser.add_argument_group("steps")
    steps.add_argument("--trainer-image", metavar="I", help="trainer image of experiments that name none")
    steps.add_argument(
        "--max-parallel-steps", type=_number(int, 1), metavar="N", help="steps of one experiment at a time (any number)"
    )
    steps.add_argument("--report-port", type=_port, metavar="P", help="serve reports of running steps here (HTTPS)")
    steps.add_argument(
        "--report-url", metavar="U", help="address under which steps reach it, such as https://NAME.NS.svc"
    )
    steps.add_argument(
        "--report-certificate",
        type=Path,
        metavar="DIR",
        help="tls.crt, tls.key and ca.crt of that endpoint, renewed by another controller (default: our own, a Secret)",
    )
    steps.add_argument(
        "--job-defaults",
        type=Path,
        metavar="FILE",
        help="YAML: imagePullPolicy, imagePullSecrets, nodeSelector, tolerations, priorityClassName, queueName,"
        " securityContext (runAsUser, runAsGroup, fsGroup; null: the platform's choice) of experiments that give none",
    )
    speed = parser.add_argument_group("speed")
    speed.add_argument("--workers", type=_number(int, 1), default=8, metavar="N", help="reconciliations at a time (8)")
    speed.add_argument(
        "--qps", type=_number(float, 0), default=50.0, metavar="Q", help="API calls a second; 0 for no limit (50)"
    )
    speed.add_argument("--burst", type=_number(int, 1), default=100, metavar="B", help="API calls at once (100)")
    lease = parser.add_argument_group("the Lease that one of several replicas holds")
    lease.add_argument("--lease-namespace", default=_own_namespace(), metavar="NS", help="(the pod's own)")
    lease.add_argument("--lease-name", default="maskrcnn-operator", metavar="NAME", help="(maskrcnn-operator)")
    ports = parser.add_argument_group("health, metrics, logs")
    ports.add_argument("--health-port", type=_port, metavar="P", help="serve /healthz and /readyz")
    ports.add_argument("--metrics-port", type=_port, metavar="P", help="serve /metrics")
    ports.add_argument(
        "--experiment-metrics",
        type=_number(int, 0),
        default=0,
        metavar="N",
        help="export series of at most N experiments, eight each (0)",
    )
    ports.add_argument("--log-format", choices=("json", "text"), default="json", help="(json)")
    ports.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="least level of the operator's log lines (info); of other packages at least warning",
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the operator until SIGTERM or SIGINT.

    Returns:
        0 after a signal; 1 if it cannot run or one of its tasks ends early; 64 if the arguments do not fit together.
    """
    import asyncio
    import gc
    import logging
    from dataclasses import replace

    # one object that is nested deeply would otherwise keep a whole list from being decoded, here and in kopf
    sys.setrecursionlimit(RECURSION_LIMIT)
    _have_a_home()
    from maskrcnn_operator.jobs.config import JobConfig
    from maskrcnn_operator.runtime.logs import set_up_logging
    from maskrcnn_operator.runtime.operator import Operator
    from maskrcnn_operator.runtime.options import Options, cluster_settings, report_address

    set_up_logging(arguments.log_format, arguments.log_level)
    logging.getLogger(__name__).info("maskrcnn-operator %s, Python %s", version(), platform.python_version())
    if (arguments.report_port is None) != (arguments.report_url is None):
        logging.getLogger(__name__).error("--report-port and --report-url go together")
        return EXIT_INVALID
    if arguments.report_certificate is not None and arguments.report_port is None:
        logging.getLogger(__name__).error("--report-certificate needs --report-port and --report-url")
        return EXIT_INVALID
    try:
        defaults = _job_defaults(arguments.job_defaults)
    except InvalidInput as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_INVALID
    report_url = report_address(arguments.report_url) if arguments.report_url else None
    options = Options(
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

    # most of what lives here lives long: modules, and then the cache
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)

    async def operate() -> int:
        return await Operator(options).run()

    return asyncio.run(operate())


def _job_defaults(file: Path | None) -> JobDefaults:
    from maskrcnn_operator.jobs.defaults import JobDefaults, read_job_defaults

    if file is None:
        return JobDefaults()
    try:
        return read_job_defaults(file.read_text(encoding="utf-8"), f"--job-defaults {file}")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--job-defaults {file} cannot be read: {error}") from error


def _have_a_home() -> None:
    """The official client asks for one when it is imported, which a user without a passwd entry need not have."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def _own_namespace() -> str:
    if os.environ.get("POD_NAMESPACE"):
        return os.environ["POD_NAMESPACE"]
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _number(kind: Callable[[str], N], least: float) -> Callable[[str], N]:
    def parse(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least:g}")
        return value

    return parse
