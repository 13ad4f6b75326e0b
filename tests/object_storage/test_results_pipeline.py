"""An experiment of the real tasks with its workspace in a bucket, compared with the same one in a directory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.object_storage.conftest import GetServer
from tests.object_storage.local_runs import (
    LocalRun,
    artifacts,
    files_below,
    generate_shapes,
    steps_of,
)
from tests.object_storage.proxy import FaultProxy, Passed, proxy_to
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.test_pipeline import description_of, weights_in
from tests.object_storage.user_stores import UserStore

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("convert-train", "convert-val", "train", "evaluate", "prune", "retrain", "inference")
FEW = {"totalSteps": 4, "numStepsPerEval": 2, "learningRateSteps": [2, 3], "warmupSteps": 1}
OF_RETRAINING = {"totalSteps": 2, "numStepsPerEval": 2, "learningRateSteps": [1], "warmupSteps": 1}
NEVER_EQUAL = re.compile(r"created|seconds|images_per_second|duration of .*")
OF_ONE_MACHINE = re.compile(r"/(?:run|termination)\.json$|/logs/attempt-")
SMALL = 16 * 1024
"""Bytes of the largest object that a run without work may read: pointers, owners, lists, and results."""

pytestmark = pytest.mark.timeout(1800)


def manifest() -> dict[str, Any]:
    """Return the manifest of examples/shapes with these steps alone, for a few steps of training."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "shapes" / "experiment.yaml").read_text())
    spec = content["spec"]
    spec["experiment"] = {**spec["experiment"], **FEW, "deterministic": True}
    spec["steps"] = [{**step, "processesPerNode": 1} for step in spec["steps"] if step["name"] in STEPS]
    by_name = {step["name"]: step for step in spec["steps"]}
    by_name["convert-train"]["datasetConvert"]["numShards"] = 2
    by_name["retrain"]["experiment"].update(OF_RETRAINING)
    by_name["inference"]["inference"]["threshold"] = 0.01
    return content


@dataclass
class Ran:
    """The experiment after its run in a bucket and in a directory, and what the runs after that did.

    Attributes:
        store: the bucket.
        proxy: in front of it.
        bucket, directory: the runs.
        state_dir: of the run in the bucket.
        loaded: files that ``artifacts get`` has loaded, below the step's name.
    """

    store: UserStore
    proxy: FaultProxy
    bucket: LocalRun
    directory: LocalRun
    state_dir: Path
    loaded: Path

    @property
    def config(self) -> Path:
        """Return the file of --store-config."""
        return self.store.config(self.proxy.url)

    @property
    def in_directory(self) -> Path:
        """Return the experiment's directory."""
        return Path(self.directory.workspace) / "shapes"

    def published(self, step: str) -> dict[str, bytes]:
        """Return the published files of a step."""
        return StepInStore(self.store, experiment="shapes", step=step).files()

    def again(self, *options: str) -> list[Passed]:
        """Run the experiment in the bucket, and return its requests."""
        self.proxy.forget()
        self.bucket.run(*options)
        return self.proxy.passed

    def steps(self) -> dict[str, dict[str, Any]]:
        """Return the status of each step."""
        return steps_of(self.state_dir / "experiment-status.json")


