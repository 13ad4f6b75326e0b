"""The operator as a separate process: ``maskrcnn-operator controller``, with every task treated as available.

The operator refuses tasks that the trainer of its release lacks, but these tests are about the operator only.
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
    """Operator process that runs inside a ``with`` block and is ended by SIGTERM; ``kill`` ends it at once.

    Args:
        kubeconfig: of the operator.
        namespace: to watch; None for all.
        log: file of its log.
        arguments: more arguments of the command line.
    """

    def __init__(self, kubeconfig: Path, namespace: str | None, log: Path, arguments: tuple[str, ...] = ()) -> None:
        # imported here because this file, when started as a script, cannot import the tests package
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
        """Start the process without waiting until it is ready; it ends with the calling thread."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # On Ctrl-C the terminal signals this process only, which then ends the operator.
            )
        self.facts = psutil.Process(self.process.pid)

    def __enter__(self) -> OperatorProcess:
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the operator didn't become ready:\n{self.log.read_text()[-3000:]}")
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
            raise RuntimeError(f"the operator ended with exit code {code}:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait()

    def cpu_seconds(self) -> float:
        """Return the user and system time so far, in seconds."""
        times = self.facts.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Return the resident memory."""
        return int(self.facts.memory_info().rss)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> int:
    """Run the controller's command line in a process that doesn't outlive its parent."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from tests.apiserver.supervisor import die_with_parent

    from maskrcnn_operator import cli

    die_with_parent()
    return cli.main(["controller", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
