"""Progress endpoint on a real API server: real tokens, pods of real Jobs, and server-side apply of the progress.

The endpoint uses a service account that has only the permissions that it needs.
"""

from __future__ import annotations

import asyncio
import copy
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import aiohttp
import pytest
import yaml
from tests.apiserver.bed import Bed

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import PROGRESS_MANAGER, STATUS_MANAGER, Client
from maskrcnn_operator.cluster.connection import connect, load_configuration
from maskrcnn_operator.cluster.listing import list_namespace
from maskrcnn_operator.jobs.config import TOKEN_AUDIENCE
from maskrcnn_operator.jobs.names import job_name, labels
from maskrcnn_operator.progress_endpoint.report import MAX_REPORT_BYTES
from maskrcnn_operator.progress_endpoint.server import POD_BURST, progress_app, serve
from maskrcnn_operator.progress_endpoint.tls import ServerCertificate
from maskrcnn_operator.progress_endpoint.tokens import TokenChecker
from maskrcnn_operator.progress_endpoint.writer import ProgressWriter
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.posting import HttpPoster
from maskrcnn_trainer.task.reporter import Reporter

pytestmark = pytest.mark.apiserver

MANIFEST = yaml.safe_load((Path(__file__).parents[2] / "unit" / "core" / "nine_steps.yaml").read_text())
ACCOUNT = "progress-endpoint"
WAIT_SECONDS = 60.0

RIGHTS = [
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {"apiGroups": ["maskrcnn.dev"], "resources": ["maskrcnnexperiments"], "verbs": ["list"]},
    {"apiGroups": ["maskrcnn.dev"], "resources": ["maskrcnnexperiments/status"], "verbs": ["patch"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]
RIGHTS_AT_HOME = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "update"]}]


@dataclass
class World:
    """Control plane with a running endpoint."""

    bed: Bed
    namespace: str
    client: Client
    cache: Cache
    writer: ProgressWriter
    certificate: ServerCertificate
    url: str = ""
    session: aiohttp.ClientSession = field(init=False)

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.bed.api, method, path, body)

    async def look(self) -> None:
        """Update the cache from the cluster."""
        await list_namespace(self.client, self.cache, None, set())
        self.cache.mark_listed()

    async def experiment(self, name: str = "nuclei", namespace: str = "") -> dict[str, Any]:
        """Create an experiment."""
        manifest = {**copy.deepcopy(MANIFEST), "metadata": {"name": name}}
        made: dict[str, Any] = await self.api("POST", _experiments(namespace or self.namespace), manifest)
        return made

    async def object(self, name: str = "nuclei") -> dict[str, Any]:
        found: dict[str, Any] = await self.api("GET", f"{_experiments(self.namespace)}/{name}")
        return found

    async def status(
        self, experiment: dict[str, Any], attempt: int, state: str = "Running", current: str | None = "train"
    ) -> dict[str, Any]:
        """Write the status of an experiment whose train step is at ``attempt``, as the leader does."""
        metadata = experiment["metadata"]
        now = await self.api("GET", f"{_experiments(metadata['namespace'])}/{metadata['name']}")
        step = {
            "name": "train", "state": state, "attempt": attempt, "fingerprint": "9f2c-v1", "reason": "Training",
            "jobName": job_name(metadata["name"], "train", attempt, metadata["uid"]),
        }  # fmt: skip
        written = {"observedGeneration": 1, "steps": [step], "restarts": attempt - 1}
        if current is not None:
            written["currentStep"] = current
        applied = await self.client.apply_status(
            metadata["namespace"], metadata["name"], written, now["metadata"]["resourceVersion"]
        )
        await self.look()
        return dict(applied)

    async def pod(self, experiment: dict[str, Any], attempt: int, **label: str) -> dict[str, Any]:
        """Return the pod that the Job controller creates for an attempt of the train step."""
        metadata = experiment["metadata"]
        namespace = metadata["namespace"]
        name = job_name(metadata["name"], "train", attempt, metadata["uid"])
        ours = labels(metadata["name"], "train", attempt) | label
        owner = {
            "apiVersion": experiment["apiVersion"], "kind": experiment["kind"], "name": metadata["name"],
            "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": False,
        }  # fmt: skip
        template = {
            "metadata": {"labels": ours},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": "trainer:test"}]},
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": ours, "ownerReferences": [owner]},
            "spec": {"backoffLimit": 0, "template": template},
        }
        await self.api("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
        pods = f"/api/v1/namespaces/{namespace}/pods?labelSelector=job-name={name}"
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := (await self.api("GET", pods))["items"]):
            assert time.monotonic() < deadline, f"the Job controller has created no pod for {name}"
            await asyncio.sleep(0.1)
        await self.look()
        made: dict[str, Any] = found[0]
        return made

    async def token(self, pod: dict[str, Any], audience: str = TOKEN_AUDIENCE) -> str:
        """Return a token like the one that is projected into a pod."""
        metadata = pod["metadata"]
        return await asyncio.to_thread(
            self.bed.token_for, "default", metadata["namespace"], audience=audience,
            pod=(metadata["name"], metadata["uid"]),
        )  # fmt: skip

    async def post(self, token: str, body: Any = None) -> tuple[int, Any]:
        content = {"data": body} if isinstance(body, bytes) else {"json": report() if body is None else body}
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with self.session.post(self.url, headers=headers, **content) as answer:
            return answer.status, await answer.json()

    async def refused(self, token: str, body: Any = None) -> tuple[int, str]:
        status, answer = await self.post(token, body)
        return status, answer["error"]["reason"]

    async def written(self, name: str = "nuclei") -> dict[str, Any]:
        """Return the experiment once it has progress."""
        deadline = time.monotonic() + WAIT_SECONDS
        while "progress" not in (found := await self.object(name)).get("status", {}):
            assert time.monotonic() < deadline, f"no progress in {found.get('status')}"
            await asyncio.sleep(0.1)
        return found


