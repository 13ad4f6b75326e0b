"""Deletion of experiments: after their time to live, and while they run."""

from __future__ import annotations

import pytest
from tests.cluster.experiments import CONVERT, experiment, long_training
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


def test_finished_experiment_is_deleted_after_its_ttl(team: Team) -> None:
    team.apply(experiment("brief", CONVERT, ttlSecondsAfterFinished=3))
    team.wait("its deletion", lambda: team.cluster.get("mrx", "brief", team.namespace) is None, 120, of="brief")
    assert (team.folder / "brief" / "convert-train" / "result.json").is_file()


def test_deletion_of_running_experiment_collects_its_objects(team: Team) -> None:
    team.apply(long_training("dropped"))
    team.wait("pods of the training", lambda: len(team.pods("dropped", "train")) == 2, of="dropped")
    team.cluster.kubectl("delete", "mrx", "dropped", "-n", team.namespace, "--timeout=60s")

    def left() -> str:
        selection = ("-n", team.namespace, "-l", "maskrcnn.dev/experiment=dropped")
        return team.cluster.kubectl("get", "jobs,pods,services", *selection, "-o", "name")

    team.wait("the deletion of its Jobs, pods and Services", lambda: not left().strip(), 200, of="dropped")
