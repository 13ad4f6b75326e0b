"""A real Prometheus scrapes the operator while experiments run on a real API server: rules and dashboard have data."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripts.dashboard_drawing import Window
from scripts.dashboard_model import panels, substituted, variables
from scripts.dashboard_picture import ask, draw
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.plays import Play
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, NINE_STEPS, Cluster, manifest
from tests.monitoring import vocabulary
from tests.monitoring.played import MonitoredOperator, report, trained
from tests.monitoring.tools import PrometheusServer, tool

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

PATIENCE = 90.0
RATE_SECONDS = 20.0


@dataclass
class World:
    """Experiments in their namespace, the operator that runs them, the Prometheus that scrapes it."""

    bed: Bed
    cluster: Cluster
    kubelet: PlayedKubelet
    operator: MonitoredOperator
    prometheus: PrometheusServer

    def window(self) -> Window:
        end = time.time()
        return Window(end - 120, end, 1.0)

    def eventually(self, found: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (answer := found()):
            assert time.monotonic() < deadline, f"waited for {what}\n{self.operator.log.read_text()[-3000:]}"
            time.sleep(0.25)
        return answer

    def firing(self, alert: str) -> list[dict[str, str]]:
        """The labels with which an alert fires."""
        found = self.prometheus.api.get("alerts")["alerts"]
        return [item["labels"] for item in found if item["labels"]["alertname"] == alert and item["state"] == "firing"]


@pytest.fixture
def world(  # noqa: PLR0917 - fixtures are told by name
    bed: Bed, cluster: Cluster, account: Path, kubelet: PlayedKubelet, namespace: str, tmp_path: Path
) -> Iterator[World]:
    binary = tool("prometheus")
    with (
        MonitoredOperator(account, namespace, tmp_path / "operator.log") as operator,
        PrometheusServer(
            binary, f"127.0.0.1:{operator.metrics_port}", vocabulary.RULES, tmp_path / "prometheus"
        ) as prometheus,
    ):
        found = World(bed, cluster, kubelet, operator, prometheus)
        found.eventually(lambda: prometheus.api.instant("maskrcnn_operator_leader == 1"), "a scrape of the leader")
        yield found


def run_experiments(world: World) -> None:
    """One that trains and reports, one that is done, one whose data is wrong, one that waits for its quota."""
    world.kubelet.play("train", Play(seconds=None))
    world.kubelet.play("reads-nothing", Play(exit_code=64))
    world.cluster.apply(manifest("done", CONVERT, {"name": "short", "train": {}}, EVALUATE))
    world.cluster.apply(manifest("nuclei", *NINE_STEPS))
    world.cluster.apply(manifest("wrong", {**CONVERT, "name": "reads-nothing"}, {"name": "short", "train": {}}))
    world.cluster.apply(manifest("queued", CONVERT, {"name": "short", "train": {}}, queueName="gpus"))
    first = world.kubelet.wait_running("train", pods=2)
    pod = next(pod for pod in first if pod.index == 0)
    assert report(world.bed, world.operator, pod, trained(300)) == 200
    assert report(world.bed, world.operator, pod, trained(301), token="nonsense") == 401
    world.cluster.wait_ready("done", "Succeeded")
    world.cluster.wait_ready("wrong", "Failed")
    world.cluster.wait_ready("queued", "Queued")
    world.cluster.wait("nuclei", lambda found: "progress" in found["status"], "progress")


def test_rules_and_dashboard_have_data_of_a_running_operator(world: World, tmp_path: Path) -> None:
    run_experiments(world)

    exposed = world.operator.metrics()
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    # Python's own process_* metrics are not ours to name
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith("process_")]
    assert complaints == []
    served = set(re.findall(r"^([a-z_]+)(?:\{| )", exposed, re.MULTILINE))
    assert set(vocabulary.metrics()) <= served

    api, dashboard = world.prometheus.api, vocabulary.dashboard()
    shown = panels(dashboard)

    def unanswered() -> list[str]:
        found = ask(api, dashboard, shown, world.window(), RATE_SECONDS)
        return [
            f"{shown[index].title} {letter}"
            for index, answers in found.items()
            for letter, series in answers.items()
            if not any(point == point for one in series for _, point in one.points)  # noqa: PLR0124 - NaN is no data
        ]

    deadline = time.monotonic() + PATIENCE
    while empty := unanswered():
        assert time.monotonic() < deadline, f"no data for {empty}"
        time.sleep(0.5)

    values = variables(dashboard, api.label_values)
    assert values["job"] == "maskrcnn-operator"
    progress = next(panel for panel in shown if panel.title == "Progress of the current step")
    [series] = api.instant(substituted(progress.targets[0].expression, values))
    assert series.labels == {"namespace": world.cluster.namespace, "experiment": "nuclei"}
    assert series.points[-1][1] == 0.3

    # every rule is evaluated without an error, and those fire that have cause to
    groups = world.eventually(
        lambda: [group for group in api.get("rules")["groups"] if group["lastEvaluation"] > "1"], "an evaluation"
    )
    states = {rule["name"]: (rule["health"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}
    assert set(states) == {alert["alert"] for alert in vocabulary.alerts()}
    assert set(states.values()) == {("ok", "")}
    [failed] = world.eventually(lambda: world.firing("MaskRCNNExperimentFailed"), "an alert")
    assert (failed["namespace"], failed["experiment"]) == (world.cluster.namespace, "wrong")
    assert world.firing("MaskRCNNOperatorNoLeader") == []

    output = tmp_path / "dashboard.png"
    draw(api, output, world.window(), RATE_SECONDS)
    with Image.open(output) as image:
        assert image.width == 1220
        assert len(set(image.convert("RGB").getdata())) > 20  # type: ignore[arg-type]

    world.kubelet.finish("train")
    world.cluster.wait_ready("nuclei", "Succeeded")
