"""All tasks on two nodes, with the same results as on one machine."""

from __future__ import annotations

import contextlib
import copy
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.dashboard_picture import draw
from scripts.prometheus_api import Prometheus
from tests.cluster.experiments import NINE_STEPS, experiment
from tests.cluster.installation import Installation
from tests.cluster.local_runs import assert_same_weights, run_locally
from tests.cluster.team import Team
from tests.monitoring.checks import complaints, firing, last_minutes, unanswered, unhealthy_rules
from tests.monitoring.tools import PrometheusServer, tool

METRICS_PORT = 8080
RULES = Path(__file__).resolve().parents[2] / "charts" / "maskrcnn-operator" / "files" / "rules.yaml"

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1500)]


@contextlib.contextmanager
def scraped(team: Team, installation: Installation, folder: Path) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes both replicas."""
    assert team.cluster.bed is not None
    addresses = [pod["status"]["podIP"] for pod in installation.pods()]
    ports = [team.cluster.bed.relay(address, METRICS_PORT) for address in addresses]
    targets = [f"127.0.0.1:{port}" for port in ports]
    page = urllib.request.urlopen(f"http://{targets[0]}/metrics", timeout=30).read().decode()
    assert complaints(page) == []
    with PrometheusServer(tool("prometheus"), targets, RULES, folder) as server:
        yield server.api


def test_nine_steps_on_two_nodes_equal_those_on_one_machine(
    team: Team, installation: Installation, shapes: Path, tmp_path: Path
) -> None:
    with scraped(team, installation, tmp_path / "prometheus") as prometheus:
        started = time.time()
        while_training = check_nine_steps(team, prometheus)
        minutes = (time.time() - started) / 60
        # panels of current values show no progress once the experiment has finished
        assert set(unanswered(prometheus, last_minutes(minutes), 15)) & while_training == set()
        assert unhealthy_rules(prometheus) == {}
        # experiments of other scenarios may fail meanwhile
        failed = firing(prometheus, "MaskRCNNExperimentFailed")
        assert [labels for labels in failed if labels["namespace"] == team.namespace] == []
        assert firing(prometheus, "MaskRCNNOperatorNoLeader") == []
        picture = os.environ.get("MASKRCNN_DASHBOARD_PICTURE")
        if picture:
            draw(prometheus, Path(picture), last_minutes(minutes), 15)
    manifest = experiment("nine", NINE_STEPS)
    check_that_only_changed_steps_rerun(team)
    local = run_locally(manifest, tmp_path / "local", shapes)
    deterministic = ("train", "evaluate", "retrain", "evaluate-pruned")
    compared = {name: _of_accuracy(local[name]) for name in deterministic}
    assert {name: _of_accuracy(team.results("nine")[name]) for name in deterministic} == compared
    assert all(compared.values())
    # after such a short training the AP is low, so the weights are compared, too
    for step in ("train", "retrain"):
        trained = max((team.folder / "nine" / step).glob("model.step-*.tlt"), key=lambda path: path.stat().st_mtime)
        assert_same_weights(trained, tmp_path / "local" / "nine" / step / trained.name)
    print("AP in the cluster and locally:", {name: metrics.get("AP") for name, metrics in compared.items()})


def check_nine_steps(team: Team, prometheus: Prometheus) -> set[str]:
    """Run the experiment and check what it leaves; return the dashboard queries that were empty during training."""
    team.apply(experiment("nine", NINE_STEPS))
    train = team.wait("both pods of the training", lambda: len(team.pods("nine", "train")) == 2, of="nine")
    assert train
    nodes = {pod["spec"].get("nodeName") for pod in team.pods("nine", "train")}
    progress = f'maskrcnn_experiment_progress_ratio{{namespace="{team.namespace}"}}'
    team.wait("progress of the training in Prometheus", lambda: bool(prometheus.instant(progress)), of="nine")
    while_training = set(unanswered(prometheus, last_minutes(2), 15))
    status = team.wait_succeeded("nine", 1200)
    assert [step["reason"] for step in status["steps"]] == ["Completed"] * 9
    assert status["restarts"] == 0
    assert status["exportPath"] == "/workspace/nine/export/model.onnx"
    assert (team.folder / "nine" / "export" / "cal.bin").is_file()
    assert len(nodes) == 2
    # from the logs of every node, because the step's pods may have been deleted
    for node in (0, 1):
        text = (team.folder / "nine" / "train" / "logs" / f"attempt-1.node-{node}.log").read_text()
        assert text
    assert "60/60" in (team.folder / "nine" / "train" / "logs" / "attempt-1.node-0.log").read_text()
    return while_training


def check_that_only_changed_steps_rerun(team: Team) -> None:
    """Change the export of the finished experiment, then delete and reapply the whole experiment."""
    attempts = {step["name"]: step["attempt"] for step in team.status("nine")["steps"]}
    other = copy.deepcopy(NINE_STEPS)
    other[-1]["export"] = {"dataType": "fp32", "batchSize": 2}
    team.apply(experiment("nine", other))
    team.wait("the new export", lambda: team.step("nine", "export")["attempt"] > attempts["export"], of="nine")
    status = team.wait_succeeded("nine")
    again = {step["name"]: step["attempt"] for step in status["steps"] if step["attempt"] != attempts[step["name"]]}
    assert list(again) == ["export"]

    models = sorted((team.folder / "nine").rglob("*.tlt"))
    written = {path: path.stat().st_mtime_ns for path in models}
    team.cluster.kubectl("delete", "mrx", "nine", "-n", team.namespace, "--timeout=60s")
    team.apply(experiment("nine", other))
    status = team.wait_succeeded("nine", 600)
    assert [step["reason"] for step in status["steps"]] == ["UpToDate"] * 9
    assert {path: path.stat().st_mtime_ns for path in models} == written


def _of_accuracy(metrics: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metrics.items() if "AP" in name or "AR" in name}
