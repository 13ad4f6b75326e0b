"""Independent observer that watches the API server and records a history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any

import aiohttp
from tests.apiserver.history import ExperimentFact, Fact, Kind, read_fact
from tests.apiserver.rest import Rest

logger = logging.getLogger(__name__)

LABELED = "labelSelector=maskrcnn.dev/experiment"
PATHS = {
    Kind.EXPERIMENT: "/apis/maskrcnn.dev/v1alpha1/maskrcnnexperiments?",
    Kind.JOB: f"/apis/batch/v1/jobs?{LABELED}&",
    Kind.POD: f"/api/v1/pods?{LABELED}&",
}
RETRY_SECONDS = 0.2
LINE_BYTES = 1 << 23
DEEPEST_OBJECT = 50_000
"""Recursion limit; hostile objects are nested deeper than Python's default allows."""


class Observer:
    """Thread that watches all experiments, and the Jobs and pods with an experiment's label, in all namespaces.

    A watch that breaks resumes from its last version. If this version is no longer available, the objects are listed
    again, and those absent from the list count as deleted.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self.history: list[Fact] = []
        """All observed facts; those of one kind are in order."""
        self.experiments: dict[str, ExperimentFact] = {}
        """The last fact of each experiment, by ``namespace/name``."""
        self._known: dict[Kind, dict[str, Mapping[str, Any]]] = {kind: {} for kind in Kind}
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Observer:
        sys.setrecursionlimit(DEEPEST_OBJECT)
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._main = task
        async with aiohttp.ClientSession(
            base_url=f"https://{self._rest.host}:{self._rest.port}",
            connector=aiohttp.TCPConnector(ssl=self._rest.context),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            read_bufsize=LINE_BYTES,
        ) as self._http:
            self._ready.set()
            await asyncio.gather(*(self._follow(kind) for kind in Kind))

    async def _follow(self, kind: Kind) -> None:
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list(kind)
                version = await self._watch(kind, version)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                logger.info("The observer's watch of %ss broke: %s", kind.value, error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _list(self, kind: Kind) -> str:
        async with self._http.get(PATHS[kind]) as answer:
            answer.raise_for_status()
            listed = json.loads(await answer.read())
        version: str = listed["metadata"]["resourceVersion"]
        found = {item["metadata"]["uid"] for item in listed["items"]}
        for uid, item in list(self._known[kind].items()):
            if uid not in found:
                self._see(kind, {**item, "metadata": {**item["metadata"], "resourceVersion": version}}, gone=True)
        for item in listed["items"]:
            known = self._known[kind].get(item["metadata"]["uid"])
            if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._see(kind, item)
        return version

    async def _watch(self, kind: Kind, version: str) -> str | None:
        """Return the version to resume from; None if the objects must be listed again."""
        query = f"{PATHS[kind]}watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        try:
            async with self._http.get(query) as answer:
                if answer.status == 410:
                    return None
                answer.raise_for_status()
                async for line in answer.content:
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        return None if item.get("code") == 410 else version
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._see(kind, item, gone=event["type"] == "DELETED")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            logger.info("The observer's watch of %ss was closed: %s", kind.value, error)
        return version

    def _see(self, kind: Kind, item: Mapping[str, Any], *, gone: bool = False) -> None:
        uid = item["metadata"]["uid"]
        if gone:
            self._known[kind].pop(uid, None)
        else:
            self._known[kind][uid] = item
        fact = read_fact(kind, item, gone=gone)
        if fact is None:
            return
        self.history.append(fact)
        if isinstance(fact, ExperimentFact):
            self.experiments[fact.name] = fact
