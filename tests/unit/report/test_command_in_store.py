"""Reports about results in object storage equal those about the same results in a directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.object_store.clients import secret_in
from tests.unit.object_store.published_steps import published_step
from tests.unit.object_store.stub_server import StubServer, serving
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.shared.variables import (
    INPUT_FINGERPRINTS_VARIABLE,
    OBJECT_STORES_VARIABLE,
    RESULTS_DIR_VARIABLE,
    WORKSPACE_URL_VARIABLE,
    WORKSPACE_VARIABLE,
)
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec, stores_to_json

ROOT = "team/ws"


def objects_of(workspace: Path) -> dict[str, bytes]:
    """Return the objects of a workspace in which each directory of an experiment is a published step."""
    objects: dict[str, bytes] = {}
    for step in (workspace / "shapes").iterdir():
        if step.is_dir():
            files = {str(path.relative_to(step)): path.read_bytes() for path in step.rglob("*") if path.is_file()}
            objects |= published_step("shapes", step.name, (f"of-{step.name}", files), root=ROOT)
    objects[f"{ROOT}/raw/val.json"] = (workspace / "raw" / "val.json").read_bytes()
    return objects


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made.make_experiment(tmp_path / "ws")
    return tmp_path / "ws"


@pytest.fixture
def server(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    with serving(b=objects_of(workspace)) as started:
        store = ObjectStoreSpec(
            prefix="s3://b",
            endpoint=started.url,
            allow_http=True,
            secret_dir=str(secret_in(tmp_path / "secret", "s3")),
        )
        monkeypatch.setenv(OBJECT_STORES_VARIABLE, stores_to_json([store]))
        yield started


def report(directory: Path, *arguments: Path | str) -> dict[str, Any]:
    """Return the numbers of a report."""
    output = directory / "page.html"
    assert main(["report", "-o", str(output), "--cache", str(directory / "cache"), "-r", *map(str, arguments)]) == 0
    content: dict[str, Any] = json.loads(output.with_suffix(".json").read_text())
    assert output.read_text().count('src="data:image/webp;base64,') == 10
    return content | {"created": ""}


def loaded(server: StubServer) -> set[str]:
    """Return the names in the keys of the objects that were read."""
    paths = {seen.path for seen in server.reads() if seen.method == "GET"}
    return {path.rpartition("/")[2].split("-", 3)[-1] if "/o/" in path else path.rpartition("/")[2] for path in paths}


def test_report_about_an_experiment_by_url_is_that_about_its_directory(
    server: StubServer, workspace: Path, tmp_path: Path
) -> None:
    of_directory = report(tmp_path, workspace / "shapes")
    shutil.rmtree(workspace)
    assert report(tmp_path, f"s3://b/{ROOT}/shapes") == of_directory


def test_report_by_url_loads_neither_training_records_nor_exported_models(
    server: StubServer, workspace: Path, tmp_path: Path
) -> None:
    (workspace / "shapes" / "train" / "model.step-10.tlt").write_bytes(b"earlier")
    (workspace / "shapes" / "convert-train" / "train-00000-of-00001.tfrecord").write_bytes(b"records")
    server.objects["b"].update(objects_of(workspace))
    report(tmp_path, f"s3://b/{ROOT}/shapes")
    names = loaded(server)
    assert {"history.jsonl", "detections.json", "model.step-40.tlt", "val-00000-of-00001.tfrecord"} <= names
    assert not {"model.step-10.tlt", "train-00000-of-00001.tfrecord", "model.onnx"} & names


def test_url_without_results_is_named_as_it_was_given(
    server: StubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.objects["b"] = {f"{ROOT}/shapes/train/run.json": b"[]"}
    url = f"s3://b/{ROOT}/shapes"
    assert main(["report", "-o", str(tmp_path / "a.html"), "--cache", str(tmp_path / "cache"), "-r", url]) == 64
    assert f"-r {url}: no results of a task are there" in caplog.text
    assert f"{url}/train is taken as another program's directory" in caplog.text


def test_message_about_results_by_url_has_the_url(
    server: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "-r", f"s3://b/{ROOT}/absent", "-o", str(tmp_path / "page.html")]) == 64
    assert f"s3://b/{ROOT}/absent" in capsys.readouterr().err


@pytest.fixture
def working_dir(server: StubServer, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with the results of one evaluation alone."""
    directory = tmp_path / "work"
    shutil.copytree(workspace / "shapes" / "evaluate", directory / "shapes" / "evaluate")
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(directory))
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, f"s3://b/{ROOT}")
    monkeypatch.setenv(RESULTS_DIR_VARIABLE, str(directory / "shapes" / "evaluate"))
    upstream = {name: [f"of-{name}"] for name in ("convert-train", "convert-val", "train")}
    monkeypatch.setenv(INPUT_FINGERPRINTS_VARIABLE, json.dumps(upstream))
    return directory


