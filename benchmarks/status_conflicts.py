"""Conflicts of the operator's status writes while every experiment has a step that reports its progress.

    python benchmarks/status_conflicts.py --experiments 2000

The operator runs with its default limits on a real API server. Simulated pods run each step for a while, a client posts
the reports of all running pods with their tokens, and the API server's audit log contains every patch. A patch of the
status includes the resourceVersion that it was computed from; a patch of the progress doesn't.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import socket
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import aiohttp
from tests.apiserver.account import HOME, USER, make_account
from tests.apiserver.audit import AuditTail
from tests.apiserver.bed import Bed
from tests.apiserver.binaries import find_binaries
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.pod_scripts import Play, PodFacts
from tests.apiserver.scale import STEPS, create_experiments, make_claim

from maskrcnn_operator.jobs.config import TOKEN_AUDIENCE
from maskrcnn_operator.progress_endpoint.authority_secret import SECRET_NAME

REPORT = {"version": 1, "total_steps": 1000, "eta": "0:12:30", "graphical": {"loss": 0.61}}
PATIENCE_SECONDS = 1800.0
SETTLE_SECONDS = 60.0
POSTS_AT_A_TIME = 64


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000, metavar="N")
    parser.add_argument("--step-seconds", type=float, default=600.0, help="duration of each step")
    parser.add_argument("--interval", type=float, default=30.0, help="seconds between two reports of a step")
    parser.add_argument("--seconds", type=float, default=300.0, help="duration of the measurement")
    arguments = parser.parse_args()
    with Bed(find_binaries(), controller_manager_qps=500) as bed:
        crd = str(ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml")
        bed.kubectl("apply", "-f", crd)
        bed.wait_established("-f", crd)
        account, namespace = make_account(bed), bed.create_namespace("conflicts")
        make_claim(bed, namespace)
        port = _free_port()
        options = (f"--report-port={port}", f"--report-url=https://localhost:{port}")
        with (
            PlayedKubelet(bed.rest, namespace) as kubelet,
            OperatorProcess(account, namespace, bed.folder / "operator.log", options) as operator,
        ):
            for step in STEPS:
                kubelet.play(step["name"], Play(seconds=arguments.step_seconds))
            asyncio.run(_measure(bed, kubelet, operator, port, arguments))


async def _measure(
    bed: Bed, kubelet: PlayedKubelet, operator: OperatorProcess, port: int, arguments: argparse.Namespace
) -> None:
    namespace = kubelet.namespace
    assert namespace is not None  # noqa: S101 - the kubelet simulates the pods of one namespace
    await asyncio.to_thread(create_experiments, bed.rest, namespace, arguments.experiments)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(_running(kubelet)) < 0.9 * arguments.experiments:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {len(_running(kubelet))} steps run after {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(1)
    secret = bed.api("GET", f"/api/v1/namespaces/{HOME}/secrets/{SECRET_NAME}")["data"]
    trusted = ssl.create_default_context(cadata=base64.b64decode(secret["ca.crt"]).decode())
    connector = aiohttp.TCPConnector(ssl=trusted, limit=POSTS_AT_A_TIME)
    async with aiohttp.ClientSession(f"https://localhost:{port}", connector=connector) as http:
        clients = Clients(bed, namespace, kubelet, http, arguments.interval)
        posting = asyncio.create_task(clients.run())
        await asyncio.sleep(SETTLE_SECONDS)
        tail, before, posted = AuditTail(bed.audit_log), operator.cpu_seconds(), clients.answered.copy()
        began = time.monotonic()
        await asyncio.sleep(arguments.seconds)
        seconds, cpu = time.monotonic() - began, operator.cpu_seconds() - before
        posting.cancel()
    patches = [
        call
        for call in tail.read(user=USER)
        if call.verb == "patch" and call.resource == "maskrcnnexperiments" and call.subresource == "status"
    ]
    codes = Counter((call.manager, call.code) for call in patches)
    print(f"experiments        {arguments.experiments}, {len(_running(kubelet))} steps run at the end")
    print(f"reports            {dict(clients.answered - posted)}, by status")
    for (manager, code), count in sorted(codes.items()):
        print(f"patches            {manager} {code}: {count / seconds:.2f}/s")
    print(f"operator           {100 * cpu / seconds:.0f}% of a core, {operator.resident_bytes() / 2**20:.0f} MiB")


class Clients:
    """Clients that post a report of every running pod once per interval."""

    def __init__(
        self, bed: Bed, namespace: str, kubelet: PlayedKubelet, http: aiohttp.ClientSession, interval: float
    ) -> None:
        self._bed, self._namespace, self._kubelet, self._http, self._interval = bed, namespace, kubelet, http, interval
        self._tokens: dict[str, str] = {}
        self._steps = itertools.count(1)
        self.answered: Counter[int] = Counter()

    async def run(self) -> None:
        """Post until canceled."""
        while True:
            began, pods = time.monotonic(), _running(self._kubelet)
            for number, pod in enumerate(pods):
                await asyncio.sleep(max(0.0, began + self._interval * number / len(pods) - time.monotonic()))
                token = await self._token(pod)
                headers = {"Authorization": f"Bearer {token}"}
                report: dict[str, Any] = {**REPORT, "step": next(self._steps) % 1000}
                async with self._http.post("/v1/report", headers=headers, json=report) as answer:
                    self.answered[answer.status] += 1
            await asyncio.sleep(max(0.0, began + self._interval - time.monotonic()))

    async def _token(self, pod: PodFacts) -> str:
        if pod.uid not in self._tokens:
            self._tokens[pod.uid] = await asyncio.to_thread(
                self._bed.token_for, "default", self._namespace, audience=TOKEN_AUDIENCE, pod=(pod.name, pod.uid)
            )
        return self._tokens[pod.uid]


def _running(kubelet: PlayedKubelet) -> list[PodFacts]:
    return [pod for step in STEPS for pod in kubelet.running(step["name"])]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
