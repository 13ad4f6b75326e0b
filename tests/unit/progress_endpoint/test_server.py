"""Endpoint over real HTTPS: the trainer's poster succeeds, and all other clients get a clear error in JSON."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.cluster.errors import api_error
from maskrcnn_operator.progress_endpoint import server, tls
from maskrcnn_operator.progress_endpoint.certificates import issue, new_authority
from maskrcnn_operator.progress_endpoint.report import MAX_REPORT_BYTES
from maskrcnn_operator.progress_endpoint.server import POD_BURST, progress_app, serve
from maskrcnn_operator.progress_endpoint.tokens import TokenChecker
from maskrcnn_operator.progress_endpoint.writer import ProgressWriter
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.posting import HttpPoster
from maskrcnn_trainer.task.reporter import Reporter

TOKEN = "token-of-the-pod"  # noqa: S105 - of a test
REPORT = {
    "version": 1,
    "attempt": 2,
    "fingerprint": "9f2c-v1",
    "step": 7,
    "total_steps": 100,
    "graphical": {"loss": 0.5},
}


@dataclass
class Bench:
    """Running endpoint with its results."""

    cluster: Any
    time: Any
    url: str = ""
    ca_file: Path = Path()
    applied: list[dict[str, Any]] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    down: bool = False
    session: aiohttp.ClientSession = field(init=False)

    async def apply(self, namespace: str, name: str, progress: Any) -> None:
        self.applied.append({"namespace": namespace, "name": name, **progress})

    async def review(self, token: str, audience: str) -> dict[str, Any]:
        if self.down:
            raise api_error(0, "TimeoutError", "")
        if token != TOKEN:
            return {"authenticated": False}
        names = {"pod-name": ["nuclei-train-2-abcde-0-x"], "pod-uid": ["pod-uid"]}
        extra = {f"authentication.kubernetes.io/{name}": value for name, value in names.items()}
        return {
            "authenticated": True,
            "audiences": [audience],
            "user": {"username": "system:serviceaccount:lab:default", "extra": extra},
        }

    async def post(self, body: Any = REPORT, token: str | None = TOKEN, **more: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        content = {"data": body} if isinstance(body, bytes) or hasattr(body, "__aiter__") else {"json": body}
        async with self.session.post(self.url, headers=headers | more.pop("headers", {}), **content, **more) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def refused(self, *arguments: Any, **named: Any) -> tuple[int, str]:
        status, answer = await self.post(*arguments, **named)
        assert set(answer) == {"error"}
        assert set(answer["error"]) == {"reason", "message"}
        assert answer["error"]["message"]
        return status, answer["error"]["reason"]


@pytest.fixture
async def bench(cluster: Any, time: Any, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(cluster, time)
    authority = new_authority(datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load(context, issue(authority, ["localhost", "127.0.0.1"], datetime.now(UTC)))
    writer = ProgressWriter(bench.apply, cluster.experiment, clock=time.clock, sleep=time.sleep, now=time.now)
    tokens = TokenChecker(bench.review, time.clock)
    application = progress_app(cluster, tokens, writer, clock=time.clock, on_report=bench.answered.append)
    runner = await serve(application, 0, context, "127.0.0.1")
    bench.url = f"https://localhost:{runner.addresses[0][1]}/v1/report"
    bench.ca_file = tmp_path / "ca.crt"
    bench.ca_file.write_text(authority.certificate_pem)
    trusted = ssl.create_default_context(cafile=str(bench.ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as bench.session:
        yield bench
    await writer.close()
    await runner.cleanup()


async def test_a_report_of_the_running_attempt_is_written(bench: Bench) -> None:
    assert await bench.post() == (200, {"accepted": True})
    await bench.time.settle()
    assert [(item["namespace"], item["name"], item["step"], item["iteration"]) for item in bench.applied] == [
        ("lab", "nuclei", "train", 7)
    ]
    assert bench.answered == [200]


async def test_trainers_poster_succeeds(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    environment = TaskEnvironment(
        fingerprint="9f2c-v1", attempt=2, experiment_uid="experiment-uid", report_url=bench.url,
        report_token_file=str(tmp_path / "token"), report_ca_file=str(bench.ca_file),
    )  # fmt: skip
    poster = HttpPoster(environment, interval=0.0).start()
    reporter = Reporter("train", tmp_path / "results", environment, poster=poster)
    reporter.started()
    reporter.running(step=300, total_steps=1000, eta=750, graphical={"loss": 0.61}, checkpoint_step=200)
    await _until(lambda: bool(bench.applied))
    await asyncio.to_thread(poster.close, 10.0)
    assert bench.applied[0] == {
        "namespace": "lab", "name": "nuclei", "step": "train", "iteration": 300, "totalIterations": 1000,
        "percentage": 30, "checkpointStep": 200, "estimatedRemainingSeconds": 750, "eta": "0:12:30",
        "metrics": [{"name": "loss", "value": "0.61"}], "lastUpdatedTime": "2026-11-22T12:00:00Z",
    }  # fmt: skip
    assert set(bench.answered) == {200}


async def test_the_trainer_logs_why_it_was_refused(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text("another")
    environment = TaskEnvironment(
        report_url=bench.url, report_token_file=str(tmp_path / "token"), report_ca_file=str(bench.ca_file)
    )
    poster = HttpPoster(environment, interval=0.0).start()
    poster.offer(REPORT)
    await _until(lambda: "could not be posted" in caplog.text)
    await asyncio.to_thread(poster.close, 10.0)
    assert "HTTP Error 401" in caplog.text
    assert "the token isn't valid for the audience maskrcnn-operator" in caplog.text


async def test_a_step_that_is_not_the_current_one_is_answered_and_not_written(bench: Bench) -> None:
    bench.cluster.change_status(current_step="retrain")
    assert await bench.post() == (200, {"accepted": False, "reason": "NotCurrentStep"})
    bench.cluster.change_status(current_step="train")
    assert await bench.post({"version": 1, "step": None}) == (200, {"accepted": False, "reason": "NothingNew"})
    await bench.time.advance(60)
    assert bench.applied == []


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        ({"token": None}, (401, "NoToken")),
        ({"token": None, "headers": {"Authorization": "Basic eDp5"}}, (401, "NoToken")),
        ({"token": ""}, (401, "NoToken")),
        ({"token": "another"}, (401, "TokenRejected")),
        ({"body": b"{"}, (400, "InvalidReport")),
        ({"body": {"step": -1}}, (400, "InvalidReport")),
        ({"body": REPORT | {"attempt": 1}}, (403, "NotYours")),
        ({"body": b" " * (MAX_REPORT_BYTES + 1)}, (413, "ReportTooLarge")),
        ({"headers": {"Content-Encoding": "gzip"}, "body": b"\x1f\x8b"}, (415, "UnsupportedEncoding")),
    ],
)
async def test_invalid_input_gets_a_client_error(bench: Bench, named: Any, wanted: tuple[int, str]) -> None:
    assert await bench.refused(**named) == wanted
    assert bench.answered == [wanted[0]]
    await bench.time.settle()
    assert bench.applied == []


async def test_a_body_without_a_length_is_cut_off_too(bench: Bench) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 1024

    assert await bench.refused(body=endless()) == (413, "ReportTooLarge")


async def test_an_old_attempt_and_an_ended_step_are_refused(bench: Bench) -> None:
    bench.cluster.change_step(attempt=3, job_name="nuclei-train-3-abcde")
    assert await bench.refused() == (403, "NotCurrent")
    bench.cluster.change_step(attempt=2, job_name="nuclei-train-2-abcde", state=StepState.FAILED)
    assert await bench.refused() == (403, "NotRunning")


async def test_a_pod_that_reports_too_often_waits(bench: Bench) -> None:
    answers = [await bench.post() for _ in range(POD_BURST)]
    assert {status for status, _ in answers} == {200}
    assert await bench.refused() == (429, "TooManyReports")
    async with bench.session.post(bench.url, json=REPORT, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert answer.headers["Retry-After"] == "10"
    await bench.time.advance(9.5)
    async with bench.session.post(bench.url, json=REPORT, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert answer.headers["Retry-After"] == "1"
    await bench.time.advance(0.5)
    assert (await bench.post())[0] == 200


async def test_refusal_without_a_token_explains_how_to_send_one(bench: Bench) -> None:
    async with bench.session.post(bench.url, json=REPORT) as answer:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_body_that_does_not_end_is_refused_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        assert await bench.refused(body=slow()) == (408, "TooSlow")


async def test_endpoint_that_cannot_listen_is_cleaned_up(bench: Bench) -> None:
    application, cleaned = web.Application(), list[web.Application]()

    async def cleanup(ended: web.Application) -> None:
        cleaned.append(ended)

    application.on_cleanup.append(cleanup)
    port = int(bench.url.split(":")[2].split("/")[0])
    with pytest.raises(OSError, match="in use"):
        await serve(application, port, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "127.0.0.1")
    assert cleaned == [application]


async def test_unknown_path_gets_a_json_error(bench: Bench) -> None:
    async with bench.session.get(bench.url) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json())["error"]["reason"] == "MethodNotAllowed"
    async with bench.session.post(bench.url + "/more", json={}) as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["reason"] == "NotFound"


async def test_server_side_problem_requests_a_retry(bench: Bench) -> None:
    bench.cluster.listed = False
    assert await bench.refused() == (503, "NotReady")
    bench.cluster.listed = True
    bench.down = True
    assert await bench.refused() == (503, "NotReady")
    bench.down = False
    assert (await bench.post())[0] == 200


async def test_unexpected_error_is_logged_and_not_disclosed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.cluster.pods = None
    with caplog.at_level(logging.ERROR):
        assert await bench.refused() == (500, "InternalError")
    assert "Could not handle a report" in caplog.text


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)
