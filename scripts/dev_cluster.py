"""Leave the tests' control plane running for manual experiments; ``--stop`` ends it.

It has an API server and controllers but no nodes, so pods stay Pending. ``--play-kubelet`` starts the tests' stub
kubelet, which runs no containers but marks each pod as succeeded with a fake result. ``--nodes N`` creates real nodes
(as root), with the images that ``make e2e`` has left in the cache.
"""

from __future__ import annotations

import argparse
import json
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

from scripts.background_process import identity_of, running_process
from tests.apiserver.bed import Bed, BedError
from tests.apiserver.binaries import BinariesError, cache_folder, find_binaries
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.cluster.bed import ClusterBed
from tests.cluster.image_store import find_store

START_SECONDS = 180.0
STOP_SECONDS = 30.0
PLAYED_SECONDS = 5.0


def say(message: str) -> None:
    """Print a message to standard error; standard output has only the line to evaluate."""
    sys.stderr.write(f"{message}\n")


def main() -> int:
    """Start, stop, or serve in the background; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stop", action="store_true", help="end the running control plane")
    parser.add_argument(
        "--play-kubelet", action="store_true", help="run a stub kubelet that marks pods as running, then succeeded"
    )
    parser.add_argument(
        "--step-seconds", type=float, default=PLAYED_SECONDS, help="duration of a simulated pod (default %(default)s)"
    )
    parser.add_argument("--nodes", type=int, default=0, metavar="N", help="number of real nodes, which needs root")
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
        say(f"Kubernetes can't be started: {error}")
        return 1


def start(state: Path, play: bool, seconds: float, nodes: int) -> int:
    """Start a control plane in the background, unless one runs, and print the line that makes kubectl use it."""
    running = running_process(state / "state.json")
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
                say(f"The control plane didn't start:\n{(state / 'log').read_text(errors='replace')}")
                return 1
            time.sleep(0.05)
        without = f"without nodes{', with a stub kubelet' if play else ''}"
        say(f"Kubernetes is running, {f'with {nodes} nodes' if nodes else without}.")
        say(f"Binaries: {binaries}. To stop it: make dev-cluster ARGS=--stop")
    else:
        say("Kubernetes is already running.")
        if play:
            running.send_signal(signal.SIGUSR1)
            say("The stub kubelet is started.")
    facts = json.loads((state / "state.json").read_text())
    sys.stdout.write(f'export KUBECONFIG={facts["kubeconfig"]} PATH="$PATH:{facts["binaries"]}"\n')
    return 0


def stop(state: Path) -> int:
    """End the running control plane, if there is one; return 0."""
    running = running_process(state / "state.json")
    if running is None:
        say("No control plane is running.")
        return 0
    running.terminate()
    running.wait(STOP_SECONDS)
    shutil.rmtree(state, ignore_errors=True)
    say("The control plane has ended.")
    return 0


def serve(state: Path, play: bool, seconds: float, nodes: int) -> int:
    """Run the control plane in this process, until SIGTERM or SIGINT."""
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
                **identity_of(psutil.Process()),
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
    """Return a control plane, with nodes that have the cached images if ``nodes`` isn't 0."""
    if not nodes:
        return Bed(find_binaries(say))
    images = cache_folder() / "images"
    return ClusterBed(find_binaries(say), find_store(sorted(images.glob("[ot]*.tar")), say), nodes)


if __name__ == "__main__":
    sys.exit(main())
