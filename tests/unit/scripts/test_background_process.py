"""State files of processes that scripts leave running."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from scripts.background_process import identity_of, running_process


def test_process_of_a_state_file_is_found(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text(json.dumps({**identity_of(psutil.Process()), "endpoint": "x"}))
    assert running_process(state) == psutil.Process()


def test_another_process_with_the_same_pid_is_not_taken_for_it(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    identity = identity_of(psutil.Process())
    state.write_text(json.dumps({**identity, "started": identity["started"] - 1}))
    assert running_process(state) is None


@pytest.mark.parametrize("waited_for", [True, False])
def test_process_that_has_ended_is_not_found(tmp_path: Path, waited_for: bool) -> None:
    state = tmp_path / "state.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        state.write_text(json.dumps(identity_of(psutil.Process(process.pid))))
        assert running_process(state) is not None
        process.stdin.close()
        if waited_for:
            process.wait()
        else:
            while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
        assert running_process(state) is None


@pytest.mark.parametrize("content", [None, "", "{}", '{"pid": 1}'])
def test_state_file_without_an_identity_names_no_process(tmp_path: Path, content: str | None) -> None:
    state = tmp_path / "state.json"
    if content is not None:
        state.write_text(content)
    assert running_process(state) is None
