"""Checkpoint that waits for object storage: shown by the running operator without another report of the pod."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, Cluster, manifest, ready_reason, step_of
from tests.monitoring.simulated_series import MonitoredOperator, report, trained

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

SECONDS_BEFORE_THE_DELAY = 8
SERIES = re.compile(r'^maskrcnn_experiment_unpublished_seconds\{experiment="delayed",.*\} ([\d.]+)$', re.MULTILINE)


def test_wait_of_one_report_becomes_a_delay_with_a_warning(  # noqa: PLR0917 - pytest passes fixtures by name
    bed: Bed, cluster: Cluster, account: Path, kubelet: PlayedKubelet, home: str, tmp_path: Path
) -> None:
    with MonitoredOperator(account, home, tmp_path / "operator.log") as operator:
        kubelet.play("train", Play(seconds=None))
        cluster.apply(manifest("delayed", CONVERT, {"name": "train", "train": {}}))
        [pod] = kubelet.wait_running("train")
        record = {**trained(300), "unpublishedSeconds": 600 - SECONDS_BEFORE_THE_DELAY}
        assert report(bed, operator, pod, record) == 200
        written = cluster.wait("delayed", lambda found: "progress" in found["status"], "progress")
        assert next(step for step in written["status"]["steps"] if step["name"] == "train")["reason"] == "Training"

        step = cluster.wait_step("delayed", "train", state="Running", reason="PublishDelayed")
        [wait] = written["status"]["progress"]["unpublished"]
        assert (wait["step"], wait["attempt"]) == ("train", 1)
        assert wait["since"] in step["message"]
        assert step["message"].endswith("resume from step 300")
        cluster.wait_event("delayed", "PublishDelayed")
        [event] = [event for event in cluster.events("delayed") if event["reason"] == "PublishDelayed"]
        assert (event["type"], event["note"]) == ("Warning", f"step train: {step['message']}")
        experiment = cluster.experiment("delayed")
        assert experiment is not None
        assert ready_reason(experiment) == "Running"
        [seconds] = SERIES.findall(operator.metrics())
        assert 600 <= float(seconds) < 700


def test_wait_of_a_second_training_shows_next_to_the_progress_of_the_first(
    bed: Bed, account: Path, kubelet: PlayedKubelet, home: str, tmp_path: Path
) -> None:
    cluster = Cluster(bed, home)
    with MonitoredOperator(account, home, tmp_path / "operator.log") as operator:
        for name in ("one", "two"):
            kubelet.play(name, Play(seconds=None))
        trainings: list[dict[str, Any]] = [{"name": name, "train": {}} for name in ("one", "two")]
        cluster.apply(manifest("delayed", CONVERT, *trainings, workspace={"objectStorage": {"url": "s3://lab/r"}}))
        [first], [second] = kubelet.wait_running("one"), kubelet.wait_running("two")
        assert report(bed, operator, first, {**trained(300), "unpublishedSeconds": None}) == 200
        assert report(bed, operator, second, {**trained(100), "unpublishedSeconds": 3000}) == 200
        delayed = cluster.wait_step("delayed", "two", state="Running", reason="PublishDelayed")
        assert delayed["message"].endswith("resume from step 100")
        cluster.wait_event("delayed", "PublishDelayed")
        experiment = cluster.experiment("delayed")
        assert experiment is not None
        progress = experiment["status"]["progress"]
        assert (progress["step"], progress["iteration"]) == ("one", 300)
        assert step_of(experiment, "one")["reason"] == "Training"
        [seconds] = SERIES.findall(operator.metrics())
        assert float(seconds) >= 3000
