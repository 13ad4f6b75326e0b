"""Local runs of steps that request GPUs, with a fake trainer."""

from __future__ import annotations

import pytest

from .bench import Bench

# A hanging run must fail before CI kills pytest, which would then run no finalizers and leave processes behind.
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("device", [False, True])
def test_gpus_are_required_only_where_there_is_a_device(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, device: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for module in ("command", "executor"):
        monkeypatch.setattr(f"maskrcnn_operator.local.{module}.has_nvidia_device", lambda: device)
    for step in bench.manifest["spec"]["steps"][2:]:
        step.update(gpusPerNode=1)
    assert bench.run() == 0
    required = {call["step"]: call["environment"].get("MASKRCNN_GPUS") for call in bench.calls()}
    number = "1" if device else None
    assert required == {"convert": None, "convert-val": None, "train": number, "evaluate": number}
    said = (
        "gpusPerNode of train, evaluate isn't met: this machine has no NVIDIA device (/dev/nvidia0), so the steps run "
        "on the CPUs"
    )
    warnings = [record.getMessage() for record in caplog.records if "gpusPerNode" in record.getMessage()]
    assert warnings == ([] if device else [said])
    hidden = {call["step"]: call["environment"].get("CUDA_VISIBLE_DEVICES") for call in bench.calls()}
    assert hidden == {"convert": "-1", "convert-val": "-1", "train": "0", "evaluate": "0"}


def test_gpus_of_a_conversion_are_not_missed(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrcnn_operator.local.command.has_nvidia_device", lambda: False)
    bench.manifest["spec"]["steps"][0].update(gpusPerNode=1)
    assert bench.run() == 0
    assert "gpusPerNode" not in caplog.text


@pytest.mark.parametrize("case", [(2, True, True), (1, True, False), (2, False, False)])
def test_steps_that_may_share_a_gpu_are_named(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, case: tuple[int, bool, bool]
) -> None:
    jobs, device, warned = case
    monkeypatch.setattr("maskrcnn_operator.local.command.has_nvidia_device", lambda: device)
    for step in bench.manifest["spec"]["steps"][2:]:
        step.update(gpusPerNode=1)
    assert bench.run(jobs=jobs) == 0
    assert ("--jobs 2: train, evaluate request GPUs, and each starts with the first one" in caplog.text) is warned


def test_processes_that_would_share_a_gpu_start_no_step(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.manifest["spec"]["steps"][2].update(gpusPerNode=1, processesPerNode=2)
    assert bench.run() == 64
    assert "spec.steps[2].processesPerNode: found 2, but gpusPerNode is 1" in caplog.text
    assert not bench.calls()
