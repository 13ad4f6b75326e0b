"""``maskrcnn launch`` with a results URL: published while it runs, killed, and continued by the next attempt."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.object_storage.commands import images_with_annotations
from tests.object_storage.proxy import Answer, Fault, FaultProxy
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import SECONDS, StandInLaunch, attempts_in, wait_until_it_holds
from tests.object_storage.user_stores import UserStore

CHECKPOINTS = ("--steps", "40", "--every", "10")


@pytest.fixture
def step(moto_store: UserStore) -> StepInStore:
    """Return a step in a new bucket."""
    return StepInStore(moto_store)


def launch_of(step: StepInStore, directory: Path, *options: str, attempt: int = 1) -> StandInLaunch:
    config = step.store.config()
    return StandInLaunch(step.url, config, directory, attempt=attempt, options=(*CHECKPOINTS, *options))


def test_killed_attempt_is_continued_from_its_published_checkpoint(step: StepInStore, tmp_path: Path) -> None:
    with launch_of(step, tmp_path, "--hold-at", "20").started() as process:
        wait_until_it_holds(process)
        process.kill()
        process.wait()
    assert attempts_in(step.files()["model.step-20.tlt"]) == [1] * 20
    assert step.published().result is None

    second = launch_of(step, tmp_path, attempt=2)
    done = second.run()
    assert done.returncode == 0, done.stdout
    files = step.files()
    assert attempts_in(files["model.step-40.tlt"]) == [1] * 20 + [2] * 20
    assert [json.loads(line)["step"] for line in files["history.jsonl"].splitlines()] == list(range(1, 41))
    assert (step.published().result, step.published().checkpoints[-1]) == ("result.json", "model.step-40.tlt")
    message = second.message()
    assert (message["code"], message["attempt"], message["checkpointStep"]) == (0, 2, 40)
    assert message["modelPath"] == "/workspace/exp/train/model.step-40.tlt"


def test_result_that_a_killed_attempt_could_not_publish_is_published_by_the_next_one(
    step: StepInStore, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    proxy = in_front_of(step.store)
    proxy.faults = [
        Fault(lambda request: request.method == "PUT" and "/o/" in request.key, times=None, answer=Answer(503))
    ]
    first = replace(launch_of(step, tmp_path), config=step.store.config(proxy.url), working_dir=work)
    with first.started() as process:
        deadline = time.monotonic() + 60
        while not (work / "exp" / "train" / "result.json").exists():
            assert time.monotonic() < deadline, "the task didn't finish"
            time.sleep(0.1)
        process.kill()
        process.wait()
    second = replace(launch_of(step, tmp_path, "--fail-at", "1", attempt=2), working_dir=work)
    done = second.run()
    assert done.returncode == 0, done.stdout
    assert attempts_in(step.files()["model.step-40.tlt"]) == [1] * 40
    assert step.published().result == "result.json"
    assert second.message()["attempt"] == 2


def test_finished_step_runs_no_process_again(step: StepInStore, tmp_path: Path) -> None:
    assert launch_of(step, tmp_path).run().returncode == 0
    before = step.pointer()
    again = launch_of(step, tmp_path, "--fail-at", "1", attempt=2)
    assert again.run().returncode == 0
    message = again.message()
    assert (message["upToDate"], message["attempt"], message["metrics"]) == (True, 2, {"AP": 0.5})
    assert step.pointer().current == before.current


def test_stopped_attempt_publishes_the_checkpoint_that_it_wrote_last(step: StepInStore, tmp_path: Path) -> None:
    launch = launch_of(step, tmp_path, "--hold-at", "15", "--hold-unpublished")
    with launch.started() as process:
        wait_until_it_holds(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    message = launch.message()
    assert (message["code"], message["error"]["reason"], message["checkpointStep"]) == (143, "Stopped", 15)
    assert step.published().checkpoints[-1] == "model.step-15.tlt"


def test_failed_attempt_publishes_its_log_and_status(step: StepInStore, tmp_path: Path) -> None:
    launch = launch_of(step, tmp_path, "--fail-at", "12")
    assert launch.run().returncode == 64
    files = step.files()
    assert b"failed on request after step 12" in files["logs/attempt-1.node-0.log"]
    assert json.loads(files["status.json"].splitlines()[-1])["status"] == "FAILURE"
    assert launch.message()["checkpointStep"] == 10
    assert launch.message()["error"]["reason"] == "InvalidData"


def test_earlier_attempt_ends_when_a_later_one_has_its_step(step: StepInStore, tmp_path: Path) -> None:
    release, work = tmp_path / "release", tmp_path / "work"
    options = ("--hold-at", "20", "--release", str(release), "--pause", "0.3")
    first = replace(launch_of(step, tmp_path, *options), working_dir=work)
    with first.started() as process:
        wait_until_it_holds(process)
        with launch_of(step, tmp_path, "--hold-at", "30", attempt=2).started() as other:
            wait_until_it_holds(other)
            release.touch()
            assert process.wait(60) == 75
            error = first.message()["error"]
            assert (error["reason"], error["laterAttempt"]) == ("Superseded", 2)
            assert attempts_in(step.files()["model.step-30.tlt"]) == [1] * 20 + [2] * 10
            assert step.pointer().order.attempt == 2
    # the task was ended before its last step
    assert not (work / "exp" / "train" / "model.step-40.tlt").exists()


def test_lower_attempt_that_starts_late_runs_no_process(step: StepInStore, tmp_path: Path) -> None:
    with launch_of(step, tmp_path, "--hold-at", "20", attempt=3).started() as process:
        wait_until_it_holds(process)
    late = launch_of(step, tmp_path, attempt=2)
    done = late.run()
    assert done.returncode == 75, done.stdout
    assert (late.message()["error"]["reason"], late.message()["error"]["laterAttempt"]) == ("Superseded", 3)
    assert step.pointer().order.attempt == 3


def test_another_owner_is_refused_by_name(step: StepInStore, tmp_path: Path) -> None:
    assert launch_of(step, tmp_path).run().returncode == 0
    other = replace(launch_of(step, tmp_path, attempt=2), owner_id="other")
    done = other.run()
    assert done.returncode == 64, done.stdout
    error = other.message()["error"]
    assert error["reason"] == "AnothersOwner"
    assert "lab/1" in error["message"]


def test_working_directory_of_an_earlier_attempt_becomes_equal_to_the_published_set(
    step: StepInStore, tmp_path: Path
) -> None:
    first = replace(launch_of(step, tmp_path, "--hold-at", "20"), working_dir=tmp_path / "work")
    with first.started() as process:
        wait_until_it_holds(process)
    results_dir = tmp_path / "work" / "exp" / "train"
    (results_dir / "model.step-15.tlt").write_bytes(b"not published")
    (results_dir / "model.step-20.tlt").write_bytes(b"damaged")
    second = replace(launch_of(step, tmp_path, "--hold-at", "30", attempt=2), working_dir=tmp_path / "work")
    with second.started() as process:
        wait_until_it_holds(process)
    assert attempts_in((results_dir / "model.step-30.tlt").read_bytes()) == [1] * 20 + [2] * 10
    assert not (results_dir / "model.step-15.tlt").exists()


@pytest.mark.parametrize("source", ["url", "workspace"])
def test_conversion_is_published_with_the_paths_of_a_manifest(step: StepInStore, tmp_path: Path, source: str) -> None:
    store = step.store
    objects = images_with_annotations(2)
    store.server.fill(store.container, {f"results/data/{key}": body for key, body in objects.items()})
    store.server.fill(store.container, {f"data/{key}": body for key, body in objects.items()})
    above = {"url": f"{store.url}/data", "workspace": "/workspace/data"}[source]
    convert = replace(step, step="convert")
    launch = launch_of(convert, tmp_path)
    task = [
        *("dataset_convert", "-i", f"{above}/images", "-a", f"{above}/annotations.json"),
        *("-o", convert.url, "-s", "2", "--include-mask", "--store-config", str(launch.config)),
        *("--cache", str(tmp_path / "cache")),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "maskrcnn_trainer.cli", "launch", "--", *task],
        env=launch.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    message, files = launch.message(), convert.files()
    assert message["artifacts"]["records"]["path"].startswith("/workspace/exp/convert/")
    shards = [name for name in files if name.endswith(".tfrecord")]
    assert len(shards) == 2
    assert sum(len(files[name]) for name in shards) == message["artifacts"]["records"]["bytes"]
    assert json.loads(files["result.json"])["inputs"].keys() == {f"{above}/images", f"{above}/annotations.json"}
