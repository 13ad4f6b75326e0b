"""Deleting: by time to live, while running, and by whoever may."""

from __future__ import annotations

import pytest
from tests.cluster.experiments import CONVERT, experiment, long_training
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_finished_experiment_goes_after_its_time(team: Team) -> None:
    team.apply(experiment("brief", CONVERT, ttlSecondsAfterFinished=3))
    team.wait("its deletion", lambda: team.cluster.get("mrx", "brief", team.namespace) is None, 120, of="brief")
    assert (team.folder / "brief" / "convert-train" / "result.json").is_file()


def test_deleted_while_running_everything_is_collected(team: Team) -> None:
    team.apply(long_training("dropped"))
    team.wait("pods of the training", lambda: len(team.pods("dropped", "train")) == 2, of="dropped")
    team.cluster.kubectl("delete", "mrx", "dropped", "-n", team.namespace, "--timeout=60s")

    def left() -> str:
        theirs = ("-n", team.namespace, "-l", "maskrcnn.dev/experiment=dropped")
        return team.cluster.kubectl("get", "jobs,pods,services", *theirs, "-o", "name")

    team.wait("the end of its Jobs, pods and Services", lambda: not left().strip(), 200, of="dropped")
