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


def warnings_of(program: str) -> list[str]:
    """Return the warnings that are passed on until the program ends, or until one is there."""
    seen: list[str] = []
    end = time.monotonic() + 30
    call_trainer(
        (sys.executable, "-u", "-c", f"import sys, time; log = sys.stderr.write; {program}"),
        os.environ,
        stopping=lambda: ("time.sleep" in program and bool(seen)) or time.monotonic() > end,
        most_bytes=10,
        on_warning=seen.append,
    )
    assert time.monotonic() < end
    return seen


def test_warning_is_passed_on_while_the_command_runs() -> None:
    program = "log('12:00:00 WARNING s3://b: there is\\x1bno connection\\n'); time.sleep(60)"
    assert warnings_of(program) == ["s3://b: there is no connection"]


def test_repeated_warning_is_passed_on_once_and_a_changed_one_as_well() -> None:
    program = "[log(f'12:00:0{n} WARNING {text}\\n') for n, text in enumerate('aabaabcc')]"
    assert warnings_of(program) == ["a", "b", "c"]


def test_warnings_are_bounded() -> None:
    assert warnings_of("[log(f'12:00:00 WARNING {n}\\n') for n in range(90)]") == ["0", "1", "2", "3", "4"]


def test_other_lines_are_no_warnings() -> None:
    assert warnings_of("log('12:00:00 INFO    a WARNING b\\n12:00:00 ERROR   c\\nWARNING d\\n')") == []


def test_warning_that_arrives_in_pieces_is_passed_on_as_a_whole() -> None:
    program = "log('12:00:00 WARN'); sys.stderr.flush(); time.sleep(0.5); log('ING a'); time.sleep(0.5); log('b\\n')"
    assert warnings_of(program) == ["ab"]


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
