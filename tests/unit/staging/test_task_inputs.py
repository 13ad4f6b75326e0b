"""Inputs of each command by URL: which are staged, with what settings, and what is reported about it."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.object_store.clients import secret_in
from tests.unit.object_store.stub_server import StubServer, serving

from maskrcnn_trainer.cli import build_parser
from maskrcnn_trainer.errors import InvalidInput, Stopped
from maskrcnn_trainer.shared.variables import (
    CACHE_LIMIT_VARIABLE,
    CACHE_VARIABLE,
    OBJECT_STORES_VARIABLE,
    RESULTS_DIR_VARIABLE,
    TERMINATION_LOG_VARIABLE,
    WORKSPACE_URL_VARIABLE,
)
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec, stores_from_json, stores_to_json
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.display import StagingDisplay
from maskrcnn_trainer.staging.input_staging import InputStaging, StagingSettings
from maskrcnn_trainer.staging.task_inputs import (
    Argument,
    CommandInputs,
    checkpoint_companions,
    default_cache,
    inputs_staged,
    model_companions,
    staging_settings,
)
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.task.staged_inputs import staged_path
from maskrcnn_trainer.task.workspace import is_in_store

ANNOTATIONS = {"images": [{"file_name": "a.jpg"}, {"file_name": "./deep/b.jpg"}], "annotations": [], "categories": []}
SPEC = """
initLearningRate: 0.01
totalSteps: 4
checkpoint: s3://b/weights.npz
checkpointConfig: s3://b/config.yaml
dataConfig:
  imageSize: [128, 128]
  numClasses: 2
  trainingFilePattern: s3://b/t/*.tfrecord, /data/more-*.tfrecord
  validationFilePattern: s3://b/v/*.tfrecord
  valJsonFile: s3://b/val.json