def of_directory(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    with monkeypatch.context() as without:
        for name in (WORKSPACE_VARIABLE, WORKSPACE_URL_VARIABLE, RESULTS_DIR_VARIABLE, INPUT_FINGERPRINTS_VARIABLE):
            without.delenv(name)
        return report(tmp_path, workspace / "shapes" / "evaluate")


def test_report_of_an_evaluation_covers_the_steps_whose_results_it_reads(
    working_dir: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = of_directory(workspace, tmp_path, monkeypatch)["experiments"][0]
    shutil.rmtree(workspace)
    found = report(tmp_path, working_dir / "shapes" / "evaluate")["experiments"][0]
    assert found["evaluation"] == expected["evaluation"]
    assert found["data"] == expected["data"]
    assert [one for one in found["trainings"] if one["step"] == "train"] == [
        one for one in expected["trainings"] if one["step"] == "train"
    ]


def test_report_of_an_evaluation_has_every_model_of_its_siblings(
    working_dir: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = of_directory(workspace, tmp_path, monkeypatch)["experiments"][0]["models"]
    found = report(tmp_path, working_dir / "shapes" / "evaluate")["experiments"][0]["models"]
    assert [(one["step"], one["metrics"]) for one in found] == [(one["step"], one["metrics"]) for one in expected]


def test_report_of_an_evaluation_reads_nothing_larger_of_its_siblings(
    working_dir: Path, server: StubServer, tmp_path: Path
) -> None:
    report(tmp_path, working_dir / "shapes" / "evaluate")
    of_siblings = {
        seen.path.rpartition("-")[2]
        for seen in server.reads()
        if any(f"/{name}/o/" in seen.path for name in ("evaluate-fp16", "export", "prune", "retrain"))
    }
    assert of_siblings == {"manifest.json", "result.json", "metrics.json"}


def test_report_of_an_evaluation_has_no_note_about_what_is_not_loaded(working_dir: Path, tmp_path: Path) -> None:
    assert report(tmp_path, working_dir / "shapes" / "evaluate")["experiments"][0]["notes"] == []


def test_training_next_to_an_evaluation_is_a_retraining_if_it_read_a_pruned_model(
    working_dir: Path, server: StubServer, workspace: Path, tmp_path: Path
) -> None:
    file = workspace / "shapes" / "retrain" / "result.json"
    read = {"/workspace/shapes/prune/model.tlt": {"objects": 1, "bytes": 1, "sha256": "0" * 64}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"inputs": read}))
    server.objects["b"].update(objects_of(workspace))
    models = report(tmp_path, working_dir / "shapes" / "evaluate")["experiments"][0]["models"]
    assert {one["step"]: one["kind"] for one in models if one["step"] in ("train", "retrain")} == {
        "train": "trained",
        "retrain": "retrained",
    }


def test_report_of_an_evaluation_names_what_it_reads_by_paths(
    working_dir: Path, server: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del server.objects["b"][f"{ROOT}/raw/val.json"]
    output = tmp_path / "page.html"
    main(["report", "-o", str(output), "--cache", str(tmp_path / "cache"), "-r", str(working_dir / "shapes/evaluate")])
    assert "/workspace/raw/val.json doesn't exist in the workspace" in capsys.readouterr().err
    assert str(tmp_path / "cache") not in output.read_text()
