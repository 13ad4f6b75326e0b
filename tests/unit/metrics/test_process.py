"""Metrics of the process, their HTTP server, and the generated page docs/reference/metrics.md."""

from __future__ import annotations

import asyncio
import platform
import re
import threading
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics import parser

from maskrcnn_operator.metrics import docs, experiments, process
from maskrcnn_operator.metrics import server as module
from maskrcnn_operator.metrics.experiments import LEFT_OUT, SERIES, TOTAL, ExperimentCollector
from maskrcnn_operator.metrics.server import KEPT_SECONDS, MOST_KEPT, metrics_app, serve
from maskrcnn_trainer.shared.version import version

from .served import count_everything, fetch, served
from .test_experiments import Cache, experiment

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "metrics.md"


def value(name: str, **labels: str) -> float:
    return process.REGISTRY.get_sample_value(name, labels) or 0.0


def test_each_function_updates_its_metric() -> None:
    counted = (
        ("maskrcnn_operator_reconcile_duration_seconds_count", {"result": "success"}),
        ("maskrcnn_operator_queue_wait_seconds_count", {}),
        ("maskrcnn_operator_api_requests_total", {"verb": "patch", "resource": "maskrcnnexperiments", "code": "200"}),
        ("maskrcnn_operator_api_requests_total", {"verb": "get", "resource": "jobs", "code": "none"}),
        ("maskrcnn_operator_api_request_duration_seconds_count", {"verb": "get", "resource": "jobs"}),
        ("maskrcnn_operator_api_request_held_seconds_count", {"purpose": "review"}),
        ("maskrcnn_operator_steps_finished_total", {"task": "train", "result": "Succeeded"}),
        ("maskrcnn_step_duration_seconds_count", {"task": "train", "result": "Succeeded"}),
        ("maskrcnn_operator_step_restarts_total", {"reason": "Disrupted"}),
        ("maskrcnn_operator_reports_total", {"code": "429"}),
        ("maskrcnn_operator_report_connections_cut_total", {}),
        ("maskrcnn_operator_unreadable_objects_total", {"kind": "pods"}),
    )
    before = [value(name, **labels) for name, labels in counted]
    count_everything()
    assert [value(name, **labels) for name, labels in counted] == [number + 1 for number in before]
    assert (value("maskrcnn_operator_queue_depth"), value("maskrcnn_operator_leader")) == (3, 1)
    assert value("maskrcnn_operator_progress_interval_seconds") == 200
    process.queue_depth(0)
    process.leading(False)
    assert (value("maskrcnn_operator_queue_depth"), value("maskrcnn_operator_leader")) == (0, 0)


async def test_build_info_has_the_versions(url: str) -> None:
    _, text = await fetch(url)
    versions = f'python_version="{platform.python_version()}",version="{version()}"'
    assert f"maskrcnn_operator_build_info{{{versions}}} 1.0" in text


def test_step_without_an_attempt_is_counted_without_a_duration() -> None:
    labels = {"task": "prune", "result": "Failed"}
    names = ("maskrcnn_operator_steps_finished_total", "maskrcnn_step_duration_seconds_count")
    before = [value(name, **labels) for name in names]
    process.step_ended("prune", "Failed", None)
    assert [value(name, **labels) for name in names] == [before[0] + 1, before[1]]


def test_buckets_of_step_durations_range_from_minutes_to_days() -> None:
    labels = {"task": "train", "result": "Succeeded"}
    [family] = process._STEP_SECONDS.collect()
    bounds = [
        float(sample.labels["le"])
        for sample in family.samples
        if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items()
    ]
    minute, hour, day = 60.0, 3600.0, 86400.0
    # each of these durations falls into a different bucket
    for shorter, longer in pairwise((0, 2 * minute, 20 * minute, 3 * hour, 10 * hour, 1.5 * day, 3 * day, 30 * day)):
        assert any(shorter <= bound < longer for bound in bounds), (shorter, longer)


def test_age_of_the_last_list_counts_from_the_start_of_the_process_before_the_first_one() -> None:
    moment: list[float | None] = [None]
    process.last_listed(lambda: moment[0])
    never = value("maskrcnn_operator_last_list_age_seconds")
    assert 0 < never <= time.monotonic() - process._BEGAN
    moment[0] = time.monotonic() - 100
    assert 100 <= value("maskrcnn_operator_last_list_age_seconds") < 160


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with served() as url:
        yield url


