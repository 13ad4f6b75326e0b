"""Training while the operator and the API server are down."""

from __future__ import annotations

import time

import pytest
from tests.cluster.experiments import long_training
from tests.cluster.installation import Installation
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

DOWN_SECONDS = 30.0


def test_training_continues_without_operator_and_api_server(team: Team, installation: Installation) -> None:
    assert team.cluster.bed is not None
    team.apply(long_training("steady", steps=60, every=12))
    team.wait_checkpoint("steady")
    before = [pod["metadata"]["uid"] for pod in team.pods("steady", "train")]
    leader = installation.leader()
    installation.kill(leader)
    team.wait("another leader", lambda: installation.leader() not in ("", leader), 120, of="steady")
    installation.kill(*(pod["metadata"]["name"] for pod in installation.pods()))
    with team.cluster.bed.api_server_down():
        time.sleep(DOWN_SECONDS)
    installation.wait_ready()
    status = team.wait_succeeded("steady")
    assert status["restarts"] == 0
    assert [step["attempt"] for step in status["steps"]] == [1, 1, 1]
    assert len(team.jobs("steady")) == 3
    after = team.cluster.list("pod", team.namespace, "maskrcnn.dev/step=train")
    assert sorted(pod["metadata"]["uid"] for pod in after) == sorted(before)
