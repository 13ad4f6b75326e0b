"""Simulated executor that carries out plans and does nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import Artifact, Metric, StepStatus
from maskrcnn_operator.core.plan import Plan, Settings, StartRefusal
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import Run, RunKey, RunState

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
SETTINGS = Settings(default_image="trainer:1")


class World:
    """Experiment with its runs and a clock."""

    def __init__(self, experiment: MaskRCNNExperiment, settings: Settings = SETTINGS) -> None:
        self.experiment, self.settings, self.now = experiment, settings, START
        self.runs: dict[RunKey, Run] = {}
        self.lingering: dict[str, str] = {}
        self.refused: dict[str, StartRefusal] = {}
        self.events: list[str] = []

    def look(self) -> Plan:
        plan = reconcile(
            self.experiment,
            list(self.runs.values()),
            self.now,
            self.settings,
            lingering=self.lingering,
            refused=self.refused,
        )
        assert plan.write_status or plan.status == self.experiment.status or plan.drop_progress
        self.experiment = self.experiment.with_status(plan.status)
        for start in plan.start:
            key = RunKey(start.step, start.attempt)
            assert key not in self.runs
            state = RunState.STARTING
            self.runs[key] = Run(
                start.step,
                start.attempt,
                state,
                start.fingerprint,
                template=start.template,
                take_over_from=self.experiment.spec.workspace.take_over_from or "",
                image=start.image,
                started=self.now,
                older_fingerprints=start.older_fingerprints,
            )
        for key in plan.stop:
            if self.runs[key].live:
                self.runs[key] = replace(self.runs[key], state=RunState.STOPPING)
        for key in plan.forget:
            del self.runs[key]
        self.events += [event.reason for event in plan.events]
        return plan

    def settle(self) -> Plan:
        """Reconcile until nothing changes; check that the last plan has no event and no start."""
        for _ in range(20):
            before = self.experiment.status
            plan = self.look()
            if not plan.start and plan.status == before:
                assert not plan.events
                return plan
        raise AssertionError("no fixed point")

    def step(self, name: str) -> StepStatus:
        found = self.experiment.status.step(name)
        assert found is not None
        return found

    def live(self) -> set[str]:
        return {run.step for run in self.runs.values() if run.live}

    def newest(self, name: str) -> Run:
        return self.runs[max((key for key in self.runs if key.step == name), key=lambda key: key.attempt)]

    def change(self, name: str, /, **fields: Any) -> None:
        run = self.newest(name)
        self.runs[run.key] = replace(run, **fields)

    def run(self, *names: str) -> None:
        for name in names:
            self.change(name, state=RunState.RUNNING)
        self.settle()

    def succeed(self, *names: str, fingerprint: str | None = None) -> None:
        """End runs with a result that has ``fingerprint``, by default that of the run."""
        for name in names:
            run = self.newest(name)
            model = f"/workspace/nuclei/{name}/model.tlt"
            makes_model = name in ("train", "prune", "retrain", "export")
            report = f"/workspace/nuclei/{name}/report.html" if name.startswith("evaluate") else None
            self.run(name)
            self.now += timedelta(seconds=5)
            self.change(
                name,
                state=RunState.SUCCEEDED,
                exit_code=0,
                ended=self.now,
                result=TaskResult(
                    exit_code=0,
                    fingerprint=fingerprint or run.fingerprint,
                    attempt=run.attempt,
                    model_path=model if makes_model else None,
                    report_path=report,
                    metrics=(Metric(name="AP", value=f"0.{len(name)}"),),
                    artifacts={"model": Artifact(path=model, bytes=1)} if makes_model else {},
                ),
            )
            self.settle()

    def fail(self, name: str, code: int | None, **fields: Any) -> None:
        self.change(name, state=RunState.FAILED, exit_code=code, ended=self.now, **fields)
        self.settle()

    def conditions(self) -> dict[str, str]:
        return {condition.type: condition.status for condition in self.experiment.status.conditions}

    def edit(self, experiment: MaskRCNNExperiment) -> None:
        generation = self.experiment.metadata.generation + 1
        metadata = experiment.metadata.model_copy(update={"generation": generation})
        self.experiment = experiment.model_copy(update={"status": self.experiment.status, "metadata": metadata})

    def suspend(self, value: bool) -> None:
        self.edit(self.experiment.suspended(value))
