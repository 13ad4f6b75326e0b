"""Permissions in deploy/rbac.yaml: all are used, and none is missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.apiserver import audit
from tests.apiserver.account import HOME, LEASE, RBAC, USER
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, GANG, Cluster, manifest
from tests.apiserver.runtime.running import IMAGE

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.connection import connect, load_configuration
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.core.plan import Event
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.progress_endpoint.authority_secret import SECRET_NAME, obtain_authority

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def granted() -> set[tuple[str, str]]:
    """Return the granted pairs of resource (with its subresource) and verb."""
    rules = [rule for part in yaml.safe_load_all(RBAC.read_text()) for rule in part.get("rules", ())]
    return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


async def make_rare_requests(kubeconfig: Path, namespace: str, experiment: dict[str, object]) -> None:
    """Make the rare requests: events, a repeated one and lists of them, a token review, renewal of an old authority."""
    client = Client(connect(await load_configuration(kubeconfig)))
    try:
        events = EventRecorder(client, "test")
        events.record(read_object(experiment), (Event("Normal", "Recorded", "twice"),) * 2)
        await events.flush()
        about = await client.events_about(namespace, experiment["metadata"]["uid"])  # type: ignore[index]
        assert len(about) > 0
        assert (await client.token_review("no token", "maskrcnn-operator")).get("authenticated") is not True
        first = await obtain_authority(client, namespace, SECRET_NAME, datetime.now(UTC))
        later = await obtain_authority(client, namespace, SECRET_NAME, datetime.now(UTC) + timedelta(days=365 * 20))
        assert later.certificate != first.certificate
    finally:
        await client.close()


def test_every_permission_is_used_and_none_is_missing(
    start_operator: StartOperator, cluster: Cluster, bed: Bed, account: Path, kubelet: PlayedKubelet
) -> None:
    offset = bed.audit_log.stat().st_size
    jobs = JobConfig(default_image=IMAGE, report_url="https://127.0.0.1:1/")
    first = start_operator(report_port=0, jobs=jobs)
    kubelet.play("train", Play(seconds=None), attempt=1)
    kubelet.play("train", Play(exit_code=1, seconds=1.0), attempt=2)
    bucket = {"objectStorage": {"url": "s3://lab/results"}}
    cluster.apply(manifest("stored", {**CONVERT, "name": "store"}, workspace=bucket, ttlSecondsAfterFinished=1))
    created = cluster.apply(manifest("all", CONVERT, GANG, ttlSecondsAfterFinished=1))
    kubelet.wait_running("train", pods=2)
    # the operator reads a Job that has vanished, and a second attempt reads the gang's Service
    cluster.delete_job(cluster.wait_step("all", "train", state="Running")["jobName"])
    for name in ("all", "stored"):
        cluster.wait_for(lambda name=name: cluster.experiment(name) is None, "the deletion of the experiment")
    first.stop()
    asyncio.run(make_rare_requests(account, cluster.namespace, created))

    calls = [call for call in audit.calls(bed.audit_log, user=USER, offset=offset) if call.resource]
    assert [call for call in calls if call.code == 403] == []
    used = {(f"{call.resource}/{call.subresource}".rstrip("/"), call.verb) for call in calls}
    assert used == granted()


def test_no_permission_has_a_wildcard() -> None:
    assert not [pair for pair in granted() if "*" in "".join(pair)]


@pytest.mark.parametrize(
    ("verb", "target", "answer"),
    [
        ("get", f"secrets/{SECRET_NAME}", "yes"),
        ("update", f"secrets/{SECRET_NAME}", "yes"),
        ("get", "secrets/registry-password", "no"),
        ("update", "secrets/registry-password", "no"),
        ("delete", f"secrets/{SECRET_NAME}", "no"),
        ("list", "secrets", "no"),
        ("watch", "secrets", "no"),
        ("update", f"leases.coordination.k8s.io/{LEASE}", "yes"),
        ("update", "leases.coordination.k8s.io/other", "no"),
    ],
)
@pytest.mark.usefixtures("account")
def test_other_secrets_and_leases_are_not_accessible(bed: Bed, verb: str, target: str, answer: str) -> None:
    done = bed.kubectl("auth", "can-i", verb, target, "-n", HOME, "--as", USER, check=False)
    assert done.stdout.strip() == answer
