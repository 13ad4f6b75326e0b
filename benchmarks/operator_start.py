"""Start of the operator with many finished experiments: seconds, CPU time, and memory.

    python benchmarks/operator_start.py --experiments 10000

One experiment runs all its nine steps on a real API server with simulated pods. The others are created with its status
and without Jobs, like experiments whose Jobs were deleted by their TTL. Then the operator is started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import aiohttp
from tests.apiserver.account import USER, make_account
from tests.apiserver.audit import AuditTail
from tests.apiserver.bed import Bed
from tests.apiserver.binaries import find_binaries
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.rest import MERGE_PATCH
from tests.apiserver.scale import EXPERIMENTS, count_writes, experiment, make_claim, session

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.desired import resolve

PATIENCE_SECONDS = 600.0
SETTLE_SECONDS = 20.0
SAMPLE = "sample"


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=10_000, metavar="N")
    parser.add_argument("--clients", type=int, default=16, help="concurrent clients that create experiments")
    arguments = parser.parse_args()
    with Bed(find_binaries()) as bed:
        crd = str(ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml")
        bed.kubectl("apply", "-f", crd)
        bed.wait_established("-f", crd)
        account, namespace, log = make_account(bed), bed.create_namespace("start"), bed.folder / "operator.log"
        make_claim(bed, namespace)
        with PlayedKubelet(bed.rest, namespace), OperatorProcess(account, namespace, log):
            status = _finished_status(bed, namespace)
        began = time.monotonic()
        asyncio.run(_create(bed, namespace, arguments.experiments, arguments.clients, status))
        seconds, kib = time.monotonic() - began, len(json.dumps(status)) / 1024
        print(f"created     {arguments.experiments} in {seconds:.0f} s, each {kib:.1f} KiB of status")
        tail, began = AuditTail(bed.audit_log), time.monotonic()
        with OperatorProcess(account, namespace, log) as operator:
            ready, cpu = time.monotonic() - began, operator.cpu_seconds()
            peak = 0
            while time.monotonic() < began + ready + SETTLE_SECONDS:
                peak = max(peak, operator.resident_bytes())
                time.sleep(0.05)
            settled = operator.cpu_seconds()
        writes = count_writes(tail.read(user=USER))
        print(f"ready       after {ready:.1f} s, {cpu:.1f} s of CPU")
        print(f"settled     {settled:.1f} s of CPU {SETTLE_SECONDS:.0f} s later, {dict(writes) or 'no'} writes")
        print(f"memory      at most {peak / 2**20:.0f} MiB")


def _finished_status(bed: Bed, namespace: str) -> Mapping[str, Any]:
    path = EXPERIMENTS.format(namespace)
    bed.api("POST", path, experiment(SAMPLE))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status: Mapping[str, Any] = bed.api("GET", f"{path}/{SAMPLE}").get("status", {})
        if any(one["type"] == "Succeeded" and one["status"] == "True" for one in status.get("conditions", ())):
            return status
        if time.monotonic() > deadline:
            raise TimeoutError(f"the sample didn't succeed within {PATIENCE_SECONDS:.0f} s: {status}")
        time.sleep(0.5)


async def _create(bed: Bed, namespace: str, number: int, clients: int, status: Mapping[str, Any]) -> None:
    path, numbers = EXPERIMENTS.format(namespace), iter(range(number))

    async def client(http: aiohttp.ClientSession) -> None:
        for i in numbers:
            manifest = experiment(f"e{i}")
            async with http.post(path, json=manifest) as answer:
                answer.raise_for_status()
                created = await answer.json()
            patch, headers = {"status": _of(status, created)}, {"Content-Type": MERGE_PATCH}
            async with http.patch(f"{path}/e{i}/status", data=json.dumps(patch), headers=headers) as answer:
                answer.raise_for_status()

    async with session(bed.rest) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))


def _of(status: Mapping[str, Any], created: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the sample's status for another experiment: paths and fingerprints depend on the name."""
    name, desired = created["metadata"]["name"], resolve(MaskRCNNExperiment.model_validate_json(json.dumps(created)))
    steps = [{**step, "fingerprint": desired.fingerprint(step["name"])} for step in status["steps"]]
    own: Mapping[str, Any] = json.loads(json.dumps({**status, "steps": steps}).replace(f"/{SAMPLE}/", f"/{name}/"))
    return own


if __name__ == "__main__":
    main()
