"""Executor with a simulated server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.executor import Executor
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import Plan
from maskrcnn_operator.core.reconcile import reconcile, seen
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.jobs.observe import observe
from maskrcnn_operator.runtime.options import cluster_settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Stage:
    """Executor with its surroundings."""

    def __init__(self, server: FakeServer, experiment: dict[str, Any]) -> None:
        self.server, self.cache = server, Cache()
        self.events = EventRecorder(server, "here")  # type: ignore[arg-type]
        self.leading = True
        self.executor = Executor(
            server,  # type: ignore[arg-type]
            self.cache,
            self.events,
            config=lambda: JobConfig(default_image="trainer:1"),
            fence=self._fence,
            now=lambda: NOW,
        )
        self.cache.put(EXPERIMENTS, server.add(EXPERIMENTS, "ns", experiment))

    @property
    def experiment(self) -> MaskRCNNExperiment:
        found = self.cache.experiment("ns", "nuclei")
        assert found is not None
        return found

    def plan(self) -> Plan:
        seen = observe(self.experiment, self.cache.jobs_of("ns", "nuclei"), self.cache.pods_of("ns", "nuclei"), NOW)
        return reconcile(self.experiment, seen.runs, NOW, cluster_settings("trainer:1"), lingering=seen.lingering)

    async def step(self) -> dict[str, Any]:
        """Reconcile once; return the refusals, by step."""
        experiment, plan = self.experiment, self.plan()
        refused = await self.executor.start(experiment, plan.start)
        if not refused:
            await self.executor.conclude(experiment, plan)
        return refused

    async def see(self) -> None:
        """Write the first status of an experiment whose Jobs cannot be created yet."""
        await self.executor.conclude(self.experiment, seen(self.experiment, NOW, resolve(self.experiment)))

    def _fence(self) -> None:
        if not self.leading:
            raise RuntimeError("does not lead")


@pytest.fixture
def stage(server: FakeServer, experiment_object: dict[str, Any]) -> Stage:
    return Stage(server, experiment_object)
