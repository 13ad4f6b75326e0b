"""Lists of the client over HTTP: requests, limits, and undecodable objects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.paging import METADATA_ONLY, MOST_BYTES
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


class Server:
    """Server of objects given as JSON texts by name, with the lists of an API server."""

    def __init__(self, **objects: str) -> None:
        self.objects = objects
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        only = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        names = [name for name in self.objects if only in ("", name)]
        start = int(request.query.get("continue") or 0)
        limit = int(request.query["limit"])
        chosen, more = names[start : start + limit], names[start + limit :]
        metadata = {"resourceVersion": "9", **({"continue": str(start + limit)} if more else {})}
        partial = "PartialObjectMetadataList" in request.headers["Accept"]
        items = [self.item(name, "{}" if partial else self.objects[name]) for name in chosen]
        text = f'{{"metadata": {json.dumps(metadata)}, "items": [{",".join(items)}]}}'
        return web.Response(text=text, content_type="application/json")

    @staticmethod
    def item(name: str, spec: str) -> str:
        return f'{{"metadata": {json.dumps({"name": name, "namespace": "ns", "uid": name})}, "spec": {spec}}}'


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[Client]:
    application = web.Application()
    application.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(ApiClient(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")))
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


async def test_page_with_an_undecodable_object_loses_that_object_alone() -> None:
    server = Server(fine='{"a": 1}', deep=DEEP, other='{"a": 2}')
    async with client_of(server) as client:
        (page,) = [page async for page in client.list(EXPERIMENTS)]
    assert [item["metadata"]["name"] for item in page.items] == ["fine", "deep", "other"]
    assert [item.get("kind") for item in page.items] == [None, METADATA_ONLY, None]
    assert [item.get("spec", {}).get("a") for item in page.items] == [1, None, 2]


async def test_page_that_grows_too_large_is_not_read_to_its_end() -> None:
    small, large = '{"a": 1}', json.dumps("x" * 1_400_000)
    server = Server(**{f"a{n:03}": small for n in range(10)}, **{f"b{n:03}": large for n in range(20)})
    sizes: list[int] = []
    async with client_of(server) as client:
        async for page in client.list(EXPERIMENTS):
            sizes.append(sum(len(str(item["spec"])) for item in page.items))
    assert len(sizes) > 4
    assert max(sizes) <= MOST_BYTES


async def test_metadata_list_asks_for_metadata_alone() -> None:
    server = Server(a='{"a": 1}')
    async with client_of(server) as client:
        (page,) = [page async for page in client.list_metadata(JOBS, "ns")]
    assert [item["spec"] for item in page.items] == [{}]
    (request,) = server.requests
    assert request.path == "/apis/batch/v1/namespaces/ns/jobs"
    assert request.query["labelSelector"] == "maskrcnn.dev/experiment"
    assert "as=PartialObjectMetadataList" in request.headers["Accept"]


async def test_find_reads_one_object_by_a_list() -> None:
    """The operator may list pods, not get them."""
    server = Server(a='{"a": 1}', b='{"a": 2}')
    async with client_of(server) as client:
        found: Any = await client.find(PODS, "ns", "b")
        assert await client.find(PODS, "ns", "c") is None
    assert found["spec"] == {"a": 2}
    assert server.requests[0].query["fieldSelector"] == "metadata.name=b"
    assert server.requests[0].path == "/api/v1/namespaces/ns/pods"
