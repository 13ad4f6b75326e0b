"""Many experiments at once, each with nine steps and one Job at a time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import aiohttp
from tests.apiserver.audit import Call
from tests.apiserver.bed import Bed
from tests.apiserver.rest import JSON, Rest

EXPERIMENTS = "/apis/maskrcnn.dev/v1alpha1/namespaces/{}/maskrcnnexperiments"
CLAIM = "maskrcnn"
BUCKET = "s3://lab/results"
"""URL of results in object storage, which only pods would read."""
CONVERSION = {"imageDir": "/workspace/raw/images", "annotationsFile": "/workspace/raw/train.json", "numShards": 4}
VALIDATION = {"imageDir": "/workspace/raw/images", "annotationsFile": "/workspace/raw/val.json", "split": "val"}
STEPS: list[dict[str, Any]] = [
    {"name": "convert-train", "datasetConvert": CONVERSION},
    {"name": "convert-val", "datasetConvert": VALIDATION},
    {"name": "train", "train": {}, "gpusPerNode": 8, "resources": {"requests": {"cpu": "32", "memory": "256Gi"}}},
    {"name": "evaluate", "evaluate": {}},
    {"name": "prune", "prune": {"pruningThreshold": 0.5}},
    {"name": "retrain", "train": {}, "experiment": {"l1WeightDecay": 0, "l2WeightDecay": 0, "totalSteps": 60000}},
    {"name": "evaluate-pruned", "evaluate": {}},
    {"name": "inference", "inference": {"imageDir": "/workspace/samples"}},
    {"name": "export", "export": {"dataType": "int8", "batchSize": 8}},
]


def experiment(
    name: str, steps: list[dict[str, Any]] = STEPS, queue: str = "", *, stored: bool = False
) -> dict[str, Any]:
    """Return a manifest of an experiment whose steps run one at a time.

    Args:
        name: of the experiment.
        steps: its steps.
        queue: LocalQueue, with which its Jobs are created suspended; empty for none.
        stored: its results are in object storage; otherwise it uses the claim of ``make_claim``.
    """
    workspace: dict[str, Any] = {"persistentVolumeClaim": {"claimName": CLAIM}}
    if stored:
        workspace = {"objectStorage": {"url": BUCKET}}
        # nothing else keeps steps in object storage from running side by side
        steps = [steps[0], *({**step, "dependsOn": [before["name"]]} for before, step in pairwise(steps))]
    return {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": name},
        "spec": {
            "workspace": workspace,
            **({"queueName": queue} if queue else {}),
            "experiment": {
                "seed": 123,
                "checkpoint": "/workspace/pretrained/resnet50.hdf5",
                "initLearningRate": 0.01,
                "learningRateSteps": [60000, 80000, 100000],
                "learningRateDecayLevels": [0.1, 0.02, 0.002],
                "totalSteps": 120000,
                "dataConfig": {"imageSize": [832, 1344], "numClasses": 91},
            },
            "steps": steps,
        },
    }


def make_claim(bed: Bed, namespace: str, access_mode: str = "ReadWriteOnce") -> None:
    """Create the workspace's claim; unless it is ReadWriteMany, an experiment's steps run one at a time."""
    spec = {"accessModes": [access_mode], "resources": {"requests": {"storage": "1Gi"}}}
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    bed.api("POST", path, {"metadata": {"name": CLAIM}, "spec": spec})


def create_experiments(
    rest: Rest, namespace: str, number: int, clients: int = 8, queue: str = "", *, stored: bool = False
) -> None:
    """Create ``e0`` to ``e<number - 1>`` with ``clients`` concurrent requests; see :func:`experiment` for the others.

    Raises:
        RuntimeError: the API server refused one of them.
    """
    numbers = iter(range(number))

    async def client(http: aiohttp.ClientSession) -> None:
        for i in numbers:
            body = json.dumps(experiment(f"e{i}", queue=queue, stored=stored))
            path = EXPERIMENTS.format(namespace)
            async with http.post(path, data=body, headers={"Content-Type": JSON}) as answer:
                if answer.status != 201:
                    raise RuntimeError(f"e{i}: {answer.status} {await answer.text()}")

    async def run() -> None:
        async with session(rest) as http:
            await asyncio.gather(*(client(http) for _ in range(clients)))

    asyncio.run(run())


def session(rest: Rest) -> aiohttp.ClientSession:
    """Return an HTTP client of the API server with the user of ``rest``."""
    connector = aiohttp.TCPConnector(ssl=rest.context)
    return aiohttp.ClientSession(f"https://{rest.host}:{rest.port}", connector=connector, read_bufsize=1 << 22)


def count_writes(calls: Iterable[Call]) -> Counter[str]:
    """Count writes by kind, such as ``create jobs`` or ``patch maskrcnnexperiments/status``, without Leases."""
    return Counter(
        f"{call.verb} {call.resource}{'/' if call.subresource else ''}{call.subresource}"
        for call in calls
        if call.writes and call.resource != "leases"
    )
