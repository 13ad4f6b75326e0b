"""Rules and dashboard with a real Prometheus server, while experiments run on a real API server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripts.dashboard_model import panels, substituted, variables
from scripts.dashboard_picture import draw
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, NINE_STEPS, Cluster, manifest
from tests.monitoring import checks, vocabulary
from tests.monitoring.simulated_series import MonitoredOperator, report, trained
from tests.monitoring.tools import PrometheusServer, tool

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

PATIENCE = 90.0
RATE_SECONDS = 20.0
MINUTES = 3.0


@dataclass
class World:
    """Control plane with experiments, the operator that runs them, and the Prometheus server that scrapes it."""

    bed: Bed
    cluster: Cluster
    kubelet: PlayedKubelet
    operator: MonitoredOperator
    prometheus: PrometheusServer

    def eventually(self, found: Callable[[], Any], what: Callable[[], str]) -> Any:
        """Wait until ``found`` returns something that is true, and return it; ``what`` describes it in a failure."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := found()):
            assert time.monotonic() < deadline, f"waited for {what()}\n{self.operator.log.read_text()[-3000:]}"
            time.sleep(0.25)
        return answer


@pytest.fixture
def world(  # noqa: PLR0917 - pytest passes fixtures by name
    bed: Bed, cluster: Cluster, account: Path, kubelet: PlayedKubelet, namespace: str, tmp_path: Path
) -> Iterator[World]:
    binary = tool("prometheus")
    with (
        MonitoredOperator(account, namespace, tmp_path / "operator.log") as operator,
        PrometheusServer(
            binary, [f"127.0.0.1:{operator.metrics_port}"], vocabulary.RULES, tmp_path / "prometheus"
        ) as prometheus,
    ):
        found = World(bed, cluster, kubelet, operator, prometheus)
        found.eventually(lambda: prometheus.api.instant("maskrcnn_operator_leader == 1"), lambda: "a scrape")
        yield found


def run_experiments(world: World) -> None:
    """Run one experiment that trains and reports, one that succeeds, one with invalid data, and one that is queued."""
    world.kubelet.play("train", Play(seconds=None))
    world.kubelet.play("reads-nothing", Play(exit_code=64))
    world.cluster.apply(manifest("done", CONVERT, {"name": "short", "train": {}}, EVALUATE))
    world.cluster.apply(manifest("nuclei", *NINE_STEPS))
    world.cluster.apply(manifest("wrong", {**CONVERT, "name": "reads-nothing"}, {"name": "short", "train": {}}))
    world.cluster.apply(manifest("queued", CONVERT, {"name": "short", "train": {}}, queueName="gpus"))
    first = world.kubelet.wait_running("train", pods=2)
    pod = next(pod for pod in first if pod.index == 0)
    assert report(world.bed, world.operator, pod, trained(300)) == 200
    assert report(world.bed, world.operator, pod, trained(301), token="nonsense") == 401  # noqa: S106 - an invalid token
    world.cluster.wait_ready("done", "Succeeded")
    world.cluster.wait_ready("wrong", "Failed")
    world.cluster.wait_ready("queued", "Queued")
    world.cluster.wait("nuclei", lambda found: "progress" in found["status"], "progress")


def test_rules_and_dashboard_have_data_of_a_running_operator(world: World, tmp_path: Path) -> None:
    run_experiments(world)
    exposed = world.operator.metrics()
    assert checks.complaints(exposed) == []
    served = set(re.findall(r"^([a-z_]+)(?:\{| )", exposed, re.MULTILINE))
    assert set(vocabulary.metrics()) <= served

    api, dashboard = world.prometheus.api, vocabulary.dashboard()
    empty: list[str] = []

    def answered() -> bool:
        empty[:] = checks.unanswered(api, checks.last_minutes(MINUTES), RATE_SECONDS)
        return not empty

    world.eventually(answered, lambda: f"data for {empty}")
    values = variables(dashboard, api.label_values)
    assert values["job"] == "maskrcnn-operator"
    progress = next(panel for panel in panels(dashboard) if panel.title == "Progress of the current step")
    [series] = api.instant(substituted(progress.targets[0].expression, values))
    assert series.labels == {"namespace": world.cluster.namespace, "experiment": "nuclei"}
    assert series.points[-1][1] == 0.3

    # every rule is evaluated without an error, and the alert on the failed experiment fires
    world.eventually(lambda: not checks.unhealthy_rules(api), lambda: str(checks.unhealthy_rules(api)))
    # as long as only the failed experiment is finished, it has no series, and the alert doesn't name it
    failed = {"alertname": "MaskRCNNExperimentFailed", "namespace": world.cluster.namespace, "experiment": "wrong"}
    world.eventually(
        lambda: [found for found in checks.firing(api, "MaskRCNNExperimentFailed") if failed.items() <= found.items()],
        lambda: f"{failed} among {checks.firing(api, 'MaskRCNNExperimentFailed')}",
    )
    assert checks.firing(api, "MaskRCNNOperatorNoLeader") == []

    output = tmp_path / "dashboard.png"
    draw(api, output, checks.last_minutes(MINUTES), RATE_SECONDS)
    with Image.open(output) as image:
        assert image.width == 1220
        assert len(image.getcolors(1 << 24) or ()) > 20

    world.kubelet.finish("train")
    world.cluster.wait_ready("nuclei", "Succeeded")
