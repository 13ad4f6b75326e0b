"""Tests of the place of an experiment's results, as the API server and the kubeconfig have it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from maskrcnn_operator.cluster.stored_results import experiment_object, results_of
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
    with pytest.raises(InvalidInput, match=r"MaskRCNNExperiment shapes is invalid: .*give the URL of the workspace"):
        results_of(experiment({"objectStorage": {"url": "not a URL"}}))


class ApiServer:
    """Server that sends one answer, and records the paths of the requests."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        self.body: Mapping[str, Any] = in_bucket()
        self.kubeconfig = Path()

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        return web.json_response(self.body, status=self.status)

    def refuse(self, status: int, message: str) -> None:
        self.status, self.body = status, {"kind": "Status", "reason": "Refused", "message": message}


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
    result = await experiment_object("shapes", namespace, kubeconfig=api.kubeconfig, context=context)
    assert result == (found, api.body)
    assert api.paths == [f"/apis/maskrcnn.dev/v1alpha1/namespaces/{found}/maskrcnnexperiments/shapes"]


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        (404, 'maskrcnnexperiments "shapes" not found', "shapes doesn't exist in the namespace of the kubeconfig"),
        (404, "the server could not find the requested resource", "the cluster doesn't serve maskrcnnexperiments"),
        (403, 'User "me" cannot get resource "x"', 'the API server refuses: User "me" cannot get resource "x"'),
    ],
)
async def test_refusal_is_an_invalid_input(api: ApiServer, status: int, message: str, shown: str) -> None:
    api.refuse(status, message)
    with pytest.raises(InvalidInput) as error:
        await experiment_object("shapes", None, kubeconfig=api.kubeconfig)
    assert shown in str(error.value)


async def test_message_of_the_server_is_shown_without_control_characters(api: ApiServer) -> None:
    api.refuse(403, "no\x1b]0;title\x07\nplease")
    with pytest.raises(InvalidInput) as error:
        await experiment_object("shapes", None, kubeconfig=api.kubeconfig)
    assert str(error.value).isprintable()


async def test_unavailable_server_is_tried_again(api: ApiServer) -> None:
    api.refuse(503, "starting")
    with pytest.raises(TryAgain, match="the API server is unavailable"):
        await experiment_object("shapes", None, kubeconfig=api.kubeconfig)


async def test_missing_kubeconfig_is_an_invalid_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidInput, match=r"give --kubeconfig, or give the URL of the workspace"):
        await experiment_object("shapes", None, kubeconfig=tmp_path / "none")
