"""Tests of the place of an experiment's results, as the API server and the kubeconfig have it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from maskrcnn_operator.cluster.stored_results import ClusterFlags, StoredResults, find_results, results_of
from maskrcnn_trainer.errors import InvalidInput, TryAgain

URL = "s3://bucket/results"


def experiment(workspace: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": "shapes", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1},
        "spec": {
            "workspace": workspace,
            "experiment": {
                "totalSteps": 10,
                "initLearningRate": 0.01,
                "dataConfig": {"imageSize": [128, 128], "numClasses": 4},
            },
            "steps": [
                {"name": "convert", "datasetConvert": {"imageDir": "/workspace/a", "annotationsFile": "/workspace/b"}}
            ],
            **spec,
        },
    }


def in_bucket(**spec: Any) -> dict[str, Any]:
    return experiment({"objectStorage": {"url": URL}}, **spec)


def test_url_is_that_of_the_workspace() -> None:
    assert results_of(in_bucket()) == (URL, "[]")


def test_secret_is_left_out_and_the_entry_gets_no_trust() -> None:
    store = {"prefix": "s3://bucket", "region": "eu-west-1", "secretRef": {"name": "keys"}}
    _, stores = results_of(in_bucket(objectStores=[store]))
    assert json.loads(stores) == [{"prefix": "s3://bucket", "region": "eu-west-1", "fromManifest": True}]


def test_entry_of_the_file_replaces_that_of_the_experiment(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text("- {prefix: s3://bucket, secretDir: keys}")
    given = [{"prefix": "s3://bucket", "region": "eu-west-1"}, {"prefix": "gs://other"}]
    _, stores = results_of(in_bucket(objectStores=given), file)
    assert json.loads(stores) == [
        {"prefix": "s3://bucket", "secretDir": str(tmp_path / "keys")},
        {"prefix": "gs://other", "fromManifest": True},
    ]


def test_status_of_another_release_does_not_matter() -> None:
    assert results_of({**in_bucket(), "status": {"steps": "of another release"}})[0] == URL


def test_experiment_on_a_volume_is_refused_with_its_claim() -> None:
    item = experiment({"persistentVolumeClaim": {"claimName": "data"}})
    with pytest.raises(InvalidInput, match=r"shapes has its results on a volume \(claim data\)"):
        results_of(item)


def test_experiment_with_an_invalid_url_is_refused_with_its_problem() -> None:
    with pytest.raises(InvalidInput, match=r"shapes is invalid: spec\.workspace\.objectStorage\.url: .*segment"):
        results_of(experiment({"objectStorage": {"url": "s3://bucket/../x"}}))


def test_invalid_experiment_is_refused_with_its_first_problem() -> None:
    with pytest.raises(InvalidInput, match=r"MaskRCNNExperiment shapes is invalid: .*use the URL of its workspace"):
        results_of(experiment({"objectStorage": {"url": "not a URL"}}))


NAMESPACE_PATH = "/api/v1/namespaces/"


class ApiServer:
    """Server that sends one answer about experiments and one about namespaces, and records the paths of the requests.

    Attributes:
        experiment: status and body.
        namespace: status and body.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.experiment: tuple[int, Mapping[str, Any]] = (200, in_bucket())
        self.namespace: tuple[int, Mapping[str, Any]] = (200, namespace_object("uid-1"))
        self.kubeconfig = Path()

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        status, body = self.namespace if request.path.startswith(NAMESPACE_PATH) else self.experiment
        return web.json_response(body, status=status)

    def refuse(self, status: int, message: str) -> None:
        self.experiment = (status, refusal(message))

    async def find(self, *, with_owner: bool = False, **flags: Any) -> StoredResults:
        """Return what the command finds with the kubeconfig of this server."""
        given = ClusterFlags(kubeconfig=self.kubeconfig, **flags)
        return await find_results("shapes", given, with_owner=with_owner)


def namespace_object(uid: object) -> dict[str, Any]:
    return {"metadata": {"name": "of-lab", "uid": uid, "resourceVersion": "1"}}


def refusal(message: str) -> dict[str, Any]:
    return {"kind": "Status", "reason": "Refused", "message": message}


