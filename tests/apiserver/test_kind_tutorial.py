"""Commands of the kind tutorial for a trial without nodes, run as they are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.apiserver.binaries import cache_folder, find_binaries

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
WATCH = re.compile(r"^kubectl get mrx -w\b.*$", re.MULTILINE)
UNTIL_DONE = "kubectl wait --for=condition=Succeeded mrx/shapes --timeout=180s\nkubectl get mrx shapes --no-headers"

pytestmark = pytest.mark.timeout(SECONDS + 60)


def lines() -> str:
    """Return the block that starts a control plane with a played kubelet."""
    page = (ROOT / "docs" / "tutorials" / "kind.md").read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if "ARGS=--play-kubelet" in block]
    return block


def own_cache(folder: Path) -> Path:
    """Link the user's cache into ``folder``, except the control plane that may still run there; return ``folder``."""
    ours, own = cache_folder(), folder / "maskrcnn-operator"
    own.mkdir()
    siblings = [entry for entry in ours.parent.iterdir() if entry != ours]
    for entry in [*ours.iterdir(), *siblings]:
        if entry.name != "dev-cluster":
            (own if entry.parent == ours else folder).joinpath(entry.name).symlink_to(entry)
    return folder


def test_an_experiment_moves_through_its_steps_by_the_lines_of_the_tutorial(tmp_path: Path) -> None:
    script, watches = WATCH.subn(UNTIL_DONE, lines())
    assert watches == 1
    environment = os.environ | {"XDG_CACHE_HOME": str(own_cache(tmp_path)), "KUBEBUILDER_ASSETS": str(find_binaries())}
    process = subprocess.Popen(
        ["bash", "-ec", script],  # noqa: S607 - the user's own bash
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output = ""
    try:
        # the controller, which the commands leave in the background, keeps the pipe open
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if line == "The control plane has ended.\n":
                break
    finally:
        stop = ["make", "-s", "dev-cluster", "ARGS=--stop"]
        subprocess.run(stop, cwd=ROOT, env=environment, check=False)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert re.search(r"^shapes +Succeeded\b", output, re.MULTILINE), output[-4000:]
