"""Disruptions of training pods: restarts that are counted, and equal results."""

from __future__ import annotations

import json

import pytest
from tests.cluster.experiments import long_training
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

KILL_THE_TRAINING = """
import os
for name in os.listdir('/proc'):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        os.kill(int(name), 9)
"""


def evict(team: Team, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": team.namespace}}
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod}/eviction"
    team.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))


def accuracy(team: Team, name: str) -> dict[str, str]:
    return {key: value for key, value in team.results(name)["train"].items() if "AP" in key}


def test_killed_pod_counts_as_restart_and_evicted_pod_does_not(team: Team) -> None:
    team.apply(
        long_training("killed"),
    )
    team.wait_checkpoint("killed")
    second = team.pods("killed", "train")[1]["metadata"]["name"]
    team.cluster.kubectl("exec", second, "-n", team.namespace, "--", "python3", "-c", KILL_THE_TRAINING, check=False)
    team.wait("a second attempt", lambda: team.step("killed", "train").get("attempt") == 2, of="killed")
    killed = team.wait_succeeded("killed")
    assert killed["restarts"] == 1
    log = (team.folder / "killed" / "train" / "logs" / "attempt-2.node-0.log").read_text()
    assert "Resuming from step" in log

    team.apply(long_training("evicted"))
    team.wait_checkpoint("evicted")
    evict(team, team.pods("evicted", "train")[1]["metadata"]["name"])
    team.wait("a second attempt", lambda: team.step("evicted", "train").get("attempt") == 2, of="evicted")
    evicted = team.wait_succeeded("evicted")
    assert evicted["restarts"] == 0
    assert accuracy(team, "evicted") == accuracy(team, "killed")
    assert accuracy(team, "killed")


def test_training_resumes_after_a_suspension(team: Team) -> None:
    team.apply(long_training("paused"))
    team.wait_checkpoint("paused")
    team.patch("paused", suspend=True)
    team.cluster.kubectl("wait", "--for=condition=Suspended", "mrx/paused", "-n", team.namespace, "--timeout=180s")
    assert team.pods("paused", "train") == []
    reached = team.wait_checkpoint("paused")
    team.patch("paused", suspend=False)
    status = team.wait_succeeded("paused")
    assert status["restarts"] == 0
    log = (team.folder / "paused" / "train" / "logs" / "attempt-2.node-0.log").read_text()
    assert f"Resuming from step {reached}" in log
