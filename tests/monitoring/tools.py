"""Installed promtool and Prometheus, and a Prometheus server as a process of a test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pytest
import yaml
from scripts.prometheus_api import Prometheus, PrometheusError

START_SECONDS = 60.0
SCRAPE_SECONDS = 1
_STARTER = (
    "import os, sys; sys.path.insert(0, sys.argv[1]);"
    "from tests.apiserver.supervisor import die_with_parent; die_with_parent(); os.execv(sys.argv[2], sys.argv[2:])"
)
ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> str:
    """Return the path of promtool or prometheus; skip the test if it isn't installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH (Debian's package prometheus has it)")
    return found


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class PrometheusServer:
    """Prometheus server with a rule file that scrapes an operator; a context in which it runs.

    Args:
        binary: path of prometheus.
        targets: ``host:port`` of each replica's /metrics.
        rules: rule file.
        folder: directory for data, configuration, and log.
    """

    def __init__(self, binary: str, targets: Sequence[str], rules: Path, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.api = Prometheus(f"http://127.0.0.1:{self.port}")
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "maskrcnn-operator",
                    # as in the chart's ServiceMonitor: the label namespace is the experiment's
                    "honor_labels": True,
                    "static_configs": [{"targets": list(targets), "labels": {"namespace": "maskrcnn-operator"}}],
                }
            ],
        }
        folder.mkdir(parents=True)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._log = folder / "prometheus.log"
        self._command = [
            *(sys.executable, "-c", _STARTER, str(ROOT), binary),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def __enter__(self) -> PrometheusServer:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.api.get("status/config")
            except PrometheusError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._end()
                    raise RuntimeError(f"Prometheus didn't become ready: {self._log.read_text()[-3000:]}") from error
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
