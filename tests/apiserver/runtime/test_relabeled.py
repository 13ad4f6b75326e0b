"""A running Job of the operator that loses its labels: other steps and the suspension don't wait for it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.rest import MERGE_PATCH
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, Cluster, manifest

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

LABELS = ("maskrcnn.dev/experiment", "maskrcnn.dev/step", "maskrcnn.dev/attempt")
OTHER: dict[str, Any] = {**CONVERT, "name": "other", "datasetConvert": {**CONVERT["datasetConvert"], "split": "val"}}


def test_job_that_loses_its_labels_blocks_only_its_own_step(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    start_operator().wait_leading()
    kubelet.play("convert", Play(seconds=None))
    kubelet.play("other", Play(seconds=None))
    cluster.apply(manifest("relabeled", CONVERT))
    cluster.wait_step("relabeled", "convert", state="Running")
    job = cluster.jobs()["convert/1"]["metadata"]
    path = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs/{job['name']}"

    cluster.bed.api("PATCH", path, {"metadata": {"labels": dict.fromkeys(LABELS)}}, MERGE_PATCH)
    cluster.wait_step("relabeled", "convert", state="Running", reason="JobRelabeled")
    cluster.edit("relabeled", {"steps": [CONVERT, OTHER]})
    cluster.wait_step("relabeled", "other", state="Running")
    cluster.edit("relabeled", {"suspend": True})
    cluster.wait_step("relabeled", "other", state="Pending", reason="Suspended")
    held = cluster.wait_step("relabeled", "convert", state="Stopping", reason="Suspended")
    assert (
        f"the Job {cluster.namespace}/{job['name']} runs, but its labels or its owner were changed" in held["message"]
    )
    assert "deletionTimestamp" not in cluster.bed.api("GET", path)["metadata"]

    labels = {key: value for key, value in job["labels"].items() if key in LABELS}
    cluster.bed.api("PATCH", path, {"metadata": {"labels": labels}}, MERGE_PATCH)
    cluster.wait_ready("relabeled", "Suspended")
    cluster.wait_for(lambda: not cluster.jobs(), "the deletion of the Jobs")
