"""Reports of a task: status.json, the termination message, result.json, posted records."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from maskrcnn_trainer.errors import InvalidInput, Stopped, TryAgain
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task import posting
from maskrcnn_trainer.task.artifacts import artifact_bytes, artifact_sha256, read_result
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.posting import HttpPoster
from maskrcnn_trainer.task.publication import LaunchPublication, TaskPublication
from maskrcnn_trainer.task.reporter import Reporter, task_report

RECORD_KEYS = [
    "date", "time", "status", "message", "epoch", "max_epoch", "step", "total_steps", "eta", "time_per_epoch", "kpi",
    "graphical", "checkpointStep",
]  # fmt: skip


class RecordingPoster:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.closed = False

    def offer(self, record: Any) -> None:
        self.records.append(dict(record))

    def close(self) -> None:
        self.closed = True


def status_records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


@pytest.fixture
def environment(tmp_path: Path) -> TaskEnvironment:
    return TaskEnvironment(fingerprint="9f2c-v1", attempt=3, termination_log=str(tmp_path / "termination.json"))


def test_environment_is_read_from_its_variables() -> None:
    environment = TaskEnvironment.from_environ(
        {"MASKRCNN_RESULTS_DIR": "/r", "MASKRCNN_ATTEMPT": "4", "MASKRCNN_KEY": "secret", "MASKRCNN_REPORT_URL": ""}
    )
    assert environment == TaskEnvironment(results_dir="/r", attempt=4, key="secret")
    assert "secret" not in repr(environment)
    with pytest.raises(InvalidInput, match="MASKRCNN_ATTEMPT: 'two'"):
        TaskEnvironment.from_environ({"MASKRCNN_ATTEMPT": "two"})
    with pytest.raises(InvalidInput, match="MASKRCNN_ATTEMPT: '999"):
        TaskEnvironment.from_environ({"MASKRCNN_ATTEMPT": "9" * 5000})


def test_status_records(tmp_path: Path, environment: TaskEnvironment) -> None:
    reporter = Reporter("train", tmp_path / "new" / "folder", environment)
    reporter.started("Starting MaskRCNN training.")
    reporter.running(
        epoch=3, max_epoch=10, step=300, total_steps=1000, eta=750, time_per_epoch=100.2,
        kpi={"AP": 0.31, "APl": math.nan}, graphical={"loss": 0.61},
    )  # fmt: skip
    started, running = status_records(tmp_path / "new" / "folder")
    assert list(started) == list(running) == RECORD_KEYS
    assert (started["status"], started["message"]) == ("STARTED", "Starting MaskRCNN training.")
    assert started["kpi"] == started["graphical"] == {}
    assert started["step"] is None
    assert [running[key] for key in RECORD_KEYS[4:]] == [
        3, 10, 300, 1000, "0:12:30", "0:01:40", {"AP": 0.31}, {"loss": 0.61}, None,
    ]  # fmt: skip


def test_a_torn_line_does_not_swallow_the_next_record(tmp_path: Path, environment: TaskEnvironment) -> None:
    (tmp_path / "status.json").write_text('{"date":"11/2')
    Reporter("train", tmp_path, environment).started("again")
    torn, record = (tmp_path / "status.json").read_text().splitlines()
    assert torn == '{"date":"11/2'
    assert json.loads(record)["message"] == "again"


def test_report_is_made_about_a_finished_result_and_named_in_it(tmp_path: Path, environment: TaskEnvironment) -> None:
    seen = []

    def make_report() -> Path:
        seen.append(json.loads((tmp_path / "result.json").read_text()))
        return tmp_path / "report.html"

    with task_report(TaskName.EVALUATE, tmp_path, environment) as reporter:
        reporter.succeeded("Finished.", metrics={"AP": 0.377}, device="GPU of a test", make_report=make_report)
    (before,) = seen
    result = json.loads((tmp_path / "result.json").read_text())
    assert "reportPath" not in before
    assert before["device"] == "GPU of a test"
    assert result == before | {"reportPath": f"{tmp_path}/report.html"}
    assert json.loads((tmp_path / "termination.json").read_bytes())["reportPath"] == result["reportPath"]


def test_result_without_a_report_names_none(tmp_path: Path, environment: TaskEnvironment) -> None:
    with task_report(TaskName.EVALUATE, tmp_path, environment) as reporter:
        reporter.succeeded("Finished.", make_report=lambda: None)
    for name in ("result.json", "termination.json"):
        assert "reportPath" not in json.loads((tmp_path / name).read_bytes())


def test_success_writes_result_and_termination_message(tmp_path: Path, environment: TaskEnvironment) -> None:
    model = tmp_path / "model.step-7.tlt"
    model.write_bytes(b"weights")
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    (logs / "a").write_bytes(b"12")
    (logs / "deep" / "b").write_bytes(b"345")
    given = f"{tmp_path}/./model.step-7.tlt"
    with task_report(TaskName.TRAIN, tmp_path, environment, processes=2, threads=5) as reporter:
        reporter.running(step=7, checkpoint_step=7)
        reporter.succeeded(
            "Training finished successfully.", metrics={"AP": 0.377}, artifacts={"model": given, "logs": logs},
            model_path=given,
        )  # fmt: skip
    message = json.loads((tmp_path / "termination.json").read_bytes())
    assert message == {
        "version": 1, "task": "train", "code": 0, "fingerprint": "9f2c-v1", "attempt": 3, "modelPath": given,
        "metrics": {"AP": 0.377}, "checkpointStep": 7, "error": None,
        "artifacts": {"model": {"path": given, "bytes": 7}, "logs": {"path": str(logs), "bytes": 5}},
    }  # fmt: skip
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["artifacts"]["model"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert {key: result[key] for key in message if key != "artifacts"} == {
        key: value for key, value in message.items() if key != "artifacts"
    }
    assert (result["image"], result["processes"], result["threads"]) == (None, 2, 5)
    assert result["versions"]["numpy"] == "2.0.2"
    assert result["startTime"] <= result["completionTime"]
    assert status_records(tmp_path)[-1]["kpi"] == {"AP": 0.377}
    assert read_result(tmp_path, "9f2c-v1") == result
    assert read_result(tmp_path, "another") is None
    model.write_bytes(b"weights, longer")
    assert read_result(tmp_path, "9f2c-v1") is None


def test_facts_are_in_the_result_and_not_in_the_termination_message(
    tmp_path: Path, environment: TaskEnvironment
) -> None:
    facts = {"images": 2, "classes": [{"id": 1, "name": "a" * 5000}]}
    with task_report(TaskName.DATASET_CONVERT, tmp_path, environment) as reporter:
        reporter.succeeded(metrics={"images": 2}, facts=facts)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["facts"] == facts
    assert read_result(tmp_path, "9f2c-v1") == result
    message = json.loads((tmp_path / "termination.json").read_bytes())
    assert message.keys() < result.keys()
    assert "facts" not in message
    assert "facts" not in (tmp_path / "status.json").read_text()


def test_result_without_facts_has_no_member_for_them(tmp_path: Path, environment: TaskEnvironment) -> None:
    with task_report(TaskName.EVALUATE, tmp_path, environment) as reporter:
        reporter.succeeded()
    assert "facts" not in json.loads((tmp_path / "result.json").read_text())


def test_an_artifact_can_be_a_set_of_files(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"train-{index:05d}-of-00003.tfrecord").write_bytes(b"x" * (index + 1))
    pattern = tmp_path / "train-*-of-00003.tfrecord"
    assert artifact_bytes(pattern) == 6
    before = artifact_sha256(pattern)
    (tmp_path / "train-00001-of-00003.tfrecord").write_bytes(b"yy")
    assert artifact_sha256(pattern) != before
    with pytest.raises(FileNotFoundError):
        artifact_bytes(tmp_path / "none-*")


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (
            InvalidInput("numClasses: 1 is too few", reason="InvalidSpec"),
            (64, "InvalidSpec"),
            "numClasses: 1 is too few",
        ),
        (TryAgain("a peer was lost"), (75, "TryAgain"), "a peer was lost"),
        (Stopped("stopped"), (143, "Stopped"), "stopped"),
        (KeyboardInterrupt(), (143, "Stopped"), "Interrupted."),
        (OSError(errno.ENOSPC, "No space left on device", "/w/x"), (70, "WorkspaceFull"), "/w/x"),
        (ValueError("odd"), (1, "Failed"), "ValueError: odd"),
        (SystemExit(9), (9, "Failed"), "9"),
    ],
)
def test_failures(
    tmp_path: Path, environment: TaskEnvironment, error: BaseException, expected: tuple[int, str], text: str
) -> None:
    with pytest.raises(SystemExit) as stopped, task_report(TaskName.DATASET_CONVERT, tmp_path, environment):
        raise error
    assert stopped.value.code == expected[0]
    message = json.loads((tmp_path / "termination.json").read_bytes())
    assert (message["code"], message["error"]["reason"]) == expected
    assert text in message["error"]["message"]
    assert [record["status"] for record in status_records(tmp_path)] == ["STARTED", "FAILURE"]
    assert not (tmp_path / "result.json").exists()


def test_task_that_does_not_report_success_has_failed(tmp_path: Path, environment: TaskEnvironment) -> None:
    with pytest.raises(SystemExit) as stopped, task_report(TaskName.TRAIN, tmp_path, environment):
        pass
    assert stopped.value.code == 1


def test_a_result_that_cannot_be_written_is_a_failure(tmp_path: Path, environment: TaskEnvironment) -> None:
    def taken_over() -> None:
        raise TryAgain("another run took over")

    with (
        pytest.raises(SystemExit) as stopped,
        task_report(TaskName.TRAIN, tmp_path, environment, before_write=taken_over) as reporter,
    ):
        reporter.succeeded()
    assert stopped.value.code == 75
    assert not (tmp_path / "result.json").exists()
    assert json.loads((tmp_path / "termination.json").read_bytes())["code"] == 75


def test_an_old_result_stays_until_its_outputs_are_about_to_change(
    tmp_path: Path, environment: TaskEnvironment
) -> None:
    Reporter("train", tmp_path, environment).succeeded()
    assert read_result(tmp_path, "9f2c-v1") is not None
    with pytest.raises(SystemExit), task_report(TaskName.TRAIN, tmp_path, environment):
        raise InvalidInput("a spec that cannot work")
    assert read_result(tmp_path, "9f2c-v1") is not None
    again = Reporter("train", tmp_path, environment)
    again.started()
    again.accepted()
    assert not (tmp_path / "result.json").exists()


def test_a_results_directory_that_cannot_be_made_is_named(tmp_path: Path, environment: TaskEnvironment) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended, task_report(TaskName.TRAIN, tmp_path / "file" / "results", environment):
        raise AssertionError("the task must not begin")
    assert ended.value.code == 64


def test_stop_is_not_an_error_and_is_reported_by_one_rank(
    tmp_path: Path, environment: TaskEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    for rank in (0, 1):
        with pytest.raises(SystemExit) as ended, task_report(TaskName.TRAIN, tmp_path, environment, rank=rank):
            raise Stopped("stopped on request")
        assert ended.value.code == 143
    said = [record for record in caplog.records if record.levelname != "DEBUG"]
    assert [(record.levelname, record.message) for record in said] == [("WARNING", "stopped on request")]


def test_other_ranks_are_silent(tmp_path: Path, environment: TaskEnvironment) -> None:
    with task_report(TaskName.TRAIN, tmp_path / "results", environment, rank=1) as reporter:
        reporter.running(step=1)
        reporter.succeeded(artifacts={"model": "/nowhere"})
    with pytest.raises(SystemExit) as stopped, task_report(TaskName.TRAIN, tmp_path / "results", environment, rank=1):
        raise InvalidInput("no")
    assert stopped.value.code == 64
    assert list(tmp_path.iterdir()) == []


def test_posted_records_name_their_sender(tmp_path: Path) -> None:
    poster = RecordingPoster()
    environment = TaskEnvironment(fingerprint="9f2c-v1", attempt=2, experiment_uid="uid")
    reporter = Reporter("train", tmp_path, environment, poster=poster)
    reporter.started()
    reporter.running(step=5, checkpoint_step=5)
    reporter.running(step=6)
    reporter.succeeded()
    assert [record["checkpointStep"] for record in poster.records] == [None, 5, 5, 5]
    assert [record["checkpointStep"] for record in status_records(tmp_path)] == [None, 5, 5, 5]
    assert poster.records[2] == {
        "version": 1, "task": "train", "experimentUid": "uid", "fingerprint": "9f2c-v1", "attempt": 2,
    } | status_records(tmp_path)[2]  # fmt: skip
    assert poster.closed


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[dict[str, str], dict[str, Any]]], threading.Semaphore]]:
    received: list[tuple[dict[str, str], dict[str, Any]]] = []
    arrived = threading.Semaphore(0)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((dict(self.headers), body))
            self.send_response(200 if body["step"] != 500 else 500)
            self.end_headers()
            arrived.release()

        def do_GET(self) -> None:
            received.append((dict(self.headers), {}))
            self.send_response(200)
            self.end_headers()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/report", received, arrived
    http.shutdown()
    http.server_close()


def test_posts_are_rare_and_the_newest(server: Any) -> None:
    url, received, arrived = server
    poster = HttpPoster(TaskEnvironment(report_url=url), interval=1.0).start()
    poster.offer({"step": 1})
    assert arrived.acquire(timeout=20)
    poster.offer({"step": 2, "kpi": {"AP": 0.5}})
    poster.offer({"step": 3, "kpi": {}})
    assert arrived.acquire(timeout=20)
    poster.offer({"step": 4})
    poster.close()
    assert [body for _, body in received] == [{"step": 1}, {"step": 3, "kpi": {"AP": 0.5}}]
    assert received[0][0]["Content-Type"] == "application/json"


def test_a_failed_post_is_logged_once(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    url, received, arrived = server
    poster = HttpPoster(TaskEnvironment(report_url=url), interval=0.0).start()
    for _ in range(3):
        poster.offer({"step": 500})
        assert arrived.acquire(timeout=20)
    poster.close(patience=20)
    assert len(received) == 3
    assert len([record for record in caplog.records if "could not be posted" in record.message]) == 1


def test_a_token_is_never_sent_in_the_clear(server: Any, tmp_path: Path) -> None:
    url, received, arrived = server
    (tmp_path / "token").write_text("secret")
    poster = HttpPoster(TaskEnvironment(report_url=url, report_token_file=str(tmp_path / "token"))).start()
    poster.offer({"step": 1})
    assert arrived.acquire(timeout=20)
    poster.close()
    assert "secret" not in str(received)


def test_a_wrong_address_does_not_stop_a_task(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Reporter("train", tmp_path, TaskEnvironment(report_url="ftp://x")).started()
    assert "'ftp://x' must be an http:// or https:// URL" in caplog.text


def test_the_token_is_read_again_at_every_post_over_https(tmp_path: Path) -> None:
    tokens: list[str | None] = []
    arrived = threading.Semaphore(0)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            tokens.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            arrived.release()

    token = tmp_path / "token"
    token.write_text("first\n")
    with https_server(tmp_path, Handler) as environment:
        poster = HttpPoster(replace(environment, report_token_file=str(token)), interval=0.0).start()
        poster.offer({"step": 1})
        assert arrived.acquire(timeout=20)
        token.write_text("second\n")
        poster.offer({"step": 2})
        assert arrived.acquire(timeout=20)
        poster.close(patience=20)
    assert tokens == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_that_the_token_stays_with_its_host(
    server: Any, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere, received, _ = server
    tokens: list[str | None] = []

    class Redirecting(QuietHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            tokens.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Location", elsewhere)
            self.end_headers()

    (tmp_path / "token").write_text("secret")
    with https_server(tmp_path, Redirecting) as environment:
        poster = HttpPoster(replace(environment, report_token_file=str(tmp_path / "token"))).start()
        poster.offer({"step": 1})
        poster.close(patience=20)
    assert tokens == ["Bearer secret"]
    assert received == []
    assert f"HTTP Error {status}" in caplog.text


class QuietHandler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def https_server(folder: Path, handler: type[BaseHTTPRequestHandler]) -> Iterator[TaskEnvironment]:
    """Serve ``handler`` over HTTPS, and yield an environment that reports to it."""
    certificate, key = self_signed_certificate(folder)
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        url = f"https://localhost:{http.server_port}/report"
        yield TaskEnvironment(report_url=url, report_ca_file=str(certificate))
    finally:
        http.shutdown()
        http.server_close()


def self_signed_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "server.pem", folder / "server.key"


@pytest.mark.parametrize("content", ['{"scores": [1]}', "[]", '{"a": 1}\n{"a": 2}\n', "[" * 100_000])
def test_a_result_of_another_program_is_neither_removed_nor_replaced(
    tmp_path: Path, environment: TaskEnvironment, content: str
) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(SystemExit) as stopped, task_report(TaskName.EVALUATE, tmp_path, environment) as reporter:
        reporter.succeeded()
    assert stopped.value.code == 64
    assert (tmp_path / "result.json").read_text() == content


@pytest.mark.parametrize("content", ["", "\0" * 300, '{\n  "version": 1,\n  "ta'])
def test_a_damaged_result_is_replaced(tmp_path: Path, environment: TaskEnvironment, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with task_report(TaskName.EVALUATE, tmp_path, environment) as reporter:
        reporter.succeeded()
    assert read_result(tmp_path, "9f2c-v1") is not None


@pytest.mark.parametrize("kind", ["deep", "pipe"])
def test_a_result_that_cannot_be_read_is_none(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "result.json")
    else:
        (tmp_path / "result.json").write_text("[" * 100_000)
    assert read_result(tmp_path, "9f2c-v1") is None


@pytest.fixture
def publication() -> Iterator[tuple[LaunchPublication, TaskPublication]]:
    launch_end, task_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with launch_end, task_end:
        yield LaunchPublication(launch_end, task_end), TaskPublication(task_end)


Publication = tuple[LaunchPublication, TaskPublication]


def test_checkpoint_counts_once_it_is_published(
    tmp_path: Path, environment: TaskEnvironment, publication: Publication
) -> None:
    launch, task = publication
    reporter = Reporter("train", tmp_path, environment, publication=task)
    reporter.running(checkpoint_step=10)
    launch.published(10)
    reporter.running()
    reporter.running(checkpoint_step=20)
    assert [record["checkpointStep"] for record in status_records(tmp_path)] == [None, 10, 10]


def test_failure_names_the_published_checkpoint(
    tmp_path: Path, environment: TaskEnvironment, publication: Publication
) -> None:
    launch, task = publication
    reporter = Reporter("train", tmp_path, environment, publication=task)
    launch.published(10)
    reporter.running(checkpoint_step=20)
    reporter.failed(TryAgain("lost"))
    assert json.loads((tmp_path / "termination.json").read_bytes())["checkpointStep"] == 10


def test_checkpoint_is_announced_with_its_record_on_the_disk(
    tmp_path: Path, environment: TaskEnvironment, publication: Publication
) -> None:
    launch, task = publication
    Reporter("train", tmp_path, environment, publication=task).running("written", checkpoint_step=10)
    assert next(launch.announced()) == 10
    assert status_records(tmp_path)[-1]["message"] == "written"


def test_record_of_a_checkpoint_is_posted_while_the_checkpoint_counts_as_waiting(
    tmp_path: Path, environment: TaskEnvironment, publication: Publication
) -> None:
    _, task = publication
    waited: list[bool] = []

    class WaitPoster(RecordingPoster):
        def offer(self, record: Any) -> None:
            waited.append(task.unpublished_seconds is not None)

    Reporter("train", tmp_path, environment, poster=WaitPoster(), publication=task).running(checkpoint_step=10)
    assert waited == [True]


def test_posts_have_what_the_launcher_has_published(
    tmp_path: Path,
    environment: TaskEnvironment,
    publication: Publication,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch, task = publication
    url, received, arrived = server
    monkeypatch.setattr(posting, "SECONDS_OF_A_USUAL_PUBLISH", 0.0)
    launch.published(10)
    reporter = Reporter("train", tmp_path, replace(environment, report_url=url), publication=task)
    task.announce(20)
    reporter.started()
    assert arrived.acquire(timeout=20)
    reporter.failed(TryAgain("lost"))
    assert (received[0][1]["checkpointStep"], received[0][1]["unpublishedSeconds"]) == (10, 0)


def test_other_ranks_announce_nothing(tmp_path: Path, environment: TaskEnvironment, publication: Publication) -> None:
    launch, task = publication
    Reporter("train", tmp_path, environment, rank=1, publication=task).running(checkpoint_step=10)
    launch.release()
    assert list(launch.announced()) == []
