"""Report endpoint for many trainings, in a fake cluster; each training's token is its number."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maskrcnn_operator.progress_endpoint import tls
from maskrcnn_operator.progress_endpoint.bounds import Bounds
from maskrcnn_operator.progress_endpoint.certificates import issue, new_authority
from maskrcnn_operator.progress_endpoint.listener import BoundedListener
from maskrcnn_operator.progress_endpoint.server import progress_app, serve
from maskrcnn_operator.progress_endpoint.tokens import TokenChecker
from maskrcnn_operator.progress_endpoint.writer import ProgressWriter

from .conftest import Cluster, one_training


class Served:
    """Running endpoint with counters."""

    listener: BoundedListener

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.answered: Counter[int] = Counter()
        """Responses by HTTP status."""
        self.cut = self.reviews = 0
        self.most_connections = self.most_waiting = 0
        self.reviewing = asyncio.Event()
        """No token is reviewed while this event is cleared."""
        self.reviewing.set()

    @property
    def port(self) -> int:
        found: int = self.listener.addresses[0][1]
        return found

    def count_answer(self, status: int) -> None:
        self.answered[status] += 1

    def count_cut(self) -> None:
        self.cut += 1

    async def review(self, token: str, audience: str) -> dict[str, Any]:
        self.reviews += 1
        await self.reviewing.wait()
        names = {"pod-name": [f"pod-{token}"], "pod-uid": [f"pod-{token}"]}
        extra = {f"authentication.kubernetes.io/{name}": value for name, value in names.items()}
        user = {"username": "system:serviceaccount:lab:default", "extra": extra}
        return {"authenticated": True, "audiences": [audience], "user": user}

    async def watch(self) -> None:
        """Measure :attr:`most_connections` and :attr:`most_waiting` until canceled."""
        while True:
            self.most_connections = max(self.most_connections, self.listener.connections)
            self.most_waiting = max(self.most_waiting, self.listener.waiting)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def served(
    trainings: int, ca_file: Path, bounds: Bounds | None = None, host: str | None = "127.0.0.1"
) -> AsyncIterator[Served]:
    """Serve reports of ``trainings``, with a certificate of a CA that is written to ``ca_file``."""
    cluster = _many(one_training(), trainings)
    authority = new_authority(datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load(context, issue(authority, ("localhost", "127.0.0.1"), datetime.now(UTC)))
    ca_file.write_text(authority.certificate_pem)
    served = Served(ca_file)
    writer = ProgressWriter(_apply, cluster.experiment)
    tokens = TokenChecker(served.review, asyncio.get_running_loop().time)
    application = progress_app(cluster, tokens, writer, on_report=served.count_answer)
    served.listener = await serve(
        application, 0, context, host, bounds=bounds or Bounds(), on_cut=served.count_cut
    )  # fmt: skip
    try:
        yield served
    finally:
        await served.listener.cleanup()
        await writer.close()


@asynccontextmanager
async def clients(served: Served, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``report_clients.py`` in another process, and kill it at the end."""
    program = Path(__file__).with_name("report_clients.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(served.port), str(served.ca_file), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _apply(*_: Any) -> None:
    pass


def _many(cluster: Cluster, count: int) -> Cluster:
    """Return ``count`` copies of the only training of ``cluster``."""
    experiment, job, pod = cluster.nuclei, cluster.jobs["job-uid"], cluster.pods["pod-uid"]
    many = Cluster({})
    for number in range(count):
        name = f"nuclei-{number}"
        many.experiments["lab", name] = experiment
        many.jobs[f"job-{number}"] = replace(job, uid=f"job-{number}", experiment=name)
        name = f"pod-{number}"
        many.pods[name] = replace(pod, uid=name, name=name, job_uid=f"job-{number}")
    return many
