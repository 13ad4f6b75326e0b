"""Node loss, by power or by network; its pods count as lost sixty seconds after their grace period."""

from __future__ import annotations

import json

import pytest
from tests.cluster.experiments import GANG, long_training
from tests.cluster.node import Node, node_of, placed_on
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

ALONE = {"name": "train", "train": {}, "threadsPerProcess": 1}


def owner(team: Team, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((team.folder / name / "train" / "run.json").read_text())
    return content


def wait_lost_and_trained_elsewhere(team: Team, *names: str) -> None:
    """Wait until each experiment is at its second attempt, and has been NodeLost, which lasts only ten seconds."""
    reported: dict[str, str] = {}

    def all_there() -> bool:
        steps = {name: team.step(name, "train") for name in names}
        reported.update({name: step["message"] for name, step in steps.items() if step.get("reason") == "NodeLost"})
        return all(step.get("attempt") == 2 for step in steps.values())

    team.wait("the next attempts", all_there, 420, of=names[0])
    assert sorted(reported) == sorted(names)
    assert all("out-of-service" in message for message in reported.values())


def test_gang_and_single_pod_continue_training_after_a_power_loss(team: Team, two_nodes: list[Node]) -> None:
    team.apply(long_training("gang", podOverrides=placed_on(two_nodes), gang=GANG))
    team.apply(long_training("alone", podOverrides=placed_on(two_nodes), gang=ALONE))
    for name in ("gang", "alone"):
        team.wait_checkpoint(name)
    assert len({pod["spec"]["nodeName"] for pod in team.pods("gang", "train")}) == 2
    # The gang has a pod on each node, so it is affected, too.
    node = node_of(two_nodes, team.pods("alone", "train")[0])
    node.power_off()
    try:
        wait_lost_and_trained_elsewhere(team, "gang", "alone")
    finally:
        node.start()
    for name in ("gang", "alone"):
        assert team.wait_succeeded(name)["restarts"] == 0
        assert owner(team, name)["attempt"] == 2
    node.bed.wait_ready(node)


def test_disconnected_node_writes_nothing_after_it_is_back(team: Team, two_nodes: list[Node]) -> None:
    team.apply(long_training("cut", podOverrides=placed_on(two_nodes), gang=GANG))
    team.wait_checkpoint("cut")
    node = node_of(two_nodes, team.pods("cut", "train")[0])
    node.cut_network()
    try:
        # index 0, which writes, continues on the disconnected node until it notices the loss of its peer
        wait_lost_and_trained_elsewhere(team, "cut")
    finally:
        node.heal_network()
    assert team.wait_succeeded("cut")["restarts"] == 0
    assert owner(team, "cut")["attempt"] == 2
    written = {path.name: path.stat().st_mtime_ns for path in (team.folder / "cut" / "train").iterdir()}
    node.bed.wait_ready(node)
    assert {path.name: path.stat().st_mtime_ns for path in (team.folder / "cut" / "train").iterdir()} == written
