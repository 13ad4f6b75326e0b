"""A node that is lost: by its power, and by its network alone."""

from __future__ import annotations

import json

import pytest
from tests.cluster.bed import Node
from tests.cluster.experiments import GANG, long_training
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

SHORT_GRACE = {"terminationGracePeriodSeconds": 5}
ALONE = {"name": "train", "train": {}, "threadsPerProcess": 1}


def node_of(team: Team, pod: dict[str, object]) -> Node:
    assert team.cluster.bed is not None
    name = pod["spec"]["nodeName"]  # type: ignore[index]
    return next(node for node in team.cluster.bed.nodes if node.name == name)


def owner(team: Team, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((team.folder / name / "train" / "run.json").read_text())
    return content


def wait_lost_and_trained_elsewhere(team: Team, name: str) -> None:
    team.wait("NodeLost", lambda: team.step(name, "train").get("reason") == "NodeLost", 300, of=name)
    message = team.step(name, "train")["message"]
    assert "out-of-service" in message
    team.wait("the next attempt", lambda: team.step(name, "train").get("attempt") == 2, 120, of=name)


@pytest.mark.parametrize("loss", ["power", "network"])
def test_a_gang_trains_on_without_the_node(team: Team, loss: str) -> None:
    name = f"lost-{loss}"
    team.apply(long_training(name, podOverrides=SHORT_GRACE, gang=GANG))
    team.wait_checkpoint(name)
    pods = team.pods(name, "train")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    node = node_of(team, pods[1])
    node.power_off() if loss == "power" else node.cut_network()
    try:
        wait_lost_and_trained_elsewhere(team, name)
    finally:
        node.start() if loss == "power" else node.heal_network()
    status = team.wait_succeeded(name)
    assert status["restarts"] == 0
    assert owner(team, name)["attempt"] == 2
    node.bed.wait_ready(node)


def test_a_single_pod_is_made_again_elsewhere(team: Team) -> None:
    team.apply(long_training("alone", gang=ALONE, podOverrides=SHORT_GRACE))
    team.wait_checkpoint("alone")
    node = node_of(team, team.pods("alone", "train")[0])
    node.power_off()
    try:
        wait_lost_and_trained_elsewhere(team, "alone")
    finally:
        node.start()
    assert team.wait_succeeded("alone")["restarts"] == 0
    node.bed.wait_ready(node)
