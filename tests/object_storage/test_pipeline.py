"""Demo's pictures in a bucket: converted, trained on, evaluated, and detected in, with the results of files."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.object_storage.commands import environment
from tests.object_storage.conftest import GetServer
from tests.object_storage.user_stores import UserStore

ROOT = Path(__file__).resolve().parents[2]
STEPS = 4
PATHS = ("trainingFilePattern", "validationFilePattern", "valJsonFile")
pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class Pipeline:
    """Commands with the same inputs, in files or in a bucket.

    Attributes:
        place: directory or URL of the inputs.
        directory: for results.
        options: flags of the stores; empty for files.
    """

    place: str
    directory: Path
    options: tuple[str, ...] = ()

    def run(self, task: str, *arguments: str) -> None:
        """Run a task."""
        done = subprocess.run(
            [sys.executable, "-m", "maskrcnn_trainer.cli", task, *arguments, *self.options],
            env={**environment(), "CUDA_VISIBLE_DEVICES": "-1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def convert(self) -> dict[str, bytes]:
        """Convert both sets, and return the records by name."""
        for name in ("train", "val"):
            self.run(
                "dataset_convert",
                *("-i", f"{self.place}/images", "-a", f"{self.place}/{name}.json", "-s", "2", "--include-mask"),
                *("-o", str(self.directory / "records"), "-r", str(self.directory / f"convert-{name}")),
            )
        return {path.name: path.read_bytes() for path in (self.directory / "records").glob("*.tfrecord")}

    def spec(self) -> dict[str, Any]:
        """Return the demo's spec with this place, for a few steps."""
        manifest = yaml.safe_load((ROOT / "examples" / "shapes" / "experiment.yaml").read_text())
        spec: dict[str, Any] = manifest["spec"]["experiment"]
        few = {"totalSteps": STEPS, "numStepsPerEval": STEPS, "learningRateSteps": [2, 3], "warmupSteps": 1}
        names = {
            "trainingFilePattern": f"{self.place}/records/train-*",
            "validationFilePattern": f"{self.place}/records/val-*",
            "valJsonFile": f"{self.place}/val.json",
        }
        return {**spec, **few, "deterministic": True, "dataConfig": {**spec["dataConfig"], **names}}

    def train(self) -> Path:
        """Train, and return the model."""
        self.run("train", "-e", f"{self.place}/spec.yaml", "-d", str(self.directory / "train"))
        return self.directory / "train" / f"model.step-{STEPS}.tlt"

    def evaluate(self) -> dict[str, Any]:
        """Evaluate the model, and return its metrics without the speed."""
        results = self.directory / "evaluate"
        self.run(
            "evaluate", "-e", f"{self.place}/spec.yaml", "-m", f"{self.place}/models/m.tlt", "-r", str(results)
        )  # fmt: skip
        content: dict[str, Any] = json.loads((results / "metrics.json").read_text())
        return {name: value for name, value in content.items() if name not in ("seconds", "images_per_second")}

    def infer(self) -> bytes:
        """Detect in the samples, and return the predictions."""
        results = self.directory / "inference"
        self.run(
            "inference",
            *("-e", f"{self.place}/spec.yaml", "-m", f"{self.place}/models/m.tlt", "-i", f"{self.place}/samples"),
            *("-r", str(results), "-t", "0.01", "--include-mask"),
        )
        return (results / "predictions.json").read_bytes()


def weights_in(model: Path) -> dict[str, bytes]:
    """Return the weights of a model and the state of its optimizer."""
    with zipfile.ZipFile(model) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(".safetensors")}


def description_of(model: Path) -> dict[str, Any]:
    with zipfile.ZipFile(model) as archive:
        content: dict[str, Any] = json.loads(archive.read("model.json"))
    return content


def test_tasks_give_the_same_results_from_a_bucket_as_from_files(get_server: GetServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    generate = [str(ROOT / "examples" / "shapes" / "generate.py"), "--output", str(data), "--train", "8", "--val", "4"]
    subprocess.run([sys.executable, *generate], check=True)
    server = get_server("moto")
    store = UserStore(server, server.new_container(), tmp_path)

    def upload(folder: Path, prefix: str = "") -> None:
        found = {f"{prefix}{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}
        server.fill(store.container, {key: path.read_bytes() for key, path in found.items()})

    options = ("--store-config", str(store.config()), "--cache", str(tmp_path / "cache"))
    files = Pipeline(str(data), tmp_path / "of-files")
    bucket = Pipeline(store.url, tmp_path / "of-bucket", options)
    upload(data)
    records = files.convert()
    assert len(records) == 4
    assert bucket.convert() == records

    (files.directory / "records").rename(data / "records")
    for one in (files, bucket):
        (data / "spec.yaml").write_text(yaml.safe_dump(one.spec()))
        if one is bucket:
            upload(data)
        trained = one.train()
        if one is files:
            model = trained
    assert weights_in(trained) == weights_in(model)
    given = description_of(trained)["experiment"]["dataConfig"]
    assert {name: given[name] for name in PATHS} == {name: bucket.spec()["dataConfig"][name] for name in PATHS}

    (data / "models").mkdir()
    model.rename(data / "models" / "m.tlt")
    (data / "spec.yaml").write_text(yaml.safe_dump(files.spec()))
    metrics, predictions = files.evaluate(), files.infer()
    upload(data / "models", "models/")
    assert bucket.evaluate() == metrics
    assert bucket.infer() == predictions
    recorded = json.loads((bucket.directory / "evaluate" / "images.json").read_text())
    assert recorded["annotations"] == f"{store.url}/val.json"
    assert recorded["images"][0]["file"].startswith(f"{store.url}/records/val-0000")
    written = [path for path in bucket.directory.rglob("*") if path.is_file()]
    assert not [path for path in written if str(tmp_path / "cache").encode() in path.read_bytes()]
