"""Flags of ``maskrcnn-operator controller`` and their defaults.

This module must not import a Kubernetes client, since the parsers of all commands are built for every command.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from maskrcnn_operator.local.owner_arguments import owner_id_argument

N = TypeVar("N", int, float)

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``controller``."""
    watched = parser.add_argument_group("watched cluster")
    watched.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="namespace to watch; may be repeated (default: all namespaces)",
    )
    watched.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="kubeconfig file (default: the pod's service account, else KUBECONFIG)",
    )
    steps = parser.add_argument_group("steps")
    steps.add_argument("--trainer-image", metavar="I", help="trainer image of experiments that specify none")
    steps.add_argument(
        "--max-parallel-steps",
        type=_number(int, 1),
        metavar="N",
        help="most steps of one experiment that run in parallel (default: no limit)",
    )
    steps.add_argument(
        "--report-port",
        type=_port,
        metavar="P",
        help="port of the HTTPS endpoint for progress reports of running steps",
    )
    steps.add_argument(
        "--report-url", metavar="U", help="URL by which steps reach that endpoint, for example https://NAME.NS.svc"
    )
    steps.add_argument(
        "--report-certificate",
        type=Path,
        metavar="DIR",
        help="directory with tls.crt, tls.key, and ca.crt of that endpoint, renewed by another controller"
        " (default: the operator's own CA, kept in a Secret)",
    )
    steps.add_argument(
        "--object-storage-owner-id",
        type=owner_id_argument,
        metavar="ID",
        help="owner of all results in object storage, the same in a cluster that replaces this one (default: the uid of"
        " each experiment's namespace)",
    )
    steps.add_argument(
        "--job-defaults",
        type=Path,
        metavar="FILE",
        help="YAML file with values for experiments that specify none: imagePullPolicy, imagePullSecrets, nodeSelector,"
        " tolerations, priorityClassName, queueName, securityContext (runAsUser, runAsGroup, fsGroup; null leaves the"
        " choice to the platform)",
    )
    speed = parser.add_argument_group("concurrency and rate limits")
    speed.add_argument(
        "--workers", type=_number(int, 1), default=8, metavar="N", help="concurrent reconciliations (default: 8)"
    )
    speed.add_argument(
        "--qps",
        type=_number(float, 0),
        default=50.0,
        metavar="Q",
        help="average API calls per second; 0 for no limit (default: 50)",
    )
    speed.add_argument(
        "--burst", type=_number(int, 1), default=100, metavar="B", help="API calls at once (default: 100)"
    )
    lease = parser.add_argument_group("leader election")
    lease.add_argument(
        "--lease-namespace",
        default=_own_namespace(),
        metavar="NS",
        help="namespace of the Lease (default: the pod's namespace)",
    )
    lease.add_argument(
        "--lease-name",
        default="maskrcnn-operator",
        metavar="NAME",
        help="name of the Lease (default: maskrcnn-operator)",
    )
    ports = parser.add_argument_group("health, metrics, logs")
    ports.add_argument("--health-port", type=_port, metavar="P", help="port for /healthz and /readyz")
    ports.add_argument("--metrics-port", type=_port, metavar="P", help="port for /metrics")
    ports.add_argument(
        "--experiment-metrics",
        type=_number(int, 0),
        default=0,
        metavar="N",
        help="export metrics of at most N experiments, nine series each (default: 0)",
    )
    ports.add_argument(
        "--log-format", choices=("json", "text"), default="json", help="format of log lines (default: json)"
    )
    ports.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="minimum level of log lines (default: info); other packages log warnings and errors only",
    )


def _own_namespace() -> str:
    if os.environ.get("POD_NAMESPACE"):
        return os.environ["POD_NAMESPACE"]
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a port, expected 0 to 65535")
    return int(text)


def _number(kind: Callable[[str], N], least: float) -> Callable[[str], N]:
    def parse(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            expected = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} isn't {expected}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is too small, expected at least {least:g}")
        return value

    return parse
