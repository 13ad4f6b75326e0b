"""Local runs with a fake trainer."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.cli import main
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.local.command import run_manifest
from maskrcnn_operator.local.display import PlainDisplay

from .bench import Bench, wait_for

# A hanging run must fail before CI kills pytest, which would then run no finalizers and leave processes behind.
pytestmark = pytest.mark.timeout(300)


def test_experiment_runs_all_steps_and_succeeds(bench: Bench) -> None:
    assert bench.run() == 0
    assert bench.started() == ["convert", "convert-val", "train", "evaluate"]
    status = bench.status()
    assert bench.conditions() == {"Succeeded": "True", "Ready": "True"}
    assert status["metrics"] == [{"name": "AP", "value": "0.25"}]
    assert status["modelPath"] == "/workspace/shapes/train/train.bin"
    assert status["steps"][2]["artifacts"]["model"] == {"path": "/workspace/shapes/train/train.bin", "bytes": 10}
    assert (bench.home / "train" / "logs" / "attempt-1.log").read_text() == "attempt 1 of train\n"
    assert not (bench.home / ".staging").exists()
    shown = bench.output.getvalue()
    assert "evaluate" in shown
    assert "0.25" in shown
    assert "train.bin" in shown


def by_older_release(bench: Bench) -> None:
    """Rewrite the status and the results as a release would that only knows version 1 of the fingerprint."""
    prints = resolve(read_object(bench.manifest)).prints
    file = bench.home / "experiment-status.json"
    content = json.loads(file.read_text())
    for step in content["status"]["steps"]:
        older = prints[step["name"]].by_version["v1"]
        step["fingerprint"] = older
        step.pop("olderFingerprint", None)
        result_file = bench.home / step["name"] / "result.json"
        result_file.write_text(json.dumps(json.loads(result_file.read_text()) | {"fingerprint": older}))
        result_file.write_text(result_file.read_text().replace('"fingerprints"', '"ignored"'))
    file.write_text(json.dumps(content))


def test_no_step_runs_again_after_an_upgrade(bench: Bench) -> None:
    assert bench.run() == 0
    by_older_release(bench)
    recorded = bench.step("train")["fingerprint"]
    started = bench.started()
    bench.manifest["spec"]["maxRestarts"] = 5
    assert bench.run() == 0
    assert (bench.started(), bench.step("train")["fingerprint"]) == (started, recorded)


def test_trainer_gets_this_machines_paths(bench: Bench) -> None:
    bench.run()
    convert, _, train, evaluate = bench.calls()
    ws = str(bench.workspace)
    assert convert["arguments"] == [
        *("launch", "--nodes", "1", "--node-rank", "0", "--processes-per-node", "1", "--", "dataset_convert"),
        *("-i", f"{ws}/raw", "-a", "/data/train.json", "-o", f"{ws}/shapes/convert", "-s", "256", "--include_mask"),
    ]
    assert train["arguments"][:7] == ["launch", "--nodes", "1", "--node-rank", "0", "--processes-per-node", "2"]
    spec = yaml.safe_load((bench.home / "train" / "logs" / "attempt-1.spec.yaml").read_text())
    assert spec["checkpoint"] == f"{ws}/weights/resnet.npz"
    assert spec["dataConfig"]["trainingFilePattern"] == f"{ws}/shapes/convert/train-*.tfrecord"
    assert spec["dataConfig"]["valJsonFile"] == f"{ws}/raw/val.json"
    at = evaluate["arguments"].index("-m")
    assert evaluate["arguments"][at + 1] == f"{ws}/shapes/train/train.bin"
    environment = train["environment"]
    assert environment["MASKRCNN_WORKSPACE"] == ws
    assert environment["MASKRCNN_ATTEMPT"] == "1"
    older, recorded = environment["MASKRCNN_FINGERPRINTS"].split()
    assert (older, recorded) == (environment["MASKRCNN_FINGERPRINT"], bench.step("train")["fingerprint"])
    assert "MASKRCNN_KEY" not in environment


def test_every_attempt_has_the_time_at_which_the_status_file_was_made(bench: Bench) -> None:
    bench.run()
    bench.manifest["spec"]["steps"][3]["revision"] = "again"
    bench.run()
    created = json.loads((bench.home / "experiment-status.json").read_text())["metadata"]["creationTimestamp"]
    assert [call["environment"]["MASKRCNN_CREATED"] for call in bench.calls()] == [created] * 5


def test_only_a_changed_step_runs_again(bench: Bench) -> None:
    bench.run()
    assert bench.run() == 0
    assert len(bench.calls()) == 4
    bench.manifest["spec"]["experiment"]["evalBatchSize"] = 9
    bench.manifest["spec"]["steps"][3]["revision"] = "again"
    assert bench.run() == 0
    assert bench.started()[4:] == ["evaluate"]


def test_results_are_found_without_the_status(bench: Bench) -> None:
    bench.run()
    (bench.home / "experiment-status.json").unlink()
    assert bench.run() == 0
    assert len(bench.calls()) == 4
    assert {step["reason"] for step in bench.status()["steps"]} == {"UpToDate"}
    (bench.home / "train" / "train.bin").write_bytes(b"damaged")
    assert bench.run() == 0
    assert bench.started()[4:] == ["train"]


def test_permanent_failure_stops_the_steps_that_depend_on_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    assert bench.run(train=[64]) == 64
    assert bench.started() == ["convert", "convert-val", "train"]
    assert bench.step("train")["state"] == "Failed"
    assert bench.step("train")["reason"] == "InvalidData"
    assert bench.step("evaluate")["reason"] == "UpstreamFailed"
    assert bench.step("evaluate")["message"] == "step train failed, so this step cannot run"
    assert bench.conditions() == {"Stalled": "True", "Succeeded": "False", "Ready": "False"}
    assert "train found InvalidData" in caplog.text
    assert bench.run() == 0
    assert bench.started()[3:] == ["train", "evaluate"]


def test_failures_are_retried_up_to_max_restarts(bench: Bench) -> None:
    assert bench.run(train=[1, 75, "ok"]) == 0
    assert bench.step("train")["attempt"] == 3
    assert bench.step("train")["restarts"] == 2
    assert (bench.home / "train" / "logs" / "attempt-3.log").exists()


def test_step_fails_when_its_restarts_are_used_up(bench: Bench) -> None:
    assert bench.run(train=[1]) == 1
    assert bench.started().count("train") == 3
    assert "maxRestarts (2) is used up" in bench.step("train")["message"]


def test_success_without_a_termination_message_is_retried_and_not_counted(bench: Bench) -> None:
    assert bench.run(train=["silent", "ok"]) == 0
    assert bench.step("train")["attempt"] == 2
    assert bench.step("train")["restarts"] == 0


def test_independent_steps_run_at_the_same_time(bench: Bench) -> None:
    bench.manifest["spec"]["steps"] = bench.manifest["spec"]["steps"][:2]
    process = bench.start({"convert": ["wait"], "convert-val": ["wait"]}, "--jobs", "2")
    wait_for("convert", (bench.home / "convert" / "ready").exists, process)
    wait_for("convert-val", (bench.home / "convert-val" / "ready").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_resumes(bench: Bench, number: signal.Signals, code: int) -> None:
    process = bench.start({"train": ["wait"]})
    wait_for("train", (bench.home / "train" / "ready").exists, process)
    process.send_signal(number)
    assert process.wait(30) == code
    assert bench.conditions() == {"Suspended": "True", "Succeeded": "Unknown", "Ready": "True"}
    assert bench.step("train")["checkpointStep"] == 7
    assert bench.step("train")["restarts"] == 0
    assert bench.run() == 0
    assert bench.started() == ["convert", "convert-val", "train", "train", "evaluate"]
    assert bench.step("train")["attempt"] == 2


def test_second_ctrl_c_kills_the_trainer(bench: Bench) -> None:
    process = bench.start({"train": ["stubborn"]})
    wait_for("train", (bench.home / "train" / "ready").exists, process)
    process.send_signal(signal.SIGINT)
    wait_for("the request to stop", (bench.home / "train" / "stop-requested").exists, process)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert bench.step("train")["state"] == "Pending"


def test_killed_run_leaves_no_process_and_resumes(bench: Bench) -> None:
    process = bench.start({"train": ["wait"]})
    wait_for("train", (bench.home / "train" / "ready").exists, process)
    process.kill()
    process.wait()
    assert bench.step("train")["state"] in ("Running", "Starting")
    wait_for("the end of the trainer", (bench.home / "train" / "termination.json").exists)
    assert bench.run() == 0
    assert bench.step("train")["attempt"] == 2


def test_time_after_a_killed_run_does_not_count_for_the_deadline_of_its_step(bench: Bench) -> None:
    bench.manifest["spec"]["steps"] = bench.manifest["spec"]["steps"][:1]
    bench.manifest["spec"]["steps"][0]["activeDeadlineSeconds"] = 600
    process = bench.start({"convert": ["wait"]})
    wait_for("the step's time", lambda: bench.calls() != [] and "activeSince" in bench.step("convert"), process)
    process.kill()
    process.wait()
    wait_for("the end of the trainer", (bench.home / "convert" / "termination.json").exists)
    file = bench.home / "experiment-status.json"
    content = json.loads(file.read_text())
    content["status"]["steps"][0]["activeSince"] = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(content))
    assert bench.run() == 0
    assert bench.step("convert")["activeSeconds"] < 600


def test_error_in_the_run_itself_leaves_no_trainer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.manifest["spec"]["steps"] = bench.manifest["spec"]["steps"][:1]

    def fail(*_: object) -> None:
        if (bench.home / "convert" / "ready").exists():
            assert bench.left()
            raise RuntimeError("the terminal is gone")

    monkeypatch.setattr(PlainDisplay, "update", fail)
    with pytest.raises(RuntimeError, match="the terminal is gone"):
        bench.run(convert=["stubborn"])
    wait_for("the end of the trainer", lambda: not bench.left())


def test_second_run_of_an_experiment_at_the_same_time_is_refused(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    process = bench.start({"train": ["wait"]})
    wait_for("train", (bench.home / "train" / "ready").exists, process)
    assert bench.run() == 64
    assert "another maskrcnn-operator run" in caplog.text
    process.terminate()
    assert process.wait(30) == 143


def test_the_key_comes_from_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.manifest["spec"]["encryptionKeySecretRef"] = {"name": "model-key"}
    assert bench.run() == 64
    assert not bench.calls()
    monkeypatch.setenv("MASKRCNN_KEY", "secret")
    assert bench.run() == 0
    assert {call["environment"]["MASKRCNN_KEY"] for call in bench.calls()} == {"secret"}
    assert all("secret" not in " ".join(call["arguments"]) for call in bench.calls())


def test_key_is_ignored_unless_the_manifest_refers_to_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_KEY", "secret")
    assert bench.run() == 0
    assert all("MASKRCNN_KEY" not in call["environment"] for call in bench.calls())


def test_ignored_fields_and_too_many_processes_are_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="maskrcnn_operator")
    spec = bench.manifest["spec"]
    spec["queueName"] = "gpus"
    spec["podOverrides"] = {"nodeSelector": {"gpu": "a100"}}
    spec["steps"][2].update(nodes=999, resources={"requests": {"cpu": 4}})
    spec["steps"][0].update(image="convert:1", podOverrides={"nodeSelector": {"gpu": "none"}})
    bench.run()
    for field in (
        "spec.workspace",
        "spec.queueName",
        "spec.podOverrides",
        "spec.steps[0].image",
        "spec.steps[0].podOverrides",
        "spec.steps[2].resources",
    ):
        assert f"{field} is ignored in a local run" in caplog.text
    assert "step train runs 999 processes" in caplog.text


def test_object_storage_of_the_manifest_is_ignored(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="maskrcnn_operator")
    bench.manifest["spec"]["workspace"] = {"objectStorage": {"url": "s3://lab", "takeOverFrom": "other/3"}}
    # below the URL of the manifest, which isn't the workspace of this run
    bench.manifest["spec"]["experiment"]["checkpoint"] = "s3://lab/weights.npz"
    assert bench.run() == 0
    assert "spec.workspace is ignored in a local run: --workspace is the directory" in caplog.text
    assert all("other/3" not in call["environment"].values() for call in bench.calls())
    assert bench.status()["modelPath"].startswith("/workspace/")
    assert "workspace" not in bench.status()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m["spec"]["steps"][3].update(modelFrom="missing"),
            "steps[3].modelFrom: found missing, but there is no such step",
        ),
        (
            lambda m: m["spec"]["experiment"].update(checkpoint="weights.npz"),
            "spec.experiment.checkpoint: found 'weights.npz'",
        ),
        (lambda m: m["spec"]["experiment"].update(totalStep=3), "spec.experiment.totalStep"),
        (lambda m: m["spec"].update(suspend=True), "spec.suspend is true"),
        (lambda m: m.update(kind="Experiment"), "expected exactly one MaskRCNNExperiment"),
    ],
)
def test_invalid_manifest_starts_no_step(
    bench: Bench, caplog: pytest.LogCaptureFixture, change: Any, message: str
) -> None:
    change(bench.manifest)
    assert bench.run() == 64
    assert message in caplog.text
    assert not bench.calls()


def test_unusable_workspace_exits_with_64(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.workspace.write_text("a file")
    assert bench.run() == 64
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert message == (
        f"--workspace {bench.workspace} cannot be used: {bench.home}: Not a directory; part of the path is a file; "
        "give a directory"
    )


def test_failure_is_logged_once_with_this_machines_paths(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    assert bench.run(**{"convert": [64], "convert-val": [64]}) == 64
    lines = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert lines == [
        "step convert: InvalidData: dataset_convert found InvalidData in ws/raw/a.jpg",
        "step convert-val: InvalidData: dataset_convert found InvalidData in ws/raw/a.jpg",
        "Failed: convert, convert-val",
    ]
    assert "in ws/raw/a.jpg" in bench.output.getvalue()


def test_a_path_that_is_wrong_for_all_steps_is_one_problem(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.manifest["spec"]["experiment"]["checkpoint"] = "weights.npz"
    assert bench.run() == 64
    assert caplog.text.count("weights.npz") == 1


def test_workspace_path_with_pattern_characters_is_refused(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.workspace = bench.folder / "a,b"
    assert bench.run() == 64
    assert "--workspace" in caplog.text


def unreadable_manifest(folder: Path, kind: str) -> Path:
    file = folder / "m.yaml"
    if kind == "directory":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "utf-16":
        file.write_text("kind: MaskRCNNExperiment", encoding="utf-16")
    return Path("/dev/zero") if kind == "device" else file


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "cannot be read: No such file or directory"),
        ("directory", "cannot be read: Is a directory"),
        ("pipe", "cannot be read: it is a pipe, a socket, or a device, not a plain file"),
        ("device", "cannot be read: it is a pipe, a socket, or a device, not a plain file"),
        ("utf-16", "is UTF-16 text; save it as UTF-8"),
    ],
)
def test_unreadable_manifest_is_logged_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, message: str
) -> None:
    console, file = Console(file=io.StringIO()), unreadable_manifest(tmp_path, kind)
    assert run_manifest(file, tmp_path / "ws", jobs=1, console=console, trainer=("false",)) == 64
    assert [record.getMessage() for record in caplog.records] == [f"the manifest {file} {message}"]
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", ""], "argument manifest: the path is empty;"),
        (["run", "m.yaml", "--workspace", ""], "argument --workspace: the path is empty;"),
        (["run", "m.yaml", "--workspace="], "argument --workspace: the path is empty;"),
        (["run", "m.yaml", "--workspace", "file:///w"], "argument --workspace: a URL of a file isn't accepted here"),
        (["run", "s3://b/m.yaml"], "argument manifest: a URL isn't accepted here"),
        (["run", "m.yaml", "--cache", "s3://b/c"], "argument --cache: a URL isn't accepted here"),
        (["run", "m.yaml", "--store-config", "s3://b/c"], "argument --store-config: a URL isn't accepted here"),
        (["controller", "--kubeconfig", ""], "argument --kubeconfig: the path is empty;"),
        (["run", "m.yaml", "--jobs", "9" * 5000], f"argument --jobs: '{'9' * 40}' isn't a whole number from 1 to"),
    ],
    ids=range(9),
)
def test_invalid_command_line_exits_with_64(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 64
    assert message in capsys.readouterr().err


def test_a_calibration_on_images_of_an_older_release_runs_once_more(bench: Bench) -> None:
    """The manifest may have another seed than the one that selected the calibration images."""
    export = {"dataType": "int8", "calibration": {"imageDir": "/workspace/raw"}}
    bench.manifest["spec"]["steps"].append({"name": "export", "export": export, "modelFrom": "train"})
    assert bench.run() == 0
    by_older_release(bench)
    started = bench.started()
    assert bench.run() == 0
    assert bench.started() == [*started, "export"]
    assert bench.run() == 0
    assert bench.started() == [*started, "export"]


def test_two_steps_of_one_name_are_refused_with_the_manifests_file_name(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.manifest["spec"]["steps"][1]["name"] = "convert"
    assert bench.run() == 64
    assert bench.output.getvalue() == ""
    assert not bench.workspace.exists()
    file = bench.folder / "experiment.yaml"
    right = "spec.steps[1].name: found convert, which is also the name of spec.steps[0]; names must be unique"
    assert [line.getMessage() for line in caplog.records if line.levelname == "ERROR"] == [f"{file}: {right}"]
