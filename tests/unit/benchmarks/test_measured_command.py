"""CPU time and memory of a command with a child."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from measured_command import measured_command

CHILD = """
import time
held = bytearray(80_000_000)
end = time.process_time() + 0.4
while time.process_time() < end: pass
time.sleep(1.2)
"""
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[2], "child"], check=True)
"""


def role_of(command: Sequence[str]) -> str:
    return "child" if "child" in command[3:4] else "parent"


def test_cpu_of_a_child_counts_and_its_peak_is_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, "parent", CHILD]
    use = measured_command(command, os.environ, tmp_path / "log", role_of)
    assert use.cpu >= 0.4
    assert use.roles["child"].cpu >= 0.3
    assert use.roles["parent"].cpu < use.cpu - 0.3
    assert use.roles["parent"].peak < 80_000_000 <= use.roles["child"].peak


def test_failed_command_ends_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        measured_command([sys.executable, "-c", "exit('no such thing')"], os.environ, tmp_path / "log", role_of)
