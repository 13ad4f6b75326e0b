"""Stand-in for scheduler and kubelet on a real API server: binds pods and writes their status by a script."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
from tests.apiserver import pod_status
from tests.apiserver.pod_scripts import ContainerEnd, Play, PodFacts, pod_facts, termination_message
from tests.apiserver.rest import JSON, STRATEGIC_MERGE_PATCH, Rest

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)

NODE = "played-node"
HOSTNAME_LABEL = "kubernetes.io/hostname"
RETRY_SECONDS = 0.2
POLL_SECONDS = 0.02
WAIT_SECONDS = 60.0
CONNECTIONS = 32
LINE_BYTES = 1 << 22
SUCCEEDS = Play()
NODE_CAPACITY = {"cpu": "128", "memory": "1Ti", "pods": "100000", "nvidia.com/gpu": "64"}


class _Life:
    """One pod from its first watch event to its deletion."""

    def __init__(self, facts: PodFacts) -> None:
        self.facts = facts
        self.pod: Mapping[str, Any] = facts.pod
        self.deleted = asyncio.Event()
        self.ungated = asyncio.Event()
        self.final_play: asyncio.Future[Play] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.lost = False


class PlayedKubelet:
    """Thread that plays every pod of a namespace (``None``: of all namespaces).

    A pod follows the play that was set by ``play`` for its step, attempt and index (the most specific one; among equals
    the last one), else ``default``. Pods that exist before the thread starts are played, too. A pod with scheduling
    gates waits until they are removed, and runs on the node in its node selector. Leaving the ``with`` block removes
    the pods of lost nodes.

    Args:
        rest: client of the API server.
        namespace: of the pods.
        default: play of all pods for which none was set.
        script: called once per pod; its result takes precedence over the plays that were set, unless it is None.
    """

    def __init__(
        self,
        rest: Rest,
        namespace: str | None,
        default: Play = SUCCEEDS,
        script: Callable[[PodFacts], Play | None] = lambda pod: None,
    ) -> None:
        self.rest = rest
        self.namespace = namespace
        self.default = default
        self.script = script
        self.started: list[PodFacts] = []
        """Pods that started to run, in order."""
        self._plays: list[tuple[str, int | None, int | None, Play]] = []
        self._lives: dict[str, _Life] = {}
        self._nodes: set[str] = set()
        self._addresses = itertools.count(1)
        self._base = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{namespace}/pods"
        self._thread = threading.Thread(target=self._run, name="played-kubelet", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> PlayedKubelet:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def play(self, step: str, play: Play, *, attempt: int | None = None, index: int | None = None) -> None:
        """Set the play for new pods of ``step``, optionally of one attempt or index."""
        self._plays.append((step, attempt, index, play))

    def finish(
        self,
        step: str,
        play: Play = SUCCEEDS,
        *,
        attempt: int | None = None,
        index: int | None = None,
    ) -> int:
        """End the running pods of ``step`` as ``play`` ends, ignoring its ``seconds``; return their number."""

        def set_play() -> int:
            lives = [life for life in self._running() if _matches(life.facts, step, attempt, index)]
            for life in lives:
                life.final_play.set_result(play)
            return len(lives)

        return self._in_loop(set_play)

    def running(self, step: str, *, attempt: int | None = None) -> list[PodFacts]:
        """Return the pods of ``step`` that run now."""
        return self._in_loop(
            lambda: [life.facts for life in self._running() if _matches(life.facts, step, attempt, None)]
        )

    def wait_running(
        self, step: str, *, attempt: int | None = None, pods: int = 1, seconds: float = WAIT_SECONDS
    ) -> list[PodFacts]:
        """Wait until ``pods`` pods of ``step`` run, and return them.

        Raises:
            TimeoutError: fewer pods run after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while len(found := self.running(step, attempt=attempt)) < pods:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {pods} pods of step {step!r} run; started so far: {self.started}")
            time.sleep(POLL_SECONDS)
        return found

    def _running(self) -> list[_Life]:
        ids = {facts.uid for facts in self.started}
        return [
            life
            for life in self._lives.values()
            if life.facts.uid in ids
            and not life.final_play.done()
            and not life.deleted.is_set()
            and life.task is not None
            and not life.task.done()
        ]

    def _in_loop(self, call: Callable[[], Answer]) -> Answer:
        async def run() -> Answer:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _choose(self, facts: PodFacts) -> Play:
        scripted = self.script(facts)
        if scripted is not None:
            return scripted
        best, chosen = -1, self.default
        for step, attempt, index, play in self._plays:
            weight = (attempt is not None) + (index is not None)
            if _matches(facts, step, attempt, index) and weight >= best:
                best, chosen = weight, play
        return chosen

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._main = task
        self._ready.set()
        async with aiohttp.ClientSession(
            base_url=f"https://{self.rest.host}:{self.rest.port}",
            connector=aiohttp.TCPConnector(ssl=self.rest.context, limit=CONNECTIONS),
            read_bufsize=LINE_BYTES,
        ) as self._http:
            try:
                await self._follow()
            finally:
                for life in self._lives.values():
                    if life.task:
                        life.task.cancel()
                lost = [life.facts for life in self._lives.values() if life.lost]
                await asyncio.gather(*(self._remove(facts, retry=False) for facts in lost), return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                async for kind, pod in self._events():
                    self._see(kind, pod)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                logger.info("The watch of the played kubelet broke: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _events(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Yield all pods, then their watch events, until the server ends the watch."""
        async with self._http.get(self._base) as answer:
            answer.raise_for_status()
            listed = await answer.json()
        uids = {pod["metadata"]["uid"] for pod in listed["items"]}
        for uid in [uid for uid in self._lives if uid not in uids]:
            yield "DELETED", self._lives[uid].pod
        for pod in listed["items"]:
            yield "ADDED", pod
        query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"], "allowWatchBookmarks": "true"}
        forever = aiohttp.ClientTimeout(total=None)
        async with self._http.get(self._base, params=query, timeout=forever) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]

    def _see(self, kind: str, pod: Mapping[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        life = self._lives.get(uid)
        if kind == "DELETED":
            if life is not None:
                del self._lives[uid]
                if life.task:
                    life.task.cancel()
            return
        if life is None:
            life = self._lives[uid] = _Life(pod_facts(pod))
            if pod["status"].get("phase") not in ("Succeeded", "Failed"):
                life.task = asyncio.create_task(self._live(life))
        life.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            life.deleted.set()
        if not pod["spec"].get("schedulingGates"):
            life.ungated.set()

    async def _live(self, life: _Life) -> None:
        try:
            await self._play(life, self._choose(life.facts))
        except _GoneError:
            pass
        except Exception:
            logger.exception("The played kubelet failed on pod %s", life.facts.name)

    async def _play(self, life: _Life, play: Play) -> None:
        facts = life.facts
        path = self._path(facts)
        if play.unschedulable is not None:
            await self._write("PATCH", f"{path}/status", pod_status.unschedulable(play.unschedulable))
            return  # The API server itself deletes a pod without a node.
        await life.ungated.wait()
        # Kueue assigns a node by this selector, which it adds when it removes the gate.
        selected = life.pod["spec"].get("nodeSelector", {}).get(HOSTNAME_LABEL)
        await self._bind(facts, play.node or selected or NODE)
        if play.waiting is not None:
            status = pod_status.waiting(facts.pod, play.waiting, play.waiting_message)
            await self._write("PATCH", f"{path}/status", status)
            await life.deleted.wait()
        else:
            third, fourth = divmod(next(self._addresses), 250)
            address = f"10.244.{third % 250}.{fourth + 1}"
            status = pod_status.running(facts.pod, ready=play.ready, address=address)
            life.pod = await self._write("PATCH", f"{path}/status", status)
            self.started.append(facts)
            if play.program is not None:
                await self._end(life, await play.program(facts, life.deleted))
                return
            play = await self._until_end(life, play)
        if life.deleted.is_set() and play.lost:
            life.lost = True
            return
        code, reason = play.exit_code, play.reason
        if life.deleted.is_set():
            await asyncio.sleep(play.stop_seconds)
            code, reason = play.stop_exit_code, None
        message = termination_message(facts, play, code)
        if play.outlived and not life.deleted.is_set():
            life.pod = await self._write(
                "PATCH", f"{path}/status", pod_status.outlived(life.pod, code, reason, message)
            )
            await life.deleted.wait()
            await asyncio.sleep(play.stop_seconds)
            await self._write("PATCH", f"{path}/status", pod_status.killed(life.pod))
            await self._remove(facts)
            return
        await self._end(life, ContainerEnd(code, message), reason)

    async def _end(self, life: _Life, end: ContainerEnd, reason: str | None = None) -> None:
        """Write the end of a pod's containers, and remove the pod if it was deleted."""
        status = pod_status.ended(life.pod, end.code, reason, end.message)
        life.pod = await self._write("PATCH", f"{self._path(life.facts)}/status", status)
        if life.deleted.is_set():
            await self._remove(life.facts)

    async def _until_end(self, life: _Life, play: Play) -> Play:
        """Wait for the play's end, for ``finish``, or for the pod's deletion; return the play that ends the pod."""
        deleted = asyncio.ensure_future(life.deleted.wait())
        waiters: set[asyncio.Future[Any]] = {deleted, life.final_play}
        try:
            await asyncio.wait(waiters, timeout=play.seconds, return_when=asyncio.FIRST_COMPLETED)
            if life.final_play.done():
                play = life.final_play.result()
            if play.disrupted and not life.deleted.is_set():
                body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": life.facts.name}}
                await self._write("POST", f"{self._path(life.facts)}/eviction", body)
                await deleted
        finally:
            deleted.cancel()
        return play

    async def _bind(self, facts: PodFacts, node: str) -> None:
        if facts.pod["spec"].get("nodeName"):
            return
        if node not in self._nodes:
            made = await self._write("POST", "/api/v1/nodes", {"metadata": {"name": node}}, accept=(409,))
            if made["kind"] == "Node":  # an existing node keeps its capacity
                ready = {"type": "Ready", "status": "True", "reason": "Played", "message": "a test plays this node"}
                status = {"conditions": [ready], "capacity": NODE_CAPACITY, "allocatable": NODE_CAPACITY}
                await self._write("PATCH", f"/api/v1/nodes/{node}/status", {"status": status})
            self._nodes.add(node)
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        await self._write(
            "POST", f"{self._path(facts)}/binding", {"metadata": {"name": facts.name}, "target": target}, accept=(409,)
        )

    async def _remove(self, facts: PodFacts, *, retry: bool = True) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": facts.uid}}
        await self._write("DELETE", self._path(facts), options, accept=(409,), retry=retry)

    async def _write(
        self, method: str, path: str, body: Any, *, accept: tuple[int, ...] = (), retry: bool = True
    ) -> Mapping[str, Any]:
        """Make one request; retry while the server is down or overloaded."""
        headers = {"Content-Type": STRATEGIC_MERGE_PATCH if method == "PATCH" else JSON}
        while True:
            try:
                async with self._http.request(method, path, data=json.dumps(body), headers=headers) as answer:
                    content: Mapping[str, Any] = await answer.json()
                    if answer.status == 404:
                        raise _GoneError
                    if answer.status < 400 or answer.status in accept:
                        return content
                    if answer.status not in (409, 429) and answer.status < 500:
                        raise RuntimeError(f"{method} {path}: {answer.status} {content.get('message')}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                if not retry:
                    raise
            if not retry:
                raise RuntimeError(f"{method} {path}: {answer.status}")
            await asyncio.sleep(RETRY_SECONDS)

    @staticmethod
    def _path(facts: PodFacts) -> str:
        return f"/api/v1/namespaces/{facts.namespace}/pods/{facts.name}"


class _GoneError(Exception):
    """The pod doesn't exist any more."""


def _matches(facts: PodFacts, step: str, attempt: int | None, index: int | None) -> bool:
    return facts.step == step and attempt in (None, facts.attempt) and index in (None, facts.index)
