"""Upgrade, rollback and uninstallation of the chart while experiments exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from tests.cluster.cluster import NAMESPACE
from tests.cluster.experiments import CONVERT, experiment, long_training
from tests.cluster.installation import CHART, RELEASE, WAIT, Installation
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


def with_one_more_field(folder: Path) -> Path:
    """Return a chart whose CustomResourceDefinition has an additional field with a default."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    file = chart / "files" / "crd.yaml"
    crd = yaml.safe_load(file.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["note"] = {"type": "string", "default": "none", "description": "Of a later release."}
    file.write_text(yaml.safe_dump(crd))
    return chart


def test_an_upgrade_and_a_rollback_start_and_stop_nothing(
    team: Team, installation: Installation, tmp_path: Path
) -> None:
    cluster = team.cluster
    team.apply(experiment("finished", CONVERT))
    team.wait_succeeded("finished", 120)
    team.apply(experiment("waiting", CONVERT, suspend=True))
    team.apply(long_training("running"))
    team.wait_checkpoint("running")
    names = ("finished", "waiting", "running")
    before = {name: team.jobs(name) for name in names}

    chart = with_one_more_field(tmp_path)
    image = cluster.get("deployment", RELEASE, NAMESPACE)["spec"]["template"]["spec"]["containers"][0]["image"]
    other = ("--set", f"trainer.image={image.replace('operator', 'trainer')}-other")
    cluster.helm("upgrade", RELEASE, str(chart), "-n", NAMESPACE, *WAIT, *other)
    assert cluster.get("mrx", "finished", team.namespace)["spec"]["note"] == "none"
    assert {name: team.jobs(name) for name in names} == before

    cluster.helm("rollback", RELEASE, "-n", NAMESPACE, *WAIT)
    installation.wait_ready()
    assert "note" not in cluster.get("mrx", "finished", team.namespace)["spec"]
    # this release doesn't know the field, so the experiment is Stalled until the operator reads it without the field
    team.wait(
        "running isn't Stalled", lambda: team.condition("running", "Stalled").get("status") != "True", of="running"
    )
    status = team.wait_succeeded("running")
    assert (status["restarts"], [step["attempt"] for step in status["steps"]]) == (0, [1, 1, 1])
    assert {name: team.jobs(name) for name in names} == before
    assert team.condition("waiting", "Suspended")["status"] == "True"

    cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--wait")
    assert len(cluster.list("mrx", team.namespace)) == 3
    installation.install()
    installation.wait_ready()
    assert {name: team.jobs(name) for name in names} == before
    said = cluster.helm("test", RELEASE, "-n", NAMESPACE, "--logs")
    assert "reports: 401" in said
