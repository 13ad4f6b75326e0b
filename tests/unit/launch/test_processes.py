"""One exit code for a gang, and an end for all when one is lost."""

from __future__ import annotations

import os
import sys
import time

import pytest

from maskrcnn_trainer.launch.processes import (
    POLL_SECONDS,
    SECONDS_AFTER_TERM,
    SECONDS_FOR_PEERS,
    Ended,
    Gang,
    most_telling,
)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ([Ended(0, 0), Ended(1, 0)], None),
        ([Ended(1, 75), Ended(0, 64)], 64),
        ([Ended(0, 143), Ended(1, 143)], 143),
        ([Ended(1, 1), Ended(0, 143)], 143),
        ([Ended(0, 75), Ended(1, 137)], 137),
        ([Ended(0, 75), Ended(1, 75)], 75),
        ([Ended(0, 70), Ended(1, 75)], 70),
        ([Ended(1, 3), Ended(0, 143, by_us=True), Ended(2, 137, by_us=True)], 3),
    ],
)
def test_the_most_telling_code(ended: list[Ended], code: int | None) -> None:
    telling = most_telling(ended)
    assert (telling.code if telling else None) == code


def gang(*sources: str) -> Gang:
    """One process a source; the shared command picks its own by the variable."""
    program = "import os; exec(os.environ['SOURCE'])"
    return Gang([sys.executable, "-c", program], {rank: {"SOURCE": source} for rank, source in enumerate(sources)})


def codes(ended: list[Ended]) -> dict[int, int]:
    return {entry.rank: entry.code for entry in ended}


def test_all_done() -> None:
    assert codes(gang("", "").wait()) == {0: 0, 1: 0}


def test_a_stop_reaches_everybody_and_their_codes_count() -> None:
    source = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    processes = gang(source, source)
    time.sleep(1.0)
    processes.stop()
    ended = processes.wait()
    assert codes(ended) == {0: 143, 1: 143}
    telling = most_telling(ended)
    assert telling is not None
    assert telling.code == 143


def test_a_killed_process_takes_the_others_with_it_even_those_that_ignore_it(caplog: pytest.LogCaptureFixture) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    dying = "import os, signal, time; time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)"
    ended = gang(stubborn, dying).wait()
    assert codes(ended) == {0: 137, 1: 137}
    telling = most_telling(ended)
    assert telling == Ended(1, 137)
    assert "Process 1 was killed by signal 9, probably because memory ran out. Try a smaller imageSize" in caplog.text
    assert "Process 0 was killed" not in caplog.text


def test_the_grace_periods_keep_the_promise_of_ten_seconds() -> None:
    assert SECONDS_FOR_PEERS + SECONDS_AFTER_TERM + 2 * POLL_SECONDS < 10.0


def test_each_has_its_own_variables_on_top_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    ended = gang("import sys; sys.exit(int(os.environ['OURS']) + 4)", "").wait()
    assert codes(ended) == {0: 5, 1: 0}
    assert os.environ.get("SOURCE") is None
