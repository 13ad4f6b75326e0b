"""Command line of ``maskrcnn-operator controller``: its flags and their defaults.

Nothing here imports a client of Kubernetes: every command's parser is built, whichever command runs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", int, float)

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``controller``."""
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