@pytest.fixture(name="api")
async def _api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    api = ApiServer()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    async with TestServer(application) as server:
        contexts = {"lab": {"namespace": "of-lab"}, "plain": {}}
        api.kubeconfig = tmp_path / "kubeconfig"
        api.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                    "contexts": [
                        {"name": name, "context": {"cluster": "c", "user": "u", **more}}
                        for name, more in contexts.items()
                    ],
                    "current-context": "lab",
                }
            )
        )
        yield api


@pytest.mark.parametrize(
    ("namespace", "context", "found"),
    [(None, None, "of-lab"), (None, "plain", "default"), ("team", None, "team"), ("team", "plain", "team")],
)
async def test_namespace_is_the_given_one_or_that_of_the_context(
    api: ApiServer, namespace: str | None, context: str | None, found: str
) -> None:
    assert await api.find(namespace=namespace, context=context) == StoredResults(URL, "[]", found)
    assert api.paths == [f"/apis/maskrcnn.dev/v1alpha1/namespaces/{found}/maskrcnnexperiments/shapes"]


async def test_owner_is_the_uid_of_the_namespace(api: ApiServer) -> None:
    assert (await api.find(with_owner=True)).owner_id == "uid-1"
    assert api.paths[1:] == [f"{NAMESPACE_PATH}of-lab"]


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (403, refusal('User "me" cannot get\nresource "x"'), 'User "me" cannot get resource "x"'),
        (404, refusal('namespaces "of-lab" not found'), 'namespaces "of-lab" not found'),
        (200, namespace_object("a b"), "metadata.uid isn't 1 to 128 letters"),
        (200, {}, "unexpected response body"),
    ],
)
async def test_unreadable_namespace_is_refused_with_all_ways(
    api: ApiServer, status: int, body: Mapping[str, Any], shown: str
) -> None:
    api.namespace = (status, body)
    with pytest.raises(InvalidInput) as error:
        await api.find(with_owner=True)
    ways = f"grant get on this namespace, give --owner-id ID .* any owner with `artifacts {URL} delete shapes`"
    assert re.search(f"uid of namespace of-lab, .* can't be read \\({re.escape(shown)}.*: {ways}", str(error.value))


async def test_unavailable_server_of_a_namespace_is_tried_again(api: ApiServer) -> None:
    api.namespace = (503, refusal("starting"))
    with pytest.raises(TryAgain, match="the API server is unavailable"):
        await api.find(with_owner=True)


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        (404, 'maskrcnnexperiments "shapes" not found', "shapes doesn't exist in namespace of-lab; give another one"),
        (404, "the server could not find the requested resource", "the cluster doesn't serve maskrcnnexperiments"),
        (403, 'User "me" cannot get resource "x"', 'the API server refuses: User "me" cannot get resource "x"'),
    ],
)
async def test_refusal_is_an_invalid_input(api: ApiServer, status: int, message: str, shown: str) -> None:
    api.refuse(status, message)
    with pytest.raises(InvalidInput) as error:
        await api.find()
    assert shown in str(error.value)
    assert str(error.value).endswith("use the URL of its workspace, without -n: `artifacts URL ACTION NAME`")


async def test_message_of_the_server_is_shown_without_control_characters(api: ApiServer) -> None:
    api.refuse(403, "no\x1b]0;title\x07\nplease")
    with pytest.raises(InvalidInput) as error:
        await api.find()
    assert str(error.value).isprintable()


async def test_unavailable_server_is_tried_again(api: ApiServer) -> None:
    api.refuse(503, "starting")
    with pytest.raises(TryAgain, match="the API server is unavailable"):
        await api.find()


async def test_failed_plugin_of_the_kubeconfig_is_an_invalid_input(api: ApiServer) -> None:
    settings = yaml.safe_load(api.kubeconfig.read_text())
    settings["users"][0]["user"] = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}
    api.kubeconfig.write_text(yaml.safe_dump(settings))
    with pytest.raises(InvalidInput, match="NAME shapes: .*process returned 1; sign in again, or use the URL"):
        await api.find()
    assert api.paths == []


async def test_missing_kubeconfig_is_an_invalid_input(api: ApiServer) -> None:
    api.kubeconfig = api.kubeconfig / "none"
    with pytest.raises(InvalidInput, match="NAME shapes: .*; give --kubeconfig, or use the URL of its workspace"):
        await api.find()
