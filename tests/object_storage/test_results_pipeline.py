"""An experiment of the real tasks with its workspace in a bucket, compared with the same one in a directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from tests.object_storage.proxy import FaultProxy, proxy_to
from tests.object_storage.test_pipeline import description_of, weights_in
from tests.object_storage.user_stores import UserStore

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("convert-train", "convert-val", "train", "evaluate", "prune", "retrain", "inference")
FEW = {"totalSteps": 4, "numStepsPerEval": 2, "learningRateSteps": [2, 3], "warmupSteps": 1}
OF_RETRAINING = {"totalSteps": 2, "numStepsPerEval": 2, "learningRateSteps": [1], "warmupSteps": 1}
NEVER_EQUAL = {"seconds", "images_per_second", "imagesPerSecond"}
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
        outputs: output of each later run by a name.
        requests: requests of each later run.
    """

    store: UserStore
    proxy: FaultProxy
    bucket: LocalRun
    directory: LocalRun
    state_dir: Path
    loaded: Path
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.store.config(self.proxy.url)

    @property
    def in_directory(self) -> Path:
        """Return the experiment's directory."""
        return Path(self.directory.workspace) / "shapes"

    def steps(self) -> dict[str, dict[str, Any]]:
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


def comparable(value: Any) -> Any:
    """Return JSON without what differs between any two runs."""
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items() if name not in NEVER_EQUAL}
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


def test_published_files_are_those_of_a_directory(ran: Ran) -> None:
    in_directory = {name for step in STEPS for name in files_below(ran.in_directory / step, f"{step}/")}
    assert {*files_below(ran.loaded)} == {name for name in in_directory if not name.endswith("/run.json")}