"""


class Recorded(CommandInputs):
    """Inputs that are recorded and not staged; every URL is replaced by a path of ``files``."""

    def __init__(self, files: Path) -> None:
        self.found: dict[str, UrlInput] = {}
        self._files = files
        self._staging = self  # type: ignore[assignment]

    def use_stores_of(self, manifest: Any) -> None:
        self.stores = manifest

    def stage(self, *inputs: Any) -> None:
        for one in inputs[0] if inputs and not isinstance(inputs[0], UrlInput) else inputs:
            if is_in_store(one.written):
                self.found[one.written] = one

    def replace(self, arguments: argparse.Namespace, *given: Argument, others: Sequence[UrlInput] = ()) -> None:
        written = {one.name: getattr(arguments, one.name, None) for one in given}
        super().replace(arguments, *given, others=others)
        for name, value in written.items():
            if isinstance(value, str) and is_in_store(value):
                setattr(arguments, name, str(self._files / value.rpartition("/")[2]))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    others = (CACHE_VARIABLE, CACHE_LIMIT_VARIABLE, OBJECT_STORES_VARIABLE, RESULTS_DIR_VARIABLE)
    for name in (*others, WORKSPACE_URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={"m.tlt": b"m" * 500}) as started:
        yield started


def staged_by(tmp_path: Path, *command: str) -> dict[str, UrlInput]:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "train.json").write_text(json.dumps(ANNOTATIONS))
    parsed = build_parser().parse_args([*command])
    inputs = Recorded(tmp_path)
    parsed.stage(parsed, inputs)
    return inputs.found


def kinds(found: dict[str, UrlInput]) -> dict[str, tuple[InputKind, str]]:
    return {written: (one.kind, one.field) for written, one in found.items()}


def test_conversion_stages_the_images_that_the_annotations_name(tmp_path: Path) -> None:
    found = staged_by(tmp_path, *["dataset_convert", "-i", "s3://b/images", "-a", "s3://b/train.json", "-o", "out"])
    assert kinds(found) == {
        "s3://b/train.json": (InputKind.FILE, "-a"),
        "s3://b/images": (InputKind.DIRECTORY, "-i"),
    }
    is_read = found["s3://b/images"].is_read
    assert is_read is not None
    assert [name for name in ("a.jpg", "deep/b.jpg", "c.jpg", "b.jpg") if is_read(name)] == ["a.jpg", "deep/b.jpg"]


def test_training_stages_records_annotations_and_what_it_starts_from(tmp_path: Path) -> None:
    found = staged_by(tmp_path, *["train", "-e", "s3://b/spec.yaml", "-d", "out"])
    assert set(found) == {
        "s3://b/spec.yaml",
        "s3://b/t/*.tfrecord",
        "s3://b/v/*.tfrecord",
        "s3://b/val.json",
        "s3://b/weights.npz",
        "s3://b/config.yaml",
    }
    assert found["s3://b/t/*.tfrecord"].field == "dataConfig.trainingFilePattern"


def test_retraining_does_not_stage_the_checkpoint_that_it_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "pruned.yaml").write_text(f"{SPEC}\nprunedModelPath: s3://b/pruned.tlt\n")
    found = staged_by(tmp_path, *f"train -e {tmp_path}/pruned.yaml -d out".split())
    assert "s3://b/pruned.tlt" in found
    assert "s3://b/weights.npz" not in found


def test_evaluation_stages_model_and_validation_data(tmp_path: Path) -> None:
    found = staged_by(tmp_path, *["evaluate", "-e", "s3://b/spec.yaml", "-m", "s3://b/m.tlt", "-r", "out"])
    assert set(found) == {"s3://b/spec.yaml", "s3://b/m.tlt", "s3://b/v/*.tfrecord", "s3://b/val.json"}


def test_inference_stages_images_that_are_not_hidden(tmp_path: Path) -> None:
    command = "inference -e s3://b/spec.yaml -m s3://b/m.tlt -i s3://b/images -c s3://b/names.txt -r out"
    found = staged_by(tmp_path, *command.split())
    assert set(found) == {"s3://b/spec.yaml", "s3://b/m.tlt", "s3://b/images", "s3://b/names.txt"}
    is_read = found["s3://b/images"].is_read
    assert is_read is not None
    names = ("a.JPG", "deep/b.tiff", ".hidden/c.jpg", "deep/.d.png", "notes.txt")
    assert [name for name in names if is_read(name)] == ["a.JPG", "deep/b.tiff"]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ("", set()),
        ("--data_type int8", {"s3://b/t/*.tfrecord"}),
        ("--data_type int8 --cal_image_dir s3://b/images", {"s3://b/images"}),
        ("--cal_image_dir s3://b/images", set()),
    ],
)
def test_export_stages_what_a_calibration_reads(tmp_path: Path, options: str, more: set[str]) -> None:
    command = f"export -e s3://b/spec.yaml -m s3://b/m.tlt -o out.onnx {options.replace('_', '-')}"
    assert set(staged_by(tmp_path, *command.split())) == {"s3://b/spec.yaml", "s3://b/m.tlt"} | more


def test_pruning_stages_its_model(tmp_path: Path) -> None:
    assert set(staged_by(tmp_path, *["prune", "-m", "s3://b/m.tlt", "-o", "out"])) == {"s3://b/m.tlt"}


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("evaluate -e {spec} -m s3://b/m.tlt", "-r is missing"),
        ("export -e {spec} -m s3://b/m.tlt", "-o is missing"),
        ("report -r s3://b/results", "-o is missing"),
    ],
)
def test_place_of_results_cannot_be_derived_from_a_url(tmp_path: Path, command: str, flag: str) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    with pytest.raises(InvalidInput, match=flag):
        staged_by(tmp_path, *command.format(spec=tmp_path / "spec.yaml").split())


WORKSPACE_SPEC = SPEC.replace("s3://b/", "/workspace/")


def test_paths_in_a_workspace_in_object_storage_are_staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://b/ws")
    (tmp_path / "plain.yaml").write_text(WORKSPACE_SPEC)
    found = staged_by(tmp_path, *f"train -e {tmp_path}/plain.yaml -d out".split())
    assert set(found) == {
        "/workspace/t/*.tfrecord",
        "/workspace/v/*.tfrecord",
        "/workspace/val.json",
        "/workspace/weights.npz",
        "/workspace/config.yaml",
    }


def test_paths_in_a_workspace_that_is_a_directory_are_not_staged(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(WORKSPACE_SPEC)
    for command in (f"train -e {tmp_path}/plain.yaml -d out", "prune -m /workspace/exp/train/m.tlt -o out"):
        assert staged_by(tmp_path, *command.split()) == {}


def test_images_in_a_workspace_in_object_storage_are_those_that_the_annotations_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://b/ws")
    command = ["dataset_convert", "-i", "/workspace/images", "-a", "/workspace/train.json", "-o", "out"]
    found = staged_by(tmp_path, *command)
    is_read = found["/workspace/images"].is_read
    assert is_read is not None
    assert [name for name in ("a.jpg", "c.jpg") if is_read(name)] == ["a.jpg"]


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("evaluate -e {spec} -m /workspace/m.tlt", "-r is missing"),
        ("export -e {spec} -m /workspace/m.tlt", "-o is missing"),
        ("report -r /workspace/results", "-o is missing"),
    ],
)
def test_place_of_results_cannot_be_derived_from_a_path_in_object_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, flag: str
) -> None:
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://b/ws")
    (tmp_path / "spec.yaml").write_text(SPEC)
    with pytest.raises(InvalidInput, match=flag):
        staged_by(tmp_path, *command.format(spec=tmp_path / "spec.yaml").split())


def test_stores_of_a_manifest_are_used_as_those_of_a_user(tmp_path: Path) -> None:
    experiment = "\n".join(f"    {line}" for line in SPEC.strip().splitlines())
    (tmp_path / "manifest.yaml").write_text(
        "apiVersion: maskrcnn.dev/v1alpha1\nkind: MaskRCNNExperiment\nmetadata: {name: a}\nspec:\n  objectStores:\n"
        f"  - {{prefix: 's3://b', endpoint: 'https://store.example.com'}}\n  experiment:\n{experiment}\n"
    )
    parsed = build_parser().parse_args(["evaluate", "-e", f"{tmp_path}/manifest.yaml", "-m", "m.tlt", "-r", "out"])
    settings = StagingSettings((), tmp_path / "cache", environment={})
    with (
        InputStaging(settings, StagingDisplay()) as staging,
        pytest.raises(InvalidInput, match="credentials of this machine go to no endpoint") as refusal,
    ):
        parsed.stage(parsed, CommandInputs(staging))
    assert "add to --store-config" in str(refusal.value)


def test_space_of_all_inputs_is_checked_before_any_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text("totalSteps: 4")
    with serving(b={"m.tlt": b"m" * 500, "images/a.jpg": b"a" * 5000}) as server:
        reported(tmp_path, server, monkeypatch)
        monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "2000")
        command = f"inference -e {tmp_path}/spec.yaml -m s3://b/m.tlt -i s3://b/images"
        parsed = build_parser().parse_args(command.split())
        with pytest.raises(SystemExit) as ended, inputs_staged(parsed, parsed.stage, TaskName.INFERENCE):
            pytest.fail("nothing fits")
        assert ended.value.code == 70
        read = [*server.reads("m.tlt"), *server.reads("images/a.jpg")]
        assert not [seen for seen in read if seen.method == "GET"]


def test_url_with_escapes_in_a_spec_is_staged(tmp_path: Path) -> None:
    escaped = SPEC.replace("valJsonFile: s3://b/val.json", 'valJsonFile: "s3:\\/\\/b/val.json"')
    escaped = "\n".join(line for line in escaped.splitlines() if ":/" not in line)
    (tmp_path / "escaped.yaml").write_text(escaped)
    found = staged_by(tmp_path, *f"evaluate -e {tmp_path}/escaped.yaml -m m.tlt -r out".split())
    assert set(found) == {"s3://b/val.json"}


def test_spec_without_urls_is_left_to_the_task(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("initLearningRate: [")
    assert staged_by(tmp_path, *f"evaluate -e {tmp_path}/broken.yaml -m m.tlt".split()) == {}


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("model.ckpt-10", "model.ckpt-10."),
        ("model.ckpt-10.index", "model.ckpt-10."),
        ("model.ckpt-10.data-00000-of-00001", "model.ckpt-10."),
        ("weights.npz", None),
    ],
)
def test_files_of_a_tensorflow_checkpoint_are_staged_together(name: str, beginning: str | None) -> None:
    assert checkpoint_companions(name) == beginning


def test_description_of_an_engine_is_staged_with_it() -> None:
    assert [model_companions(name) for name in ("m.engine", "m.tlt", "m.onnx")] == ["m.engine.json", None, None]


def settings_for(*flags: str) -> Any:
    return staging_settings(build_parser().parse_args(["prune", "-m", "m.tlt", "-o", "out", *flags]))


def test_settings_are_those_of_the_flags_before_those_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OBJECT_STORES_VARIABLE, stores_to_json([ObjectStoreSpec(prefix="s3://env")]))
    monkeypatch.setenv(CACHE_VARIABLE, "/of/env")
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "1000")
    (tmp_path / "stores.yaml").write_text("- {prefix: 's3://file'}")
    found = settings_for()
    assert ([one.prefix for one in found.stores], found.cache, found.limit) == (["s3://env"], Path("/of/env"), 1000)
    found = settings_for("--store-config", str(tmp_path / "stores.yaml"), "--cache", "/of/flag")
    assert ([one.prefix for one in found.stores], found.cache) == (["s3://file"], Path("/of/flag"))


def test_cache_is_below_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/user/cache")
    assert default_cache() == settings_for().cache == Path("/user/cache/maskrcnn")


def test_limit_that_is_not_a_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "50Gi")
    with pytest.raises(InvalidInput, match=f"{CACHE_LIMIT_VARIABLE}.*50Gi"):
        settings_for()


def reported(directory: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    secret = secret_in(directory / "secret", "s3")
    store = ObjectStoreSpec(prefix="s3://b", endpoint=server.url, allow_http=True, secret_dir=str(secret))
    monkeypatch.setenv(OBJECT_STORES_VARIABLE, stores_to_json([store]))
    monkeypatch.setenv(CACHE_VARIABLE, str(directory / "cache"))
    monkeypatch.setenv(RESULTS_DIR_VARIABLE, str(directory / "results"))
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(directory / "termination.json"))
    return build_parser().parse_args(["prune", "-m", "s3://b/m.tlt"])


def records_in(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "results" / "status.json").read_text().splitlines()]


def test_loading_is_recorded_as_progress_of_the_task(
    tmp_path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = reported(tmp_path, server, monkeypatch)
    with inputs_staged(parsed, parsed.stage, TaskName.PRUNE):
        assert Path(parsed.model).read_bytes() == b"m" * 500
        assert staged_path("s3://b/m.tlt") == parsed.model
    first, *_, last = records_in(tmp_path)
    assert (first["status"], first["message"]) == ("STARTED", "Loading inputs.")
    assert (last["status"], last["step"], last["total_steps"]) == ("RUNNING", 1, 1)
    assert last["graphical"]["input_bytes"] == 500


def test_failure_is_reported_and_ends_the_command_with_its_code(
    tmp_path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = reported(tmp_path, server, monkeypatch)
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "100")
    with pytest.raises(SystemExit) as ended, inputs_staged(parsed, parsed.stage, TaskName.PRUNE):
        pytest.fail("nothing fits")
    assert ended.value.code == 70
    assert records_in(tmp_path)[-1]["status"] == "FAILURE"
    assert json.loads((tmp_path / "termination.json").read_text())["code"] == 70


def test_stores_and_cache_reach_processes_that_a_task_with_a_workspace_by_url_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://b/ws")
    (tmp_path / "stores.yaml").write_text("- {prefix: 's3://file'}")
    flags = ["--store-config", f"{tmp_path}/stores.yaml", "--cache", str(tmp_path / "own")]
    parsed = build_parser().parse_args(["prune", "-m", "m.tlt", "-o", "out", *flags])
    with inputs_staged(parsed, parsed.stage, TaskName.PRUNE):
        assert [one.prefix for one in stores_from_json(os.environ[OBJECT_STORES_VARIABLE])] == ["s3://file"]
        assert os.environ[CACHE_VARIABLE] == str(tmp_path / "own")
    assert OBJECT_STORES_VARIABLE not in os.environ
    assert CACHE_VARIABLE not in os.environ


def test_other_nodes_do_not_report(tmp_path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = reported(tmp_path, server, monkeypatch)
    with inputs_staged(parsed, parsed.stage, TaskName.PRUNE, rank=1):
        pass
    assert not (tmp_path / "results").exists()


def test_signal_before_the_task_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(_: argparse.Namespace, __: CommandInputs) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped), inputs_staged(argparse.Namespace(), stage, TaskName.PRUNE):
        pytest.fail("the task begins")


def test_flags_are_those_of_every_command_that_takes_a_url() -> None:
    required: dict[str, Iterable[str]] = {
        "dataset_convert": ["-i", "i", "-a", "a", "-o", "o"],
        "train": ["-e", "e"],
        "evaluate": ["-e", "e", "-m", "m"],
        "prune": ["-m", "m"],
        "inference": ["-i", "i", "-e", "e", "-m", "m"],
        "export": ["-e", "e", "-m", "m"],
        "report": ["-r", "r"],
    }
    for command, flags in required.items():
        parsed = build_parser().parse_args([command, *flags, "--store-config", "f", "--cache", "d"])
        assert (parsed.store_config, parsed.cache) == ("f", "d")
