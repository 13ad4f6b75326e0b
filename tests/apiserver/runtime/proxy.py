"""Proxy between an operator and the API server that injects faults into chosen requests."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from tests.apiserver.bed import Bed
from tests.apiserver.certificates import Authority

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NOT_PASSED_ON = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass
class Fault:
    """A response in place of the API server's.

    Attributes:
        matches: whether a request with this method and path gets it.
        times: number of requests that get it; later ones are forwarded.
        status: HTTP status; 0 closes the connection without a response.
        after: whether the request is forwarded anyway, so that only the response is lost.
        reason: of the Status object.
    """

    matches: Callable[[str, str], bool]
    status: int
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    reason: str = ""
    seen: int = 0


class Proxy:
    """HTTPS server on the loopback; its attribute ``kubeconfig`` sends a service account's requests through it.

    Args:
        bed: whose API server the requests are forwarded to.
        folder: empty folder for the proxy's certificate and kubeconfig.
        kubeconfig: of the service account, for the API server itself.
    """

    def __init__(self, bed: Bed, folder: Path, kubeconfig: Path) -> None:
        self._bed, self.faults = bed, list[Fault]()
        self.calls: list[tuple[str, str, int]] = []
        """Method, path and status of every answered request except watches."""
        self.on_write: Callable[[str, str], None] = lambda method, path: None
        """Called for each write after the API server has done it and before the operator gets the response."""
        authority = Authority(folder)
        pair = authority.server("proxy", ("localhost",), ("127.0.0.1",))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self._original = yaml.safe_load(kubeconfig.read_text())
        self._authority = authority.certificate
        self.kubeconfig = folder / "kubeconfig"
        self._watches: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(30), "the proxy didn't start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def fault(self, method: str, part: str, status: int, **more: Any) -> Fault:
        """Answer requests of ``method`` whose path contains ``part`` with ``status``."""
        fault = Fault(lambda verb, path: verb == method and part in path, status, **more)
        self.faults.append(fault)
        return fault

    def cut_watches(self) -> int:
        """Close the connection of every watch and return their number."""

        async def cut() -> int:
            found = list(self._watches)
            for task in found:
                task.cancel()
            return len(found)

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        upstream = ssl.create_default_context(cafile=str(self._bed.ca))
        forever = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=upstream, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=forever, auto_decompress=False) as self._session:
            runner = web.ServerRunner(
                web.Server(self._handle, access_log=None),  # type: ignore[arg-type]
                shutdown_timeout=0.5,
            )
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context).start()
            self._write_kubeconfig(runner.addresses[0][1])
            self._ready.set()
            await self._stop.wait()
            for task in list(self._watches):
                task.cancel()
            await runner.cleanup()

    def _write_kubeconfig(self, port: int) -> None:
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(self._authority)}
        name = self._original["clusters"][0]["name"]
        changed = {**self._original, "clusters": [{"name": name, "cluster": cluster}]}
        self.kubeconfig.write_text(yaml.safe_dump(changed))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        watch = "watch=true" in request.query_string
        method, path = request.method, request.path
        body = await request.read()
        fault = next((item for item in self.faults if item.seen < item.times and item.matches(method, path)), None)
        if fault is not None:
            fault.seen += 1
            if fault.after:
                await self._pass_on(request, body)
            return self._refuse(request, fault)
        if watch:
            return await self._stream(request)
        status, headers, answer = await self._pass_on(request, body)
        self.calls.append((method, path, status))
        if method in WRITES and status < 300:
            self.on_write(method, path)
        return web.Response(status=status, headers=headers, body=answer)

    def _refuse(self, request: web.BaseRequest, fault: Fault) -> web.Response:
        self.calls.append((request.method, request.path, fault.status))
        if fault.status == 0:
            assert request.transport is not None
            request.transport.abort()
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status, "message": "a fault"}
        body |= {"reason": fault.reason} if fault.reason else {}
        return web.Response(
            status=fault.status or 500,
            headers=dict(fault.headers),
            body=json.dumps(body).encode(),
            content_type="application/json",
        )

    async def _pass_on(self, request: web.BaseRequest, body: bytes) -> tuple[int, dict[str, str], bytes]:
        try:
            async with self._session.request(
                request.method, self._upstream(request), headers=_kept(request.headers), data=body or None
            ) as answer:
                return answer.status, _kept(answer.headers), await answer.read()
        except aiohttp.ClientError:
            assert request.transport is not None
            request.transport.abort()
            return 502, {}, b""

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        response = web.StreamResponse()
        try:
            async with self._session.get(self._upstream(request), headers=_kept(request.headers)) as answer:
                response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        except (aiohttp.ClientError, ConnectionError, asyncio.CancelledError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watches.discard(task)
        return response

    def _upstream(self, request: web.BaseRequest) -> str:
        return f"{self._bed.server}{request.path_qs}"


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
