"""Children whose parent ends: which signal they get, and what those do whose parent has ended already."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SIGNALS = pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])

CHILD = """
import signal
signal.alarm(60)  # it ends also where it gets no signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("waiting", flush=True)
print(signal.sigwait({signal.SIGTERM}).name, flush=True)
"""

PARENT = f"""
import signal, subprocess, sys
from maskrcnn_trainer.shared.parent_death import end_with_parent
sent = signal.Signals(int(sys.argv[1]))
subprocess.Popen([sys.executable, "-c", {CHILD!r}], preexec_fn=end_with_parent(sent)).wait()
"""


@SIGNALS
def test_child_gets_the_signal_when_its_parent_is_killed(sent: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(sent.value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "waiting\n"
        parent.kill()
        # the output ends when the child does, which SIGKILL leaves no time to say anything
        assert parent.stdout.read() == ("SIGTERM\n" if sent is signal.SIGTERM else "")


@SIGNALS
def test_child_whose_parent_ended_before_it_began_does_not_run(sent: signal.Signals) -> None:
    source = "import os, signal, sys\nos.getpid = lambda: -1\n"
    source += "from maskrcnn_trainer.shared.parent_death import end_with_parent\n"
    source += "end_with_parent(signal.Signals(int(sys.argv[1])))()"
    command = [sys.executable, "-c", source, str(sent.value)]
    assert subprocess.run(command, check=False).returncode == 128 + sent
