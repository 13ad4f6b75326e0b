"""Call of a command of the trainer."""

from __future__ import annotations

import os
import sys
import time

from maskrcnn_operator.local.trainer_call import CallOutcome, call_trainer


def call(program: str, *, most_bytes: int = 1000, seconds: float | None = None) -> CallOutcome:
    end = time.monotonic() + (60 if seconds is None else seconds)
    return call_trainer(
        (sys.executable, "-c", program), os.environ, stopping=lambda: time.monotonic() > end, most_bytes=most_bytes
    )


def test_output_is_returned_without_the_errors() -> None:
    assert call("import sys; print('found'); print('noise', file=sys.stderr)") == CallOutcome(0, "", b"found\n")


def test_output_is_bounded() -> None:
    assert call("print('x' * 5000)", most_bytes=10).output == b"x" * 10


def test_failure_has_the_last_line_of_the_errors() -> None:
    program = "import sys; print('found'); print('12:00:00 ERROR   the store is gone', file=sys.stderr); sys.exit(75)"
    assert call(program) == CallOutcome(75, "exit code 75: the store is gone")


def test_failure_by_a_signal_has_its_number() -> None:
    assert call("import os; os.kill(os.getpid(), 9)") == CallOutcome(137, "exit code 137")


def test_stop_request_ends_it_at_once() -> None:
    started = time.monotonic()
    assert call("import time; time.sleep(60)", seconds=0.3) == CallOutcome(None, "it was interrupted")
    assert time.monotonic() - started < 30


def test_command_that_cannot_be_started_is_a_problem() -> None:
    found = call_trainer(("/absent/maskrcnn",), {}, stopping=lambda: False, most_bytes=10)
    assert found == CallOutcome(None, "the process couldn't be started: No such file or directory")