async def test_metrics_are_served_as_openmetrics_that_its_parser_accepts(url: str) -> None:
    kind, text = await fetch(url, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families: dict[str, Any] = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert {series.name for series in SERIES} | {TOTAL, LEFT_OUT} <= set(families)
    assert families["maskrcnn_operator_reconcile_duration_seconds"].type == "histogram"
    assert families["maskrcnn_operator_steps_finished"].type == "counter"
    assert "process_resident_memory_bytes" in families


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_simultaneous_scrapes_share_a_page_and_a_later_one_renders_it_again(accept: str) -> None:
    made, now = 0, 100.0

    class Counted(ExperimentCollector):
        def deferred_snapshot(self) -> Any:
            nonlocal made
            made += 1
            return super().deferred_snapshot()

    application = metrics_app(Counted(Cache(experiment()), lambda: True, 10), clock=lambda: now)
    async with TestClient(TestServer(application)) as client:

        async def scrape() -> str:
            async with client.get("/metrics", headers={"Accept": accept}) as answer:
                return await answer.text()

        texts = await asyncio.gather(*(scrape() for _ in range(20)))
        assert made == 1
        assert set(texts) == {texts[0]}
        now += KEPT_SECONDS
        await scrape()
        assert made == 2


async def test_number_of_cached_formats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Any] = []
    make = module._Pages.__init__
    monkeypatch.setattr(module._Pages, "__init__", lambda self, *given: (pages.append(self), make(self, *given))[1])
    async with TestClient(TestServer(metrics_app())) as client:
        for number in range(2 * MOST_KEPT):
            accept = f"application/openmetrics-text; version=1.{number}.0"
            assert (await client.get("/metrics", headers={"Accept": accept})).status == 200
    assert len(pages[0]._made) == MOST_KEPT


async def test_invalid_version_in_accept_gets_the_text_format(url: str) -> None:
    kind, _ = await fetch(url, "application/openmetrics-text; version=x")
    assert kind.startswith("text/plain")


async def test_cache_is_read_in_the_thread_that_fills_it(url: str) -> None:
    threads = []

    class Watched(Cache):
        def experiments(self) -> Any:
            threads.append(threading.current_thread())
            return super().experiments()

    runner = await serve(0, ExperimentCollector(Watched(experiment()), lambda: True, 10), host="127.0.0.1")
    await fetch(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics")
    await runner.cleanup()
    assert threads == [threading.main_thread()]


async def test_series_are_made_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the event loop, the series of 50,000 experiments would block it for nearly a second."""
    threads = []

    def snapshot_of(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return original(*arguments)

    original = experiments.snapshot_of
    monkeypatch.setattr(experiments, "snapshot_of", snapshot_of)
    runner = await serve(0, ExperimentCollector(Cache(experiment()), lambda: True, 10), host="127.0.0.1")
    _, text = await fetch(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics")
    await runner.cleanup()
    assert "maskrcnn_experiment_state{" in text
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_series_of_a_namespace_can_be_removed() -> None:
    process.namespace_listed("team-b", False)
    assert process.REGISTRY.get_sample_value("maskrcnn_operator_namespace_listed", {"namespace": "team-b"}) == 0
    process.forget_namespace("team-b")
    assert process.REGISTRY.get_sample_value("maskrcnn_operator_namespace_listed", {"namespace": "team-b"}) is None


async def test_server_without_experiments_exports_only_metrics_of_the_process(url: str) -> None:
    runner = await serve(0, host="127.0.0.1")
    _, text = await fetch(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics")
    await runner.cleanup()
    assert "maskrcnn_operator_queue_depth" in text
    assert "maskrcnn_experiment" not in text


async def test_generated_page_names_every_exported_metric(url: str) -> None:
    _, text = await fetch(url)
    served = set(re.findall(r"^# TYPE (maskrcnn_\w+) ", text, re.MULTILINE))
    served = {name for name in served if not name.endswith("_created")}
    named = set(re.findall(r"^\| `(maskrcnn_\w+)`", PAGE.read_text(), re.MULTILINE))
    assert served == named
    queries = re.findall(r"```promql\n(.+?)\n```", docs.page(), re.DOTALL)
    asked = set(re.findall(r"maskrcnn_\w+", " ".join(queries)))
    assert asked
    assert {name.removesuffix("_bucket") for name in asked} <= named


def test_generated_page_is_up_to_date(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert docs.main(["--check", str(PAGE)]) == 0
    assert docs.main([]) == 0
    assert capsys.readouterr().out == PAGE.read_text()
    (tmp_path / "stale.md").write_text("# Metrics\n")
    assert docs.main(["--check", str(tmp_path / "stale.md")]) == 1
    assert "run `make manifests`" in capsys.readouterr().err
