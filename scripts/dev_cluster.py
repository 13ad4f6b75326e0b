"""Leaves the tests' control plane running to try things by hand: ``--stop`` ends it.

It has an API server and controllers but no nodes: pods stay Pending, unless ``--play-kubelet`` starts the tests'
stand-in for nodes, which runs no container. It writes on each pod that it ran and succeeded, with a made-up result.
``--nodes N`` makes real ones (as root), with the images that ``make e2e`` has left in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.apiserver.bed import Bed, BedError
from tests.apiserver.binaries import BinariesError, cache_folder, find_binaries
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.plays import Play
from tests.cluster.bed import ClusterBed
from tests.cluster.image_store import find_store

START_SECONDS = 180.0
STOP_SECONDS = 30.0
PLAYED_SECONDS = 5.0


def say(message: str) -> None:
    """Tell the person at the terminal, leaving standard output for the line to evaluate."""
    sys.stderr.write(f"{message}\n")


def main() -> int:
    """Start, or stop, or serve in the background; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stop", action="store_true", help="end the one that runs")
    parser.add_argument("--play-kubelet", action="store_true", help="play the nodes: pods are said to run and succeed")
    parser.add_argument(
        "--step-seconds", type=float, default=PLAYED_SECONDS, help="how long a played pod runs (default %(default)s)"
    )
    parser.add_argument("--nodes", type=int, default=0, metavar="N", help="nodes that run containers, for root")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    state = cache_folder() / "dev-cluster"
    if arguments.serve:
        return serve(state, arguments.play_kubelet, arguments.step_seconds, arguments.nodes)
    if arguments.stop:
        return stop(state)
    try:
        return start(state, arguments.play_kubelet, arguments.step_seconds, arguments.nodes)
    except BinariesError as error:
        say(f"no Kubernetes to start: {error}")
        return 1


def start(state: Path, play: bool, seconds: float, nodes: int) -> int:
    """Start a control plane in the background, unless one runs, and print the line that makes kubectl use it."""
    running = running_process(state)
    if running is None:
        binaries = find_binaries(say)
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--serve",
            f"--step-seconds={seconds}",
            f"--nodes={nodes}",
        ]
        with (state / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *(["--play-kubelet"] if play else [])],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (state / "state.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                say(f"it did not start:\n{(state / 'log').read_text(errors='replace')}")
                return 1
            time.sleep(0.05)
        without = f"without nodes{': the played kubelet stands in for them' if play else ''}"
        say(f"Kubernetes runs, {f'with nodes: {nodes}' if nodes else without}.")
        say(f"binaries: {binaries}; end it with: make dev-cluster ARGS=--stop")
    else:
        say("Kubernetes runs already.")
        if play:
            running.send_signal(signal.SIGUSR1)
            say("The played kubelet stands in for nodes.")
    facts = json.loads((state / "state.json").read_text())
    sys.stdout.write(f'export KUBECONFIG={facts["kubeconfig"]} PATH="$PATH:{facts["binaries"]}"\n')
    return 0


def stop(state: Path) -> int:
    """End the one that runs; 0 as well where none does."""
    running = running_process(state)
    if running is None:
        say("none runs")
        return 0
    running.terminate()
    running.wait(STOP_SECONDS)
    shutil.rmtree(state, ignore_errors=True)
    say("ended")
    return 0


def serve(state: Path, play: bool, seconds: float, nodes: int) -> int:
    """Be the background process that owns the control plane, until SIGTERM or SIGINT."""
    ended, played = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        ended.set()
        played.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGUSR1, lambda *_: played.set())
    try:
        with make_bed(nodes) as bed:
            facts = {
                "pid": os.getpid(),
                "started": psutil.Process().create_time(),
                "kubeconfig": str(bed.kubeconfig),
                "binaries": str(bed.binaries),
            }
            if play:
                played.set()
            partial = state / "state.json.partial"
            partial.write_text(json.dumps(facts))
            partial.rename(state / "state.json")
            played.wait()
            if not ended.is_set():
                with PlayedKubelet(bed.rest, None, default=Play(seconds=seconds)):
                    ended.wait()
    except (BedError, BinariesError) as error:
        say(str(error))
        return 1
    return 0


def make_bed(nodes: int) -> Bed | ClusterBed:
    """A control plane alone, or one with nodes that have the images of the cache."""
    if not nodes:
        return Bed(find_binaries(say))
    images = cache_folder() / "images"
    return ClusterBed(find_binaries(say), find_store(sorted(images.glob("[ot]*.tar")), say), nodes)


def running_process(state: Path) -> psutil.Process | None:
    """The background process, when it is the one that wrote the state and not another with its number."""
    try:
        facts = json.loads((state / "state.json").read_text())
        process = psutil.Process(facts["pid"])
        return process if process.create_time() == facts["started"] else None
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


if __name__ == "__main__":
    sys.exit(main())
