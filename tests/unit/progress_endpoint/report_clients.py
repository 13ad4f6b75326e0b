"""Clients of a report endpoint: some open TLS connections and send nothing, others are trainings that report.

    python report_clients.py PORT CA_FILE --idle 5000 --trainings 200

Connections are opened, also as replacements of closed ones, until a report of each training has succeeded. Half of the
connections and half of the trainings use the address 127.0.0.1; the other connections use 63 addresses, and the other
trainings one address each. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.posting import HttpPoster

SHARED = "127.0.0.1"
REPORT = {"version": 1, "attempt": 2, "fingerprint": "9f2c-v1", "step": 7, "total_steps": 100}
PATIENCE_SECONDS = 300.0

_here = threading.local()
_create_connection = socket.create_connection


def _create_connection_from_here(address: Any, timeout: float | None = None, *_: Any, **__: Any) -> socket.socket:
    """Connect from the address chosen by the thread, since neither urllib nor http.client has a parameter for it."""
    return _create_connection(address, timeout, (getattr(_here, "address", SHARED), 0))


class Training(HttpPoster):
    """The trainer's poster with its own source address, which signals when a report has succeeded."""

    def __init__(self, environment: TaskEnvironment, address: str, interval: float) -> None:
        self._address = address
        self.posts = 0  # including the successful one
        self.answered = threading.Event()
        super().__init__(environment, interval=interval)

    def _post(self, record: Mapping[str, Any]) -> None:
        _here.address = self._address
        super()._post(record)
        if not self.answered.is_set():
            self.posts += 1
            if not self._failing:
                self.answered.set()


class IdleConnections:
    """Source of TLS connections, which keeps the newest ``count`` of them open."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._kept: deque[ssl.SSLSocket] = deque(maxlen=count)
        self.opened = self.refused = 0
        self.enough, self.stop = threading.Event(), threading.Event()

    def run(self, addresses: list[str]) -> None:
        """Open connections from ``addresses`` in turn."""
        turn = 0
        while not self.stop.is_set():
            _here.address = addresses[turn % len(addresses)]
            turn += 1
            try:
                plain = socket.create_connection(("127.0.0.1", self._port), 30.0)
                self._kept.append(self._context.wrap_socket(plain))
            except OSError:
                self.refused += 1
                continue
            self.opened += 1
            if self.opened >= self._count:
                self.enough.set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("ca_file")
    parser.add_argument("--idle", type=int, required=True, help="connections to open and keep")
    parser.add_argument("--trainings", type=int, required=True)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two posts of a training")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds from the first report to the last")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    socket.create_connection = _create_connection_from_here

    began = time.monotonic()
    idle = IdleConnections(arguments.port, arguments.idle)
    if arguments.idle:
        others = [f"127.0.2.{number}" for number in range(1, 64)]
        for addresses in ([SHARED], others, [SHARED], others):
            threading.Thread(target=idle.run, args=(addresses,), daemon=True).start()
    deadline = began + PATIENCE_SECONDS
    with tempfile.TemporaryDirectory() as directory:
        trainings = _report(arguments, Path(directory))
        for training in trainings:
            training.answered.wait(max(0.0, deadline - time.monotonic()))
    if arguments.idle:
        idle.enough.wait(max(0.0, deadline - time.monotonic()))
    idle.stop.set()
    posts = Counter(training.posts for training in trainings if training.answered.is_set())
    done = {
        "answered": posts.total(), "answered by post": dict(sorted(posts.items())), "opened": idle.opened,
        "refused": idle.refused, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(done))


def _report(arguments: argparse.Namespace, directory: Path) -> list[Training]:
    """Start the trainings one after the other; each offers its report until one succeeds."""
    trainings = []
    for number in range(arguments.trainings):
        token = directory / f"token-{number}"
        token.write_text(str(number))
        environment = TaskEnvironment(
            report_url=f"https://127.0.0.1:{arguments.port}/v1/report", report_token_file=str(token),
            report_ca_file=arguments.ca_file,
        )  # fmt: skip
        address = SHARED if number % 2 else f"127.0.1.{1 + number // 2}"
        training = Training(environment, address, arguments.interval).start()
        threading.Thread(target=_offer, args=(training,), daemon=True).start()
        trainings.append(training)
        time.sleep(arguments.spread / arguments.trainings)
    return trainings


def _offer(training: Training) -> None:
    while not training.answered.is_set():
        training.offer(REPORT)
        training.answered.wait(0.2)


if __name__ == "__main__":
    main()