@pytest.fixture(scope="module")
def ran(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Return the experiment after its run in both workspaces."""
    folder = tmp_path_factory.mktemp("results")
    workspace, state_dir = folder / "workspace", folder / "state"
    generate_shapes(workspace / "raw" / "shapes", train=8, val=4)
    (folder / "shapes.yaml").write_text(yaml.safe_dump(manifest(), sort_keys=False))
    server = get_server("moto")
    store = UserStore(server, server.new_container(), folder)
    server.fill(store.container, files_below(workspace, "results/"))
    directory = LocalRun(folder / "shapes.yaml", str(workspace))
    directory.run()
    with proxy_to(server.address, server.root(store.container)) as proxy:
        options = ("--store-config", str(store.config(proxy.url)), "--cache", str(folder / "cache"))
        bucket = LocalRun(folder / "shapes.yaml", f"{store.url}/results", (*options, "--state-dir", str(state_dir)))
        bucket.run()
        loaded = folder / "loaded"
        artifacts(bucket.workspace, store.config(proxy.url), "get", "shapes", "-o", str(loaded))
        yield Ran(store, proxy, bucket, directory, state_dir, loaded)


def result_of(directory: Path, step: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / step / "result.json").read_text())
    return content


def writes_of_files(requests: list[Passed]) -> list[str]:
    """Return the keys of published files that were written; what is left are pointers and owners."""
    return [one.request.key for one in requests if one.request.method in ("PUT", "POST") and "/o/" in one.request.key]


def comparable(value: Any) -> Any:
    """Return JSON without what differs between any two runs."""
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items() if not NEVER_EQUAL.fullmatch(name)}
    return [comparable(one) for one in value] if isinstance(value, list) else value


def test_records_are_equal(ran: Ran) -> None:
    records = [path.relative_to(ran.in_directory) for path in ran.in_directory.rglob("*.tfrecord")]
    assert len(records) == 4
    assert {str(path): (ran.loaded / path).read_bytes() for path in records} == {
        str(path): (ran.in_directory / path).read_bytes() for path in records
    }


@pytest.mark.parametrize("path", ["train/model.step-4.tlt", "prune/model.tlt", "retrain/model.step-2.tlt"])
def test_weights_are_equal(ran: Ran, path: str) -> None:
    assert weights_in(ran.loaded / path) == weights_in(ran.in_directory / path)


def test_paths_in_a_model_are_those_of_the_manifest(ran: Ran) -> None:
    of_each = [description_of(place / "train/model.step-4.tlt") for place in (ran.loaded, ran.in_directory)]
    assert of_each[0]["experiment"]["dataConfig"] == of_each[1]["experiment"]["dataConfig"]


def test_metrics_are_equal(ran: Ran) -> None:
    of_each = [
        json.loads((place / "evaluate" / "metrics.json").read_text()) for place in (ran.loaded, ran.in_directory)
    ]
    assert comparable(of_each[0]) == comparable(of_each[1])


def test_predictions_are_equal(ran: Ran) -> None:
    path = "inference/predictions.json"
    assert (ran.loaded / path).read_bytes() == (ran.in_directory / path).read_bytes()


def names_below(folder: Path) -> list[str]:
    """Return the files of all steps but those of one machine and logs of attempts; events without time and machine."""
    found = {path.relative_to(folder).as_posix() for step in STEPS for path in (folder / step).rglob("*")}
    kept = [name for name in found if (folder / name).is_file() and not OF_ONE_MACHINE.search(name)]
    return sorted(re.sub(r"(?<=/events)\..*", "", name) for name in kept)


def test_published_files_are_those_of_a_directory(ran: Ran) -> None:
    published = names_below(ran.loaded)
    assert len(published) > 30
    # what was loaded from a store is listed
    assert [name for name in published if not name.endswith("/inputs.json.gz")] == names_below(ran.in_directory)


def test_objects_of_others_are_unchanged(ran: Ran) -> None:
    raw = files_below(Path(ran.directory.workspace) / "raw", "results/raw/")
    assert raw
    assert {key: ran.store.server.read(ran.store.container, key) for key in raw} == raw


def test_list_has_every_step_with_its_result(ran: Ran) -> None:
    listed = json.loads(artifacts(ran.bucket.workspace, ran.config, "list", "shapes", "--json"))
    steps = listed["experiments"]["shapes"]["steps"]
    assert {name: step["current"]["complete"] for name, step in steps.items()} == dict.fromkeys(STEPS, True)
    for name, step in ran.steps().items():
        assert steps[name]["current"]["fingerprint"] in (step["fingerprint"], step["olderFingerprint"])
    files = files_below(ran.loaded / "train")
    current = steps["train"]["current"]
    assert (current["files"], current["bytes"]) == (len(files), sum(map(len, files.values())))


def test_report_is_in_the_state_directory_alone(ran: Ran) -> None:
    """The report of the directory has the same content."""
    pages = [place / "report.json" for place in (ran.state_dir, ran.in_directory)]
    numbers = [comparable(json.loads(page.read_text())) for page in pages]
    assert numbers[0] == numbers[1]
    assert (ran.state_dir / "report.html").is_file()
    keys = ran.store.server.keys(ran.store.container, "results/shapes")
    assert {key.split("/")[2] for key in keys} == {*STEPS, "owner.json"}


def test_working_files_are_removed(ran: Ran) -> None:
    assert sorted(path.name for path in ran.state_dir.iterdir()) == [
        *(".lock", ".logs", "experiment-status.json", "report.html", "report.json"),
    ]


def test_second_run_starts_nothing_and_reads_nothing_large(ran: Ran) -> None:
    before = ran.steps()
    requests = ran.again()
    assert ran.steps() == before
    assert {one.request.method for one in requests} == {"GET"}
    assert max(one.body_bytes for one in requests) <= SMALL


def test_edit_and_its_reversal_run_nothing_twice(ran: Ran) -> None:
    def set_threshold(value: float) -> None:
        ran.bucket.edit(lambda spec: spec["steps"][-1]["inference"].update(threshold=value))

    before = ran.published("inference")
    set_threshold(0.9)
    edited = ran.again()
    attempts = {name: step["attempt"] for name, step in ran.steps().items()}
    assert attempts == {**dict.fromkeys(STEPS, 1), "inference": 2}
    assert {one.request.key.split("/")[2] for one in edited if one.request.method == "PUT"} == {"inference"}
    of_edit = ran.published("inference")
    assert of_edit != before
    for threshold, content in ((0.01, before), (0.9, of_edit)):
        set_threshold(threshold)
        requests = ran.again()
        assert ran.steps()["inference"]["reason"] == "UpToDate"
        assert ran.published("inference") == content
        assert not writes_of_files(requests)


def test_lost_state_directory_is_refused_by_name_and_continues_with_the_owner_id(ran: Ran) -> None:
    owner = json.loads((ran.state_dir / "experiment-status.json").read_text())["metadata"]["ownerId"]
    lost = ("--state-dir", str(ran.state_dir.with_name("lost")))
    refusal = ran.bucket.run(*lost, expected=64)
    assert f"{ran.bucket.workspace} holds the experiment shapes of owner {owner}; " in refusal
    assert f"give --take-over-from {owner}/1; " in refusal
    assert f"--owner-id {owner} continues it" in refusal
    requests = ran.again(*lost, "--owner-id", owner)
    steps = steps_of(ran.state_dir.with_name("lost") / "experiment-status.json")
    assert {name: step["reason"] for name, step in steps.items()} == dict.fromkeys(STEPS, "UpToDate")
    assert not writes_of_files(requests)
