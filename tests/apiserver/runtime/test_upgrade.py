"""Upgrade to fingerprint version 2, and rollback, during a training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, TRAIN, Cluster, condition, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

from maskrcnn_operator.core.desired import DesiredState

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

StartOperator = Callable[..., RunningOperator]


def know_version_1_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restrict operators to fingerprint version 1, like the previous release."""

    def by_version_1(desired: DesiredState, name: str) -> str:
        return desired.prints[name].by_version["v1"]

    monkeypatch.setattr(DesiredState, "recognizes", lambda state, name, recorded: recorded == by_version_1(state, name))
    monkeypatch.setattr(
        DesiredState, "fingerprints_of_attempt", lambda state, name, steps: (by_version_1(state, name),)
    )


def given(cluster: Cluster, attempt: str) -> tuple[str | None, list[str]]:
    """Return the fingerprint passed to the pods of an attempt, and the list of all accepted ones."""
    container = cluster.jobs()[attempt]["spec"]["template"]["spec"]["containers"][0]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    return environment["MASKRCNN_FINGERPRINT"], (environment.get("MASKRCNN_FINGERPRINTS") or "").split()


def lose_status(cluster: Cluster, name: str) -> None:
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments/{name}/status"
    experiment = cluster.experiment(name)
    assert experiment is not None
    cluster.bed.api("PUT", path, {**experiment, "status": {}})


def test_training_continues_over_upgrade_and_rollback(
    start_operator: StartOperator,
    cluster: Cluster,
    kubelet: PlayedKubelet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check that every start gets the fingerprint that first claimed the training's directory."""
    for attempt in (1, 2, 3, 4):
        kubelet.play("train", Play(seconds=None, checkpoint_step=60), attempt=attempt)
    know_version_1_alone(monkeypatch)
    older = start_operator()
    cluster.apply(manifest("long", CONVERT, TRAIN))
    kubelet.wait_running("train", pods=1)
    first = cluster.wait_step("long", "train", state="Running")
    claimed = first["fingerprint"]
    assert given(cluster, "train/1") == (claimed, [])
    older.stop()

    monkeypatch.undo()
    newer = start_operator()
    cluster.edit("long", {"suspend": True})
    cluster.wait_ready("long", "Suspended")
    cluster.edit("long", {"suspend": False})
    again = cluster.wait_step("long", "train", state="Running", attempt=2)
    assert (again["fingerprint"], given(cluster, "train/2")) == (claimed, (claimed, []))
    assert [facts.step for facts in kubelet.started].count("convert") == 1
    cluster.edit("long", {"suspend": True})
    cluster.wait_ready("long", "Suspended")
    cluster.wait_for(lambda: "train/2" not in cluster.jobs(), "the deletion of the Job")
    newer.stop()

    for job in list(cluster.jobs().values()):
        cluster.delete_job(job["metadata"]["name"])
    lose_status(cluster, "long")
    newer = start_operator()
    cluster.edit("long", {"suspend": False})
    fresh = cluster.wait_step("long", "train", state="Running")
    assert fresh["fingerprint"].endswith("-v2")
    assert fresh["olderFingerprint"] == claimed
    attempt = f"train/{fresh['attempt']}"
    assert given(cluster, attempt) == (claimed, [claimed, fresh["fingerprint"]])
    newer.stop()

    know_version_1_alone(monkeypatch)
    start_operator()
    back = cluster.wait_step("long", "train", state="Running", attempt=fresh["attempt"] + 1)
    assert (back["fingerprint"], given(cluster, f"train/{back['attempt']}")) == (claimed, (claimed, []))
    found = cluster.experiment("long")
    assert found is not None
    assert condition(found, "Stalled") is None
    assert step_of(found, "convert")["state"] == "Succeeded"