def report(step: int = 300, **more: Any) -> dict[str, Any]:
    return {"version": 1, "step": step, "total_steps": 1000, "eta": "0:12:30", "graphical": {"loss": 0.61}, **more}


def _experiments(namespace: str) -> str:
    return f"/apis/maskrcnn.dev/v1alpha1/namespaces/{namespace}/maskrcnnexperiments"


def grant(bed: Bed, home: str) -> Path:
    """Return the kubeconfig of a service account with only the endpoint's permissions."""
    rights = "/apis/rbac.authorization.k8s.io/v1"
    name, at_home = f"{home}-progress", f"namespaces/{home}"
    subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": home}]
    everywhere = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    for path, content in (
        ("clusterroles", {"rules": RIGHTS}),
        ("clusterrolebindings", {"roleRef": everywhere, "subjects": subjects}),
        (f"{at_home}/roles", {"rules": RIGHTS_AT_HOME}),
        (f"{at_home}/rolebindings", {"roleRef": everywhere | {"kind": "Role"}, "subjects": subjects}),
    ):
        bed.api("POST", f"{rights}/{path}", {"metadata": {"name": name}, **content})
    return bed.kubeconfig_for(ACCOUNT, home)


@pytest.fixture
async def world(bed: Bed, crd: None, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    home = await asyncio.to_thread(bed.create_namespace, "operator")
    kubeconfig = await asyncio.to_thread(grant, bed, home)
    client, cache = Client(connect(await load_configuration(kubeconfig))), Cache()
    writer = ProgressWriter(client.apply_progress, cache.experiment)
    certificate = ServerCertificate(client, home, ["localhost", "maskrcnn-operator-reports.ops.svc"])
    await certificate.refresh()
    tokens = TokenChecker(client.token_review, time.monotonic)
    runner = await serve(progress_app(cache, tokens, writer), 0, certificate.context, "127.0.0.1")
    world = World(bed, namespace, client, cache, writer, certificate)
    world.url = f"https://localhost:{runner.addresses[0][1]}/v1/report"
    trusted = ssl.create_default_context(cadata=certificate.ca_pem)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as world.session:
        yield world
    await writer.close()
    await runner.cleanup()
    await client.close()
    await asyncio.to_thread(bed.delete_namespace, home)


async def test_progress_is_written_with_valid_token_and_removed_by_empty_apply(world: World) -> None:
    experiment = await world.experiment()
    await world.status(experiment, 1)
    pod = await world.pod(experiment, 1)
    token = await world.token(pod)
    assert await world.post(token, report(checkpointStep=200, kpi={"AP": 0.31})) == (200, {"accepted": True})
    found = await world.written()
    progress = found["status"]["progress"]
    assert {key: value for key, value in progress.items() if key != "lastUpdatedTime"} == {
        "step": "train", "iteration": 300, "totalIterations": 1000, "percentage": 30, "checkpointStep": 200,
        "estimatedRemainingSeconds": 750, "eta": "0:12:30",
        "metrics": [{"name": "loss", "value": "0.61"}, {"name": "AP", "value": "0.31"}],
    }  # fmt: skip
    managers = {item["manager"]: item["fieldsV1"]["f:status"] for item in found["metadata"]["managedFields"]
                if item.get("subresource") == "status"}  # fmt: skip
    assert set(managers) == {STATUS_MANAGER, PROGRESS_MANAGER}
    assert set(managers[PROGRESS_MANAGER]) == {"f:progress"}
    assert "f:progress" not in managers[STATUS_MANAGER]
    await world.look()
    cached = world.cache.experiment(world.namespace, "nuclei")
    assert cached is not None
    assert cached.status.progress is not None
    assert cached.status.progress.checkpoint_step == 200

    # the leader's writes keep the progress, and removing the progress keeps what the leader wrote
    await world.status(experiment, 1)
    kept = await world.written()
    assert kept["status"]["progress"] == progress
    await world.status(experiment, 1, "Succeeded", current=None)
    ended = await world.written()
    await world.client.apply_progress(world.namespace, "nuclei", None)
    removed = await world.object("nuclei")
    assert removed["status"] == {key: value for key, value in ended["status"].items() if key != "progress"}
    assert removed["status"]["steps"][0]["state"] == "Succeeded"
    assert PROGRESS_MANAGER not in {
        item["manager"] for item in removed["metadata"]["managedFields"] if "f:status" in item["fieldsV1"]
    }
    # a second removal changes nothing
    await world.client.apply_progress(world.namespace, "nuclei", None)
    again = await world.object("nuclei")
    assert again["metadata"]["resourceVersion"] == removed["metadata"]["resourceVersion"]
    await world.look()
    assert await world.refused(token) == (403, "NotRunning")


async def test_poster_of_the_trainer_reports_over_https(world: World, tmp_path: Path) -> None:
    experiment = await world.experiment()
    await world.status(experiment, 1)
    (tmp_path / "token").write_text(await world.token(await world.pod(experiment, 1)))
    (tmp_path / "ca.crt").write_text(world.certificate.ca_pem)
    environment = TaskEnvironment(
        results_dir=str(tmp_path), fingerprint="9f2c-v1", attempt=1, experiment_uid=experiment["metadata"]["uid"],
        report_url=world.url, report_token_file=str(tmp_path / "token"), report_ca_file=str(tmp_path / "ca.crt"),
    )  # fmt: skip
    poster = HttpPoster(environment, interval=0.0).start()
    reporter = Reporter("train", tmp_path, environment, poster=poster)
    await asyncio.to_thread(reporter.started, "Starting MaskRCNN training.")
    reporter.running(step=400, total_steps=1000, eta=90.0, graphical={"loss": 0.5}, checkpoint_step=400)
    found = await world.written()
    await asyncio.to_thread(poster.close, 10.0)
    assert (found["status"]["progress"]["iteration"], found["status"]["progress"]["checkpointStep"]) == (400, 400)
    assert found["status"]["progress"]["eta"] == "0:01:30"


async def test_token_for_another_audience_or_without_pod_is_refused(world: World) -> None:
    experiment = await world.experiment()
    await world.status(experiment, 1)
    pod = await world.pod(experiment, 1)
    assert await world.refused(await world.token(pod, "https://kubernetes.default.svc")) == (401, "TokenRejected")
    assert await world.refused(await world.token(pod, "vault")) == (401, "TokenRejected")
    unbound = await asyncio.to_thread(world.bed.token_for, "default", world.namespace, audience=TOKEN_AUDIENCE)
    assert await world.refused(unbound) == (403, "NotAPod")
    assert await world.refused("nonsense") == (401, "TokenRejected")
    # a token for the endpoint still works, but the API server doesn't accept it
    token = await world.token(pod)
    assert (await world.post(token))[0] == 200
    kubectl = await asyncio.to_thread(
        lambda: world.bed.kubectl(
            "--kubeconfig", "/dev/null", "--server", world.bed.server, "--certificate-authority", str(world.bed.ca),
            "--token", token, "get", "pods", check=False,
        )
    )  # fmt: skip
    assert "Unauthorized" in kubectl.stderr or "must be logged in" in kubectl.stderr


async def test_pod_reports_for_its_own_experiment_only(world: World) -> None:
    mine, other = await world.experiment(), await world.experiment("other")
    await world.status(mine, 1)
    await world.status(other, 1)
    await world.pod(mine, 1)
    # a pod of another experiment whose labels and report name this one
    foreign = await world.pod(other, 1, **labels("nuclei", "train", 1))
    body = report(experimentUid=mine["metadata"]["uid"], attempt=1)
    assert (await world.refused(await world.token(foreign), body))[0] == 403

    elsewhere = await asyncio.to_thread(world.bed.create_namespace, "elsewhere")
    twin = await world.experiment(namespace=elsewhere)
    await world.status(twin, 1)
    twins = await world.token(await world.pod(twin, 1))
    assert await world.refused(twins, body) == (403, "NotYours")
    assert await world.post(twins) == (200, {"accepted": True})

    # a pod without a Job, in the right namespace, with all the right labels
    bare = await world.api(
        "POST", f"/api/v1/namespaces/{world.namespace}/pods",
        {
            "metadata": {"name": "bare", "labels": labels("nuclei", "train", 1)},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": "trainer:test"}]},
        },
    )  # fmt: skip
    await world.look()
    assert await world.refused(await world.token(bare)) == (403, "UnknownJob")
    assert "progress" not in (await world.object())["status"]
    await asyncio.to_thread(world.bed.delete_namespace, elsewhere)


async def test_report_of_old_attempt_or_other_step_is_not_accepted(world: World) -> None:
    experiment = await world.experiment()
    await world.status(experiment, 1)
    first = await world.token(await world.pod(experiment, 1))
    second = await world.token(await world.pod(experiment, 2))
    assert await world.refused(second) == (403, "NotCurrent")
    await world.status(experiment, 2)
    assert await world.refused(first) == (403, "NotCurrent")
    assert await world.refused(second, report(attempt=1)) == (403, "NotYours")
    await world.status(experiment, 2, current="evaluate")
    assert await world.post(second) == (200, {"accepted": False, "reason": "NotCurrentStep"})
    await world.status(experiment, 2)
    assert await world.post(second) == (200, {"accepted": True})
    assert (await world.written())["status"]["progress"]["iteration"] == 300


async def test_report_that_is_too_large_invalid_or_too_frequent_is_refused(world: World) -> None:
    experiment = await world.experiment()
    await world.status(experiment, 1)
    token = await world.token(await world.pod(experiment, 1))
    assert await world.refused(token, b" " * (MAX_REPORT_BYTES + 1)) == (413, "ReportTooLarge")
    assert await world.refused(token, b'{"step": NaN}') == (400, "InvalidReport")
    statuses = [(await world.post(token, report(step)))[0] for step in range(POD_BURST)]
    assert statuses == [200] * (POD_BURST - 2) + [429] * 2
    found = await world.written()
    assert found["status"]["progress"]["iteration"] == 0
    before = found["metadata"]["resourceVersion"]
    assert (await world.object())["metadata"]["resourceVersion"] == before


async def test_replicas_share_one_authority(world: World, kubectl: Callable[..., CompletedProcess[str]]) -> None:
    home = await asyncio.to_thread(world.bed.create_namespace, "replicas")
    admin = Client(connect(await load_configuration(world.bed.kubeconfig)))
    replicas = [ServerCertificate(admin, home, ["localhost"]) for _ in range(5)]
    await asyncio.gather(*(replica.refresh() for replica in replicas))
    assert len({replica.ca_pem for replica in replicas}) == 1
    secret = await asyncio.to_thread(kubectl, "get", "secret", "-n", home, "-o", "name")
    assert secret.stdout.split() == ["secret/maskrcnn-operator-report-ca"]
    later = ServerCertificate(admin, home, ["localhost"])
    await later.refresh()
    assert later.ca_pem == replicas[0].ca_pem
    await admin.close()
    await asyncio.to_thread(world.bed.delete_namespace, home)
