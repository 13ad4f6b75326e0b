"""Client that makes the operator's writes for each experiment without any logic: the upper limit for an operator.

It watches the experiments of a namespace. For each new one, it repeats the operator's writes for a sample (a Job, a
status, an Event) with the experiment's name and uid in place of the sample's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp
from tests.apiserver.rest import APPLY_PATCH, JSON, Rest
from tests.apiserver.scale import EXPERIMENTS, session

MANAGER = urlencode({"fieldManager": "bare-client", "force": "true"})
Write = tuple[str, str, str]
"""Method, path and body."""
PLACE_NAME, PLACE_UID, PLACE_NAMESPACE = "@NAME@", "@UID@", "@NAMESPACE@"


def record(bed_api: Any, namespace: str, name: str) -> list[Write]:
    """Return the operator's writes for the experiment ``name``, with placeholders for its names."""
    found = bed_api("GET", f"{EXPERIMENTS.format(namespace)}/{name}")
    status = found["status"]
    (job,) = bed_api("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        job["metadata"].pop(field)
    job.pop("status")
    job["spec"].pop("selector")
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        for label in [label for label in labels if label.endswith(("controller-uid", "job-name"))]:
            del labels[label]
    (event,) = bed_api("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events?limit=500&{_of(name)}")["items"]
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "name"):
        event["metadata"].pop(field)
    for field in [field for field in event if field.startswith("deprecated")]:
        event.pop(field)
    event["metadata"]["generateName"] = f"{name}-"
    path = f"{EXPERIMENTS.format(namespace)}/{name}/status?{MANAGER}"
    apply = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": {"name": name}}
    writes: list[tuple[str, str, Any]] = [
        ("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job),
        ("PATCH", path, apply | {"status": status}),
        ("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", event),
    ]
    uid = found["metadata"]["uid"]

    def places(text: str) -> str:
        text = text.replace(uid, PLACE_UID).replace(namespace, PLACE_NAMESPACE)
        return text.replace(f"/{name}/", f"/{PLACE_NAME}/").replace(f'"{name}', f'"{PLACE_NAME}')

    return [(method, places(where), places(json.dumps(body))) for method, where, body in writes]


def _of(name: str) -> str:
    return urlencode({"fieldSelector": f"regarding.name={name}"})


def answer_experiments(rest: Rest, namespace: str, number: int, writes: Sequence[Write], workers: int) -> None:
    """Make ``writes`` for each of the first ``number`` new experiments, for ``workers`` experiments at a time.

    Raises:
        RuntimeError: the API server refused a write.
    """

    async def work(http: aiohttp.ClientSession, seen: asyncio.Queue[tuple[str, str] | None]) -> None:
        while (one := await seen.get()) is not None:
            for method, path, body in writes:
                headers = {"Content-Type": APPLY_PATCH if method == "PATCH" else JSON}
                content = fill(body, namespace, *one)
                await send(http, method, fill(path, namespace, *one), content, headers)

    async def watch(http: aiohttp.ClientSession, seen: asyncio.Queue[tuple[str, str] | None]) -> None:
        left, forever = number, aiohttp.ClientTimeout(total=None)
        async with http.get(EXPERIMENTS.format(namespace), params={"watch": "1"}, timeout=forever) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ADDED":
                    metadata = event["object"]["metadata"]
                    seen.put_nowait((metadata["name"], metadata["uid"]))
                    left -= 1
                    if not left:
                        break
        for _ in range(workers):
            seen.put_nowait(None)

    async def run() -> None:
        seen: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        async with session(rest) as http:
            await asyncio.gather(watch(http, seen), *(work(http, seen) for _ in range(workers)))

    asyncio.run(run())


async def send(http: aiohttp.ClientSession, method: str, path: str, content: str, headers: dict[str, str]) -> None:
    """Make one request and read the response; raise RuntimeError if it is refused."""
    async with http.request(method, path, data=content, headers=headers) as answer:
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
        await answer.json()


def fill(text: str, namespace: str, name: str, uid: str) -> str:
    """Replace the placeholders in a path or body of :func:`record` with an experiment's names."""
    return text.replace(PLACE_NAME, name).replace(PLACE_UID, uid).replace(PLACE_NAMESPACE, namespace)
