"""Local runs whose workspace is in object storage, with a fake trainer."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from typing import Any

import pytest
import yaml

from maskrcnn_operator.cli import main
from maskrcnn_operator.local.executor import LocalExecutor

from .bench import StoreBench, wait_for, warnings

# A hanging run must fail before CI kills pytest, which would then run no finalizers and leave processes behind.
pytestmark = pytest.mark.timeout(300)

URL = "s3://bucket/prefix"


def test_experiment_succeeds_and_leaves_no_working_files(store_bench: StoreBench) -> None:
    assert store_bench.run() == 0
    assert store_bench.started() == ["convert", "convert-val", "train", "evaluate"]
    assert store_bench.status()["modelPath"] == "/workspace/shapes/train/train.bin"
    assert sorted(path.name for path in store_bench.home.iterdir()) == [
        ".lock",
        ".logs",
        "experiment-status.json",
        "report.html",
        "report.json",
    ]


def test_task_gets_the_url_of_its_results_and_paths_as_written(store_bench: StoreBench) -> None:
    assert store_bench.run() == 0
    convert, _, train, evaluate = store_bench.calls()
    at = convert["arguments"].index("dataset_convert")
    assert convert["arguments"][at + 1 : at + 7] == [
        *("-i", "/workspace/raw", "-a", "/data/train.json", "-o", f"{URL}/shapes/convert"),
    ]
    spec = yaml.safe_load((store_bench.home / ".logs" / "train.attempt-1.spec.yaml").read_text())
    assert spec["checkpoint"] == "/workspace/weights/resnet.npz"
    assert spec["dataConfig"]["trainingFilePattern"] == "/workspace/shapes/convert/train-*.tfrecord"
    assert train["environment"]["MASKRCNN_RESULTS_DIR"] == f"{URL}/shapes/train"
    arguments = evaluate["arguments"]
    assert arguments[arguments.index("-m") + 1] == "/workspace/shapes/train/train.bin"


def test_page_in_a_directory_that_does_not_exist_is_refused_before_a_step_starts(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    short.page = short.folder / "absent" / "page.html"
    assert short.run() == 64
    assert f"the directory {short.folder / 'absent'} doesn't exist" in caplog.text
    assert short.started() == []


def test_warning_about_publishing_is_shown_once_in_a_run(
    store_bench: StoreBench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NOTICE", "could not be published, which is tried again: the store is down")
    assert store_bench.run() == 0
    shown = [record.getMessage() for record in caplog.records if "could not be published" in record.getMessage()]
    assert len(shown) == 1
    assert shown[0].startswith("Step convert")
    assert shown[0].endswith("could not be published, which is tried again: the store is down")


def test_task_gets_owner_creation_and_working_directory(short: StoreBench) -> None:
    assert short.run() == 0
    (call,) = short.calls()
    environment, metadata = call["environment"], short.metadata()
    assert environment["MASKRCNN_OWNER_ID"] == metadata["ownerId"]
    assert environment["MASKRCNN_CREATED"] == metadata["creationTimestamp"]
    assert environment["MASKRCNN_EXPERIMENT_UID"] == metadata["uid"]
    assert environment["MASKRCNN_WORKING_DIR"] == str(short.working)
    absent = {"MASKRCNN_OWNER_NAMESPACE", "MASKRCNN_TAKE_OVER_FROM", "MASKRCNN_WORKSPACE", "MASKRCNN_WORKSPACE_URL"}
    assert not absent & environment.keys()


def test_task_gets_the_fingerprints_of_every_step_before_it(store_bench: StoreBench) -> None:
    assert store_bench.run() == 0
    given = json.loads(store_bench.calls()[3]["environment"]["MASKRCNN_INPUT_FINGERPRINTS"])
    recorded = {
        step["name"]: [step["olderFingerprint"], step["fingerprint"]]
        for step in store_bench.status()["steps"]
        if step["name"] != "evaluate"
    }
    assert given == recorded
    assert json.loads(store_bench.calls()[0]["environment"]["MASKRCNN_INPUT_FINGERPRINTS"]) == {}


def test_status_has_the_hashes_of_the_result_that_a_message_lacks(short: StoreBench) -> None:
    assert short.run() == 0
    (artifact,) = short.step("convert")["artifacts"].values()
    assert artifact == {"path": "/workspace/shapes/convert/dataset_convert.bin", "bytes": 10, "sha256": "d" * 64}


def test_log_of_an_attempt_stays_in_the_state_directory(short: StoreBench) -> None:
    assert short.run() == 0
    log = short.home / ".logs" / "convert.attempt-1.log"
    assert log.read_text() == "attempt 1 of dataset_convert\n"


def test_logs_of_old_attempts_are_removed(short: StoreBench) -> None:
    logs = short.home / ".logs"
    logs.mkdir(parents=True)
    for attempt in range(101, 111):
        (logs / f"convert.attempt-{attempt}.log").touch()
    (logs / "convert.attempt-0.log").touch()
    assert short.run() == 0
    assert not (logs / "convert.attempt-0.log").exists()


def test_finished_experiment_starts_nothing(store_bench: StoreBench) -> None:
    assert store_bench.run() == 0
    assert store_bench.run() == 0
    assert len(store_bench.calls()) == 4
    assert [call["arguments"] for call in store_bench.listings()] == [
        ["artifacts", URL, "list", "shapes", "--json"],
        ["artifacts", URL, "list", "shapes", "--json"],
    ]


def test_step_whose_results_are_gone_runs_again(store_bench: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    assert store_bench.run() == 0
    (store_bench.folder / "store" / "train.step").unlink()
    assert store_bench.run() == 0
    assert store_bench.started()[4:] == ["train"]
    assert f"train: its result in {URL}/shapes/train is missing or incomplete; the step runs again" in warnings(caplog)


def test_step_with_results_of_another_fingerprint_runs_again(short: StoreBench) -> None:
    assert short.run() == 0
    (short.folder / "store" / "convert.step").write_text('"another"')
    assert short.run() == 0
    assert short.started() == ["convert", "convert"]
    assert short.step("convert")["attempt"] == 2


def test_changed_step_runs_again_alone(store_bench: StoreBench) -> None:
    assert store_bench.run() == 0
    store_bench.manifest["spec"]["steps"][3]["revision"] = "again"
    assert store_bench.run() == 0
    assert store_bench.started()[4:] == ["evaluate"]


def test_listing_gets_stores_but_neither_key_nor_gpus(short: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_KEY", "secret")
    short.manifest["spec"]["encryptionKeySecretRef"] = {"name": "model-key"}
    short.store_config = short.folder / "stores.yaml"
    short.store_config.write_text(yaml.safe_dump([{"prefix": "s3://bucket", "secretDir": "keys"}]))
    assert short.run() == 0
    (listing,) = short.listings()
    (store,) = json.loads(listing["environment"]["MASKRCNN_OBJECT_STORES"])
    assert store["secretDir"] == str(short.folder / "keys")
    assert "MASKRCNN_KEY" not in listing["environment"]


@pytest.mark.parametrize(
    ("behavior", "code", "problem"),
    [
        (64, 64, "exit code 64: the bucket doesn't exist"),
        (75, 1, "exit code 75: the bucket doesn't exist"),
        ("garbage", 64, "maskrcnn artifacts printed something else"),
    ],
)
def test_finished_step_that_cannot_be_checked_ends_the_run(
    short: StoreBench, caplog: pytest.LogCaptureFixture, behavior: object, code: int, problem: str
) -> None:
    assert short.run() == 0
    assert short.run(artifacts=[behavior]) == code
    assert warnings(caplog) == [f"the results in {URL} can't be listed: {problem}"]
    assert len(short.calls()) == 1


def test_new_experiment_starts_although_the_store_cannot_be_listed(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    assert short.run(artifacts=[64]) == 0
    assert warnings(caplog) == [f"the results in {URL} can't be listed: exit code 64: the bucket doesn't exist"]


def test_store_that_does_not_answer_at_the_start_is_a_warning(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    assert short.run(artifacts=["retrying"]) == 0
    assert warnings(caplog) == ["s3://bucket/prefix/shapes: there is no connection"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_during_the_check_of_the_store_ends_it(short: StoreBench, number: signal.Signals, code: int) -> None:
    process = short.start({"artifacts": ["wait"]}, "--state-dir", str(short.state_dir))
    wait_for("the listing", lambda: short.listings() != [], process)
    process.send_signal(number)
    assert process.wait(30) == code
    assert short.calls() == []
    assert not short.left()


def test_interrupted_run_continues_in_its_working_files(store_bench: StoreBench) -> None:
    process = store_bench.start({"train": ["wait"]}, "--state-dir", str(store_bench.state_dir))
    train = store_bench.working / "shapes" / "train"
    wait_for("train", (train / "ready").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert store_bench.step("train")["checkpointStep"] == 7
    assert [path.name for path in (store_bench.working / "shapes").iterdir()] == ["train"]
    assert store_bench.run(train=["ok", 1, "ok"]) == 0
    assert store_bench.step("train")["attempt"] == 3
    assert not store_bench.working.exists()


def test_killed_run_leaves_working_files_of_unfinished_steps_alone(store_bench: StoreBench) -> None:
    process = store_bench.start({"train": ["wait"]}, "--state-dir", str(store_bench.state_dir))
    train = store_bench.working / "shapes" / "train"
    wait_for("train", (train / "ready").exists, process)
    process.kill()
    process.wait()
    wait_for("the end of the trainer", lambda: not store_bench.left())
    (store_bench.working / "shapes" / "removed").mkdir()
    (store_bench.working / "shapes" / "convert").mkdir()
    assert store_bench.run(train=[64]) == 64
    assert [path.name for path in (store_bench.working / "shapes").iterdir()] == ["train"]


def test_result_that_was_not_published_is_no_success(short: StoreBench) -> None:
    assert short.run(convert=["unpublished", "ok"]) == 0
    assert short.step("convert")["reason"] == "Completed"
    assert (short.folder / "store" / "convert.step").exists()


def test_staged_files_of_an_attempt_are_removed_at_its_end(short: StoreBench) -> None:
    process = short.start({"convert": [1, "wait"]}, "--state-dir", str(short.state_dir))
    wait_for("attempt 2", (short.working / "shapes" / "convert" / "ready").exists, process)
    assert [path.name for path in (short.home / ".staging").iterdir()] == ["convert-2"]
    process.terminate()
    assert process.wait(60) == 143


def test_records_that_were_loaded_from_the_store_are_no_progress(
    short: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    original = LocalExecutor.new_records

    def kept(executor: LocalExecutor) -> list[tuple[str, dict[str, Any]]]:
        records = original(executor)
        seen.extend(record for _, record in records)
        return records

    monkeypatch.setattr(LocalExecutor, "new_records", kept)
    assert short.run(convert=["slow"]) == 0
    assert [record["step"] for record in seen] == [10]


def test_superseded_attempt_is_shown_and_followed_by_a_later_one(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    assert short.run(convert=["superseded", "ok"]) == 0
    assert "Superseded: The results were taken over by attempt 7" in caplog.text
    assert short.step("convert")["attempt"] == 8


def test_attempt_without_a_message_is_shown_with_the_end_of_its_log(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    assert short.run(convert=["unreported"]) == 64
    log = short.home / ".logs" / "convert.attempt-1.log"
    assert f"exit code 64: the variable is wrong; see {log}" in caplog.text


# State directory


def test_state_is_below_the_hash_of_the_url_by_default(short: StoreBench) -> None:
    process = short.start({})
    assert process.wait(60) == 0
    digest = hashlib.sha256(URL.encode()).hexdigest()
    assert (short.folder / "states" / "maskrcnn" / digest / "shapes" / "experiment-status.json").exists()


def test_state_directory_of_another_url_is_refused(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    assert short.run() == 0
    file = short.home / "experiment-status.json"
    file.write_text(file.read_text().replace(URL, "s3://bucket/other"))
    assert short.run() == 64
    assert warnings(caplog) == [
        f"{file} is the status of experiment shapes in the workspace s3://bucket/other: leave --state-dir out, or give "
        "another directory"
    ]


def test_state_directory_of_another_experiment_is_refused(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    assert short.run() == 0
    short.manifest["metadata"]["name"] = "circles"
    assert short.run() == 64
    assert f"is the status of experiment shapes in the workspace {URL}: leave --state-dir out" in caplog.text


def test_second_run_in_one_state_directory_is_refused(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    process = short.start({"convert": ["wait"]}, "--state-dir", str(short.state_dir))
    wait_for("convert", (short.working / "shapes" / "convert" / "ready").exists, process)
    assert short.run() == 64
    assert "another maskrcnn-operator run" in caplog.text
    process.terminate()
    assert process.wait(30) == 143


def test_state_directory_that_is_a_file_is_named(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    short.state_dir.write_text("a file")
    assert short.run() == 64
    (message,) = warnings(caplog)
    assert message.startswith(f"--state-dir {short.state_dir} cannot be used: {short.state_dir}: ")


def test_link_in_place_of_the_working_files_is_refused(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    short.state_dir.mkdir()
    mine = short.folder / "mine"
    (mine / "shapes" / "convert").mkdir(parents=True)
    short.working.symlink_to(mine)
    assert short.run() == 64
    assert f"{short.working} is a link" in caplog.text
    assert (mine / "shapes" / "convert").exists()


# Artifacts


def test_artifacts_have_names_and_the_command_that_loads_them(short: StoreBench) -> None:
    assert short.run(width=60) == 0
    lines = [line.rstrip() for line in short.output.getvalue().splitlines()]
    at = lines.index(f"To load an artifact, run maskrcnn-operator artifacts {URL} get NAME -o DIR")
    assert lines[at + 1] == "artifacts"
    # a file of the store has no object of this name
    assert f"{URL}/shapes" not in short.output.getvalue()
    assert "shapes/convert/" in short.output.getvalue()


def test_report_of_a_step_is_logged_with_the_command_that_loads_it(
    store_bench: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="maskrcnn_operator")
    assert store_bench.run() == 0
    assert store_bench.step("evaluate")["reportPath"] == "/workspace/shapes/evaluate/report.html"
    (line,) = [record.getMessage() for record in caplog.records if "step evaluate: report" in record.getMessage()]
    assert line.endswith(f"run maskrcnn-operator artifacts {URL} get shapes/evaluate/report.html -o DIR")


# Report


def test_report_reads_from_the_store_and_is_in_the_state_directory(short: StoreBench) -> None:
    assert short.run() == 0
    page = short.home / "report.html"
    (report,) = short.reports()
    assert report["arguments"] == ["report", "-r", f"{URL}/shapes", "-o", str(page)]
    assert "MASKRCNN_WORKSPACE" not in report["environment"]
    assert short.output.getvalue().splitlines()[-1] == f"Report: {page}"


def test_report_is_written_where_the_flag_names(short: StoreBench) -> None:
    short.page = short.folder / "page.html"
    assert short.run() == 0
    assert short.page.exists()
    assert not (short.home / "report.html").exists()


def test_current_report_is_not_made_again(short: StoreBench) -> None:
    assert short.run() == 0
    for name in ("report.html", "report.json"):
        # the end of the step is a whole second
        os.utime(short.home / name, ns=(0, (short.home / name).stat().st_mtime_ns + 10**9))
    assert short.run() == 0
    assert len(short.reports()) == 1


def test_failed_report_is_a_warning_with_its_command(
    short: StoreBench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(short.folder)
    assert short.run(report=[70]) == 0
    assert warnings(caplog)[-1].endswith(f"To make it, run maskrcnn report -r {URL}/shapes -o state/report.html")


def test_command_of_a_failed_report_has_the_file_of_the_stores(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    short.store_config = short.folder / "my stores.yaml"
    short.store_config.write_text("[]")
    assert short.run(report=[70]) == 0
    assert warnings(caplog)[-1].endswith(f"report.html --store-config '{short.store_config}'")


# Refusals


def test_input_by_url_in_the_workspace_is_refused(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    short.manifest["spec"]["steps"][0]["datasetConvert"]["imageDir"] = f"{URL}/raw"
    assert short.run() == 64
    assert "spec.steps[0].datasetConvert.imageDir: " in caplog.text
    assert "write /workspace/raw" in caplog.text
    assert not short.home.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workspace", "s3://b/w/"], "argument --workspace: an empty, '.', or '..' segment isn't accepted"),
        (["--workspace", "s3://k:secret@b/w"], "argument --workspace: user info (before an @) isn't accepted"),
        (["--workspace", "file:/w"], "argument --workspace: a URL of a file isn't accepted here"),
        (["--workspace", "http://b/w"], "argument --workspace: a URL must be s3://BUCKET/KEY"),
        (["--state-dir", "s3://b/w"], "argument --state-dir: a URL isn't accepted here"),
        (["--owner-id", "a/b"], "argument --owner-id: 'a/b' isn't 1 to 128 letters, digits, and . _ : -"),
        (["--take-over-from", "ci"], "argument --take-over-from: 'ci' isn't an owner's id, a slash, and its epoch"),
        (["--take-over-from", "ci/0"], "argument --take-over-from: 'ci/0' isn't"),
        (["-o", "report.pdf"], "argument -o/--output: the report is HTML: give a path that ends with .html"),
        (["-o", "s3://b/report.html"], "argument -o/--output: a URL isn't accepted here"),
    ],
    ids=range(10),
)
def test_invalid_flag_exits_with_64(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "m.yaml", *arguments])
    assert ended.value.code == 64
    errors = capsys.readouterr().err
    assert message in errors
    assert "secret" not in errors


def test_wildcard_in_the_url_is_refused(short: StoreBench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(short.write()), "--workspace", "s3://bucket/a*b"]) == 64
    assert "--workspace s3://bucket/a*b: the URL must not contain any of" in capsys.readouterr().err


def test_fingerprints_of_two_releases_count_as_there(short: StoreBench) -> None:
    """The slot in the store has the name of the oldest one."""
    assert short.run() == 0
    stored = json.loads((short.folder / "store" / "convert.step").read_text())
    assert stored == short.step("convert")["olderFingerprint"] != short.step("convert")["fingerprint"]
    assert short.run() == 0
    assert len(short.calls()) == 1
