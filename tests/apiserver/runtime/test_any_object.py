"""Objects of other users that are hard or impossible to decode: the operator continues with all others."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.runtime.experiments import CONVERT, TRAIN, Cluster, condition, manifest
from tests.apiserver.runtime.process import controller
from tests.apiserver.runtime.test_process import free_port, probe, wait

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.connection import connect, load_configuration
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.listing import list_namespace
from maskrcnn_operator.runtime.command import RECURSION_LIMIT

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

LEVELS = 9_900
"""Nesting depth; the API server accepts 10,000 for a whole object."""


@pytest.fixture
def deep_answers() -> Iterator[None]:
    """Let this process decode responses that are nested as deeply as the operator's."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT)
    yield
    sys.setrecursionlimit(before)


def create(bed: Bed, path: str, value: dict[str, Any]) -> None:
    """Create an object in which DEEP is replaced with a deeply nested one."""
    text = json.dumps(value).replace('"DEEP"', '{"a":' * LEVELS + "1" + "}" * LEVELS)
    bed.kubectl("create", "--raw", path, "-f", "-", input=text)


async def test_list_skips_object_whose_metadata_cannot_be_decoded(account: Path, cluster: Cluster, bed: Bed) -> None:
    path = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments"
    create(bed, path, manifest("deep", TRAIN, podOverrides={"affinity": "DEEP"}))
    cluster.apply(manifest("good", CONVERT))
    client = Client(connect(await load_configuration(account)))
    told: list[str] = []
    cache = Cache(lambda resource, namespace, name, error: told.append(f"{resource.plural} {namespace}/{name}"))
    try:
        # this process decodes fewer levels than the operator, and fewer than managedFields have
        for compare in (False, True):
            await list_namespace(client, cache, cluster.namespace, set(), compare=compare)
    finally:
        await client.close()
    assert cache.experiment(cluster.namespace, "good") is not None
    entry = cache.entry(Key(cluster.namespace, "deep"))
    assert entry is not None
    assert "cannot be decoded" in str(entry.problems[0])
    assert told == [f"maskrcnnexperiments {cluster.namespace}/deep"]


def foreign_pod(name: str) -> dict[str, Any]:
    labels = {"maskrcnn.dev/experiment": "good", "maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "9" * 60}
    annotations = {"batch.kubernetes.io/job-completion-index": "9" * 5_000, "note": "x" * 200_000}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "trainer", "image": "x"}], "nodeSelector": {"no": "node"}},
    }


@pytest.mark.usefixtures("deep_answers")
def test_foreign_objects_do_not_disturb_a_starting_or_running_operator(
    account: Path, cluster: Cluster, bed: Bed, tmp_path: Path
) -> None:
    log, port, metrics = tmp_path / "log", free_port(), free_port()
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
    experiments = f"/apis/maskrcnn.dev/v1alpha1/namespaces/{cluster.namespace}/maskrcnnexperiments"

    def strew(name: str) -> None:
        bed.api("POST", pods, foreign_pod(f"pod-{name}"))
        create(bed, experiments, manifest(f"deep-{name}", TRAIN, podOverrides={"affinity": "DEEP"}))
        large = manifest(f"large-{name}", TRAIN, suspend=True)
        large["metadata"]["annotations"] = {f"note-{number}": "x" * 50_000 for number in range(5)}
        bed.api("POST", experiments, large)

    strew("before")
    process = controller(
        account, cluster.namespace, "--health-port", str(port), "--metrics-port", str(metrics), log=log
    )
    try:
        wait(lambda: probe(port, "/readyz") == 200, log)
        cluster.apply(manifest("good", CONVERT, TRAIN))
        strew("after")
        for name in ("before", "after"):
            stalled = condition(cluster.wait_ready(f"deep-{name}", "InvalidSpec"), "Stalled")
            assert stalled is not None
            assert stalled["message"] == "spec.podOverrides.affinity: is nested too deeply: at most 100 levels"
            cluster.wait_ready(f"large-{name}", "Suspended")
        cluster.wait(
            "good", lambda found: found.get("status", {}).get("observedGeneration") == 1, "a status of the good one"
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
            assert 'maskrcnn_operator_unreadable_objects_total{kind="pods"} 0.0' in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
