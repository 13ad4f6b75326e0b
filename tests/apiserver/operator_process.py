"""The operator as a process of its own: ``maskrcnn-operator controller``, with every task taken for available.

The trainer of a release may lack tasks, which the operator then refuses by name; what is tried here is the operator.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType

import psutil

START_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


class OperatorProcess:
    """Runs between ``with`` and its end, which is SIGTERM; ``kill`` ends it at once.

    Args:
        kubeconfig: whom it is.
        namespace: the one that it watches; None for all.
        log: where its log goes.
        arguments: more of the command line.
    """

    def __init__(self, kubeconfig: Path, namespace: str | None, log: Path, arguments: tuple[str, ...] = ()) -> None:
        # not above: as a script, which it is started as, this file finds no package of tests
        from tests.apiserver.account import HOME

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.health_port = int(free.getsockname()[1])
        self.log = log
        watched = [] if namespace is None else [f"--namespace={namespace}"]
        self.command = [
            *(sys.executable, "-P", str(Path(__file__).resolve())),
            *(f"--kubeconfig={kubeconfig}", *watched, f"--health-port={self.health_port}"),
            f"--lease-namespace={HOME}",
            *("--trainer-image=trainer:test", "--log-format=text", *arguments),
        ]

    def spawn(self) -> None:
        """Start the process without waiting until it is ready; it ends with the thread that calls this."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C in the terminal is for this process, which then ends the operator
            )
        self.facts = psutil.Process(self.process.pid)

    def __enter__(self) -> OperatorProcess:
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the operator did not get ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if code != 0 and error is None:
            raise RuntimeError(f"the operator ended with {code}:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        times = self.facts.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        return int(self.facts.memory_info().rss)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> int:
    """The controller's own command line, in a process that does not outlive its parent."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from tests.apiserver.supervisor import die_with_parent

    from maskrcnn_operator import cli

    die_with_parent()
    return cli.main(["controller", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
