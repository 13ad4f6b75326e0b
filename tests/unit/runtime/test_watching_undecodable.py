"""Lists and watches over HTTP with one object that Python cannot decode: all others are known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import kopf
import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from tests.unit.cluster.conftest import EXPERIMENT

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.runtime import relisting, watching
from maskrcnn_operator.runtime.handlers import make_handler
from maskrcnn_operator.runtime.relisting import Relisting
from maskrcnn_operator.runtime.watching import kopf_events, watch

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
OWNED = '{"f:spec":' + '{"f:a":' * 100_000 + "{}" + "}" * 100_000 + "}"
"""Fields of DEEP in the format of ``metadata.managedFields``."""


class ApiServer:
    """Server of lists and watches of experiments in the namespace ``ns``; it has no Jobs and pods."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, str]] = {}
        self.version = 10
        self.changed = asyncio.Condition()

    async def add(self, name: str, spec: str | None = None) -> None:
        async with self.changed:
            self.version += 1
            self.objects[name] = (self.version, spec or json.dumps(EXPERIMENT["spec"]))
            self.changed.notify_all()

    def text(self, name: str, *, partial: bool = False) -> str:
        version, spec = self.objects[name]
        managed = {"manager": "kubectl", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": "FIELDS"}
        metadata = {"managedFields": [managed], "name": name, "namespace": "ns", "uid": name, "generation": 1}
        text = json.dumps({**metadata, "resourceVersion": str(version)})
        text = text.replace('"FIELDS"', OWNED if spec is DEEP else "{}")
        kind = f'"apiVersion": "{EXPERIMENT["apiVersion"]}", "kind": "MaskRCNNExperiment"'
        return f'{{{kind}, "metadata": {text}, "spec": {"{}" if partial else spec}}}'

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self.stream(request)
        only = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        names = [name for name in self.objects if only in ("", name) and request.path.endswith(EXPERIMENTS.plural)]
        partial = "PartialObjectMetadataList" in request.headers["Accept"]
        items = ",".join(self.text(name, partial=partial) for name in names)
        body = f'{{"metadata": {{"resourceVersion": "{self.version}"}}, "items": [{items}]}}'
        return web.Response(text=body, content_type="application/json")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        sent = int(request.query["resourceVersion"])
        while request.path.endswith(EXPERIMENTS.plural):
            for name, (version, _) in list(self.objects.items()):
                if version > sent:
                    await answer.write(f'{{"type": "ADDED", "object": {self.text(name)}}}\n'.encode())
                    sent = version
            async with self.changed:
                if self.version <= sent:
                    await self.changed.wait()
        await asyncio.Event().wait()
        return answer


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_undecodable_object_does_not_hide_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relisting, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(watching, "FIRST_WAIT", 0.01)
    server = ApiServer()
    application = web.Application()
    application.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def login() -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=host)

    await server.add("first")
    await server.add("first-deep", DEEP)
    client, cache, keys, stop = Client(ApiClient(Configuration(host=host))), Cache(), list[Key](), asyncio.Event()
    lists = Relisting(client, cache, ("ns",), keys.append, 60.0)
    async with asyncio.timeout(20):
        await lists.once()
    assert cache.experiment("ns", "first") is not None
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(lists.run()),
        asyncio.create_task(watch(lists, make_handler(cache, keys.append), kopf_events(login), ("ns",), stop)),
    ]
    try:
        # in the middle of a stream, and after it
        await server.add("deep", DEEP)
        await server.add("beside")
        await until(lambda: cache.experiment("ns", "beside"))
        await server.add("after")
        await until(lambda: cache.experiment("ns", "after"))
        for name in ("first-deep", "deep"):
            entry = cache.entry(Key("ns", name))
            assert entry is not None
            assert "cannot be decoded" in str(entry.problems[0])
            assert keys.count(Key("ns", name)) == 1
        assert not any(task.done() for task in tasks)
    finally:
        stop.set()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
        await runner.cleanup()
