"""Experiments in object storage on a real API server: their pods, and the owner of their results."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver.account import ACCOUNT, HOME, RBAC, allowed
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, GANG, Cluster, condition, manifest
from tests.apiserver.runtime.running import RunningOperator

from maskrcnn_operator.cluster import optional_reads
from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.resources import NAMESPACES, Object, Resource
from maskrcnn_operator.core import readiness

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

BUCKET = {"objectStorage": {"url": "s3://lab/results", "scratch": {"sizeLimit": "20Gi"}}}
STORES = [{"prefix": "s3://lab", "secretRef": {"name": "store-keys"}}]
BLIND = "maskrcnn-operator-blind"
"""Service account with all permissions of the operator but that to get namespaces."""
RBAC_PATH = "/apis/rbac.authorization.k8s.io/v1/namespaces"


@pytest.fixture
def bare(bed: Bed, home: str) -> Cluster:
    """Return the test's namespace, without a claim."""
    return Cluster(bed, home)


def uid_of(bed: Bed, namespace: str) -> str:
    return str(bed.api("GET", f"/api/v1/namespaces/{namespace}")["metadata"]["uid"])


def variables(job: dict[str, Any]) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_gang_runs_without_a_claim_and_its_namespace_owns_the_results(
    operator: RunningOperator, bare: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    bare.apply(manifest("stored", CONVERT, GANG, workspace=BUCKET, objectStores=STORES))
    bare.wait_ready("stored", "Succeeded")
    jobs = bare.jobs()
    assert set(jobs) == {"convert/1", "train/1"}
    for job in jobs.values():
        assert variables(job)["MASKRCNN_OWNER_ID"] == uid_of(bed, bare.namespace)
        assert variables(job)["MASKRCNN_OWNER_NAMESPACE"] == bare.namespace
        volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
        assert volumes["maskrcnn-scratch"]["emptyDir"] == {"sizeLimit": "20Gi"}
        assert "maskrcnn-workspace" not in volumes
    assert jobs["train/1"]["spec"]["parallelism"] == 2
    assert variables(jobs["train/1"])["MASKRCNN_RESULTS_DIR"] == "s3://lab/results/stored/train"


def test_gang_shows_the_error_of_the_node_that_failed_first(
    operator: RunningOperator, bare: Cluster, kubelet: PlayedKubelet
) -> None:
    error = {"reason": "BucketNotFound", "message": "s3://lab/results: the bucket doesn't exist"}
    kubelet.play("train", Play(seconds=None, stop_seconds=1), index=0)
    message = json.dumps({"version": 1, "task": "train", "code": 64, "attempt": 1, "error": error})
    kubelet.play("train", Play(seconds=1, exit_code=64, message=message), index=1)
    bare.apply(manifest("stored", GANG, workspace=BUCKET, objectStores=STORES))
    failed = bare.wait_step("stored", "train", state="Failed")
    assert failed["reason"] == "BucketNotFound"
    assert failed["message"].endswith("exit code 64: s3://lab/results: the bucket doesn't exist")
    stored = bare.wait("stored", lambda found: condition(found, "Stalled") is not None, "Stalled")
    stalled = condition(stored, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "BucketNotFound"


def test_steps_run_side_by_side_without_a_claim(
    operator: RunningOperator, bare: Cluster, kubelet: PlayedKubelet
) -> None:
    for name in ("one", "two"):
        kubelet.play(name, Play(seconds=None))
    steps = [{**CONVERT, "name": name} for name in ("one", "two")]
    bare.apply(manifest("both", *steps, workspace=BUCKET))
    for name in ("one", "two"):
        kubelet.wait_running(name)
    for name in ("one", "two"):
        kubelet.finish(name)
    bare.wait_ready("both", "Succeeded")


def test_owner_id_of_the_installation_is_that_of_all_jobs(
    start_operator: StartOperator, bare: Cluster, kubelet: PlayedKubelet
) -> None:
    start_operator(owner_id="fleet")
    bare.apply(manifest("stored", CONVERT, workspace=BUCKET))
    bare.wait_ready("stored", "Succeeded")
    (job,) = bare.jobs().values()
    assert variables(job)["MASKRCNN_OWNER_ID"] == "fleet"


@pytest.fixture
def blind(bed: Bed, home: str) -> Path:
    """Return a kubeconfig of BLIND with Roles in the test's namespace alone, as the chart makes them for a list."""
    rules = [
        rule
        for document in yaml.safe_load_all(RBAC.read_text())
        if document["kind"] in ("ClusterRole", "Role") and document["metadata"]["name"] != "maskrcnn-reports"
        for rule in document["rules"]
        if "namespaces" not in rule["resources"]
    ]
    grant(bed, home, BLIND, rules)
    return bed.kubeconfig_for(BLIND, HOME)


def grant(bed: Bed, namespace: str, name: str, rules: list[dict[str, Any]]) -> None:
    """Make a Role with rules and bind it to BLIND."""
    bed.api("POST", f"{RBAC_PATH}/{namespace}/roles", {"metadata": {"name": name}, "rules": rules})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": BLIND, "namespace": HOME}],
    }
    bed.api("POST", f"{RBAC_PATH}/{namespace}/rolebindings", binding)


def may_read(bed: Bed, account: str, namespace: str) -> bool:
    """Return whether a service account may get a namespace."""
    attributes = {"resource": "namespaces", "verb": "get", "name": namespace, "namespace": namespace}
    return allowed(bed, f"system:serviceaccount:{HOME}:{account}", attributes)


@pytest.mark.usefixtures("kubelet")
def test_nothing_starts_before_the_namespace_can_be_read(
    start_operator: StartOperator, blind: Path, cluster: Cluster, bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Role with the namespace's name, as the chart makes one for each listed namespace, is enough."""
    monkeypatch.setattr(readiness, "OWNER_CHECK_INTERVAL", timedelta(seconds=2))
    monkeypatch.setattr(optional_reads, "UNKNOWN_SECONDS", 2.0)
    start_operator(kubeconfig=blind)
    cluster.apply(manifest("stored", CONVERT, workspace=BUCKET))
    cluster.apply(manifest("on-claim", CONVERT))
    cluster.wait_ready("on-claim", "Succeeded")
    waiting = cluster.wait_step("stored", "convert", reason="OwnerUnknown")
    assert cluster.namespace in waiting["message"]
    stored = cluster.experiment("stored")
    ready = condition(stored, "Ready") if stored is not None else None
    assert ready is not None
    assert ready["reason"] == "OwnerUnknown"
    assert len(cluster.jobs()) == 1
    rule = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [cluster.namespace], "verbs": ["get"]}
    grant(bed, cluster.namespace, "namespace-reader", [rule])
    cluster.wait_ready("stored", "Succeeded")
    assert may_read(bed, BLIND, cluster.namespace)
    assert not may_read(bed, BLIND, HOME)


class WithoutNamespaces(Client):
    """Client of an API server that fails to read namespaces."""

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, purpose: CallPurpose = CallPurpose.RECONCILE
    ) -> Object:
        if resource is NAMESPACES:
            raise ApiError(500, "InternalError", "the authorizer is down")
        return await super().get(resource, namespace, name, purpose=purpose)


def test_running_step_is_followed_while_reads_of_the_namespace_fail(
    start_operator: StartOperator, bare: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(seconds=None))
    first = start_operator()
    bare.apply(manifest("stored", CONVERT, {**CONVERT, "name": "second", "dependsOn": ["convert"]}, workspace=BUCKET))
    bare.wait_step("stored", "convert", state="Running")
    first.stop()
    start_operator(WithoutNamespaces).wait_leading()
    kubelet.finish("convert")
    bare.wait_step("stored", "convert", state="Succeeded")
    bare.wait_step("stored", "second", reason="OwnerUnknown")
    bare.edit("stored", {"suspend": True})
    bare.wait("stored", lambda found: condition(found, "Suspended") is not None, "Suspended")


@pytest.mark.usefixtures("account")
def test_cluster_role_reads_all_namespaces_and_changes_none(bed: Bed, namespace: str) -> None:
    assert may_read(bed, ACCOUNT, namespace)
    user = f"system:serviceaccount:{HOME}:{ACCOUNT}"
    for verb in ("list", "watch", "update", "patch", "delete"):
        assert not allowed(bed, user, {"resource": "namespaces", "verb": verb, "name": namespace})
