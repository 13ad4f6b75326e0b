"""Server of ``/metrics`` in which every metric has a value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_operator.metrics import process
from maskrcnn_operator.metrics.experiments import ExperimentCollector
from maskrcnn_operator.metrics.server import serve

from .test_experiments import Cache, experiment


def count_everything() -> None:
    """Update every metric once, so that each has a series."""
    process.observe_reconcile(0.003, "success")
    process.queue_depth(3)
    process.queue_wait(0.2)
    process.api_call("patch", "maskrcnnexperiments", 200, 0.004)
    process.api_call("get", "jobs", 0, 15.0)
    process.step_ended("train", "Succeeded", 5400.0)
    process.step_restarted("Disrupted")
    process.report_answered(429)
    process.report_connection_cut()
    process.unreadable_object("pods")
    process.leading(True)
    process.namespace_listed("team-a", True)
    process.api_call_held(CallPurpose.REVIEW, 0.5)
    process.progress_interval(200.0)


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """Serve every metric and yield the URL."""
    count_everything()
    collector = ExperimentCollector(Cache(experiment(), experiment("b", "Failed")), lambda: True, 10)
    runner = await serve(0, collector, host="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


async def fetch(url: str, accept: str = "") -> tuple[str, str]:
    """Return the content type and the text of a response."""
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": accept}) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], await answer.text()
