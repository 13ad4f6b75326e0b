"""Operator with metrics and reports, and reports of simulated pods."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.apiserver.bed import Bed
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.pod_scripts import PodFacts
from tests.monitoring.tools import free_port

from maskrcnn_operator.jobs.config import TOKEN_AUDIENCE
from maskrcnn_operator.jobs.names import ANNOTATION_REPORT_CA

SERIES_OF_THEIR_OWN = 3
"""One less than the number of experiments in the tests, so that one has no series."""


class MonitoredOperator(OperatorProcess):
    """Process of the operator with /metrics and the report endpoint."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, experiments: int = SERIES_OF_THEIR_OWN) -> None:
        self.metrics_port, self.report_port = free_port(), free_port()
        super().__init__(
            kubeconfig,
            namespace,
            log,
            (
                f"--metrics-port={self.metrics_port}",
                f"--experiment-metrics={experiments}",
                f"--report-port={self.report_port}",
                f"--report-url=https://localhost:{self.report_port}",
            ),
        )

    def __enter__(self) -> MonitoredOperator:
        super().__enter__()
        return self

    def metrics(self) -> str:
        """Return the current text of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text


def report(bed: Bed, operator: MonitoredOperator, pod: PodFacts, record: Mapping[str, Any], token: str = "") -> int:
    """Post a record as the task in a pod does, with the pod's token and CA certificate.

    Args:
        bed: control plane that issues the token.
        operator: receives the report.
        pod: simulated pod of a step.
        record: of progress, see :func:`trained`.
        token: replaces the pod's token, unless empty.

    Returns:
        The HTTP status.
    """
    token = token or bed.token_for("default", pod.namespace, audience=TOKEN_AUDIENCE, pod=(pod.name, pod.uid))
    trusted = ssl.create_default_context(cadata=pod.pod["metadata"]["annotations"][ANNOTATION_REPORT_CA])
    request = urllib.request.Request(
        f"https://localhost:{operator.report_port}/v1/report",
        json.dumps({"version": 1, **record}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:  # noqa: S310 - https
                status = int(answer.status)
                if json.load(answer)["accepted"]:
                    return status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
            if token == "nonsense":  # noqa: S105 - an invalid token
                return status
        # the operator may not have seen yet that the pod exists or that its step is running
        if time.monotonic() > deadline:
            return status
        time.sleep(0.2)


def trained(step: int, total: int = 1000) -> dict[str, Any]:
    """Return a record of a training at a step."""
    share = step / total
    return {
        "step": step,
        "total_steps": total,
        "eta": "0:12:30",
        "checkpointStep": step - step % 100,
        "unpublishedSeconds": 150,
        "graphical": {"loss": round(0.4 + 2.4 * (1 - share) ** 3, 3), "images_per_second": 112.4 + step % 7},
        "kpi": {"AP": round(0.38 * share, 3), "mask_AP": round(0.34 * share, 3)},
    }
