"""Program that forks attempts of the stand-in task, so that an attempt doesn't import its modules for a second.

It reads orders from standard input and writes events to standard output, both JSON, one per line. Each attempt is
``maskrcnn launch`` in a session of its own, with its real command line, claim, helper process, channel, and kept log.
Two things differ from ``python -m tests.object_storage.stand_in_task``: the task is forked by launch instead of being
started as another interpreter (it still ends with its parent, and inherits only the descriptors that it is given), and
the times of an order replace those of the product.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NoReturn

from tests.object_storage import stand_in_task

import maskrcnn_trainer.launch
from maskrcnn_trainer import cli
from maskrcnn_trainer.launch import processes, store_results
from maskrcnn_trainer.object_store import exchange, fence_store
from maskrcnn_trainer.object_store.fence import cleaning
from maskrcnn_trainer.object_store.retries import RetryPolicy
from maskrcnn_trainer.publishing import step_publisher, step_session
from maskrcnn_trainer.task.log_setup import setup_logging

POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Times:
    """Times of one attempt in place of the product's, in seconds.

    Attributes:
        limit: time after which a failing request is given up.
        last_publish: time after which the publish at the end is given up.
        between_cleanings: time between two cleanings.
        until_deletion: time between the listing of garbage and its deletion.
        between_writes: time between two writes of one pointer.
        before_retry: pause after a publish that failed.
    """

    limit: float = 60.0
    last_publish: float = 60.0
    between_cleanings: float = 0.0
    until_deletion: float = 0.0
    between_writes: float = 0.0
    before_retry: float = 0.1

    def use(self) -> None:
        """Replace the times of this process."""
        policy = functools.partial(
            RetryPolicy,
            first_wait=0.02,
            throttled_wait=0.02,
            longest_wait=0.1,
            limit=self.limit,
            limit_of_new_permission=self.limit,
        )
        replacements: tuple[tuple[Any, str, Any], ...] = (
            (exchange, "RetryPolicy", policy),
            (fence_store, "SECONDS_BETWEEN_RECORD_WRITES", self.between_writes),
            (fence_store, "LONGEST_JITTER", 0.02),
            (processes, "POLL_SECONDS", POLL_SECONDS),
            (step_session, "clean_step", functools.partial(cleaning.clean_step, seconds=self.until_deletion)),
            (step_publisher, "SECONDS_BEFORE_RETRY", self.before_retry),
            (step_publisher, "SECONDS_BEFORE_LAST_RETRY", self.before_retry),
            (step_publisher, "SECONDS_BETWEEN_CLEANINGS", self.between_cleanings),
            (step_publisher, "_POLL_SECONDS", POLL_SECONDS),
            (store_results, "FINAL_SECONDS", self.last_publish),
        )
        for module, name, value in replacements:
            if not hasattr(module, name):
                raise AttributeError(f"{module.__name__} has no {name}")
            setattr(module, name, value)


@dataclass(frozen=True)
class Order:
    """Order to start an attempt.

    Attributes:
        number: by which events name it.
        arguments: of the command ``maskrcnn``.
        environment: environment variables.
        output: file that gets what the attempt prints.
        times: of the attempt.
    """

    number: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    output: str
    times: Times

    def to_line(self) -> bytes:
        """Return the order as a line."""
        return f"{json.dumps(asdict(self))}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """Return the order of a line."""
        fields = json.loads(line)
        return cls(**{**fields, "arguments": tuple(fields["arguments"]), "times": Times(**fields["times"])})


class ForkedTask:
    """Process of the task, with the part of ``subprocess.Popen`` that launch uses; it is forked, and runs no program.

    Args:
        command: program, whose name is ignored, and the arguments of the task.
        env: environment variables.
        stdout: ``PIPE`` if the output goes to a pipe, and None if it is inherited.
        pass_fds: descriptors that are inherited.
        preexec_fn: called in the new process.
    """

    PIPE = -1
    STDOUT = -2

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: int | None,
        pass_fds: Sequence[int],
        preexec_fn: Callable[[], None] | None,
        **_: Any,
    ) -> None:
        reading, writing = os.pipe() if stdout is not None else (None, None)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        self.stdout: BinaryIO | None = None
        self.returncode: int | None = None
        if self.pid == 0:
            if preexec_fn is not None:
                preexec_fn()
            arguments = command[len(stand_in_task.PROGRAM) :]
            _end_with(lambda: _run_task(arguments, env, writing, pass_fds))
        if reading is not None and writing is not None:
            os.close(writing)
            self.stdout = os.fdopen(reading, "rb")

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None: the process runs."""
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _run_task(arguments: Sequence[str], env: Mapping[str, str], output: int | None, inherited: Sequence[int]) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)
    _close_all_but(inherited)
    os.environ.clear()
    os.environ.update(env)
    setup_logging()
    return stand_in_task.run_task(arguments)


def _close_all_but(kept: Sequence[int]) -> None:
    begin = 3
    for descriptor in [*sorted(kept), os.sysconf("SC_OPEN_MAX") if not kept else max(kept) + 1000]:
        os.closerange(begin, descriptor)
        begin = descriptor + 1


def _launch(order: Order) -> int:
    """Be ``maskrcnn launch`` of the stand-in task."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    output = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 1000)
    os.environ.clear()
    os.environ.update(order.environment)
    order.times.use()
    forking = SimpleNamespace(Popen=ForkedTask, PIPE=ForkedTask.PIPE, STDOUT=ForkedTask.STDOUT)
    vars(processes)["subprocess"] = forking
    started = functools.partial(maskrcnn_trainer.launch.launch, program=stand_in_task.PROGRAM)
    # the command line imports it when it runs
    vars(maskrcnn_trainer.launch)["launch"] = started
    sys.argv = ["maskrcnn", *order.arguments]
    cli.entry()


def _end_with(run: Callable[[], int]) -> NoReturn:
    """End this forked process with the exit code of a function."""
    code = 1
    try:
        code = run()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - a forked process must not return
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
        os._exit(code)


def _lines(seconds: float, buffer: bytearray) -> Iterator[bytes] | None:
    """Return the orders that have arrived within a time; None at the end of standard input."""
    if not select.select([0], [], [], seconds)[0]:
        return iter(())
    piece = os.read(0, 1 << 16)
    if not piece:
        return None
    buffer += piece
    *lines, rest = bytes(buffer).split(b"\n")
    buffer[:] = rest
    return iter(lines)


def main() -> None:
    """Serve orders until standard input ends; attempts that still run are killed then."""
    running: dict[int, int] = {}
    buffer = bytearray()
    gc.freeze()

    def report(**event: int) -> None:
        os.write(1, f"{json.dumps(event)}\n".encode())

    while (lines := _lines(POLL_SECONDS if running else 1.0, buffer)) is not None:
        for line in lines:
            order = Order.from_line(line)
            pid = os.fork()
            if pid == 0:
                _end_with(functools.partial(_launch, order))
            running[pid] = order.number
            report(number=order.number, pid=pid)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                report(number=running.pop(pid), code=os.waitstatus_to_exitcode(status))
    for pid in running:
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    # a relative path in an order would depend on the directory of the tests
    os.chdir(Path(stand_in_task.ROOT))
    main()
