"""Choice of the GPU of a process, tested without a GPU."""

from __future__ import annotations

import os

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.arguments import use_gpus
from maskrcnn_trainer.task.gpus import GpuRequest, described, hide_gpus, index_variable, own_gpu, request_gpus

OF_A_STEP = {"MASKRCNN_FINGERPRINT": "f"}
LOCALLY = {**OF_A_STEP, "MASKRCNN_WORKSPACE": "/data"}


@pytest.mark.parametrize(
    ("visible", "environ", "local_rank", "own"),
    [
        (0, {}, 3, None),
        (0, {"MASKRCNN_GPUS": "0"}, 0, None),
        (8, {"MASKRCNN_GPUS": "8"}, 7, 7),
        (8, {"MASKRCNN_GPUS": "2"}, 0, 0),
        (2, index_variable([1, 3]), 1, 1),
        # an empty variable requests nothing
        (0, {"CUDA_VISIBLE_DEVICES": "0", "MASKRCNN_GPU_INDEX": ""}, 0, None),
    ],
)
def test_each_process_has_the_gpu_of_its_local_rank(
    visible: int, environ: dict[str, str], local_rank: int, own: int | None
) -> None:
    assert own_gpu(visible, GpuRequest.from_environ(environ), local_rank=local_rank) == own


@pytest.mark.parametrize(
    ("visible", "environ", "local_rank", "words"),
    [
        (4, {}, 4, "process 4 of this node has no GPU of its own: TensorFlow finds 4; start at most 4"),
        (
            0,
            index_variable([0]),
            0,
            "--gpu_index 0: TensorFlow finds no GPU; install what is missing, or leave the flag",
        ),
        (1, index_variable([0, 7]), 0, "--gpu_index 0 7: TensorFlow finds 1 GPU; give indices of GPUs of this machine"),
        (0, OF_A_STEP | {"MASKRCNN_GPUS": "8"}, 0, "gpusPerNode 8: TensorFlow finds no GPU; use the image for GPUs"),
        (
            0,
            LOCALLY | {"MASKRCNN_GPUS": "8"},
            0,
            "gpusPerNode 8: TensorFlow finds no GPU; install what is missing, or se",
        ),
        (7, OF_A_STEP | {"MASKRCNN_GPUS": "8"}, 0, "gpusPerNode 8: TensorFlow finds 7 GPUs; request at most 7$"),
        (1, OF_A_STEP | {"MASKRCNN_GPUS": "2"}, 0, r"finds 1 GPU; request at most 1 \(a process sees only one MIG"),
        (0, {"MASKRCNN_GPUS": "2"}, 0, "--gpus 2: TensorFlow finds no GPU; install what is missing, or set CUDA_VIS"),
    ],
)
def test_fewer_gpus_than_requested_are_refused(
    visible: int, environ: dict[str, str], local_rank: int, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        own_gpu(visible, GpuRequest.from_environ(environ), local_rank=local_rank)
    assert (refused.value.exit_code, refused.value.reason) == (64, "MissingDevice")


@pytest.mark.parametrize("number", ["8x", "-1", "4.0", " 4", "1e3"])
def test_number_of_gpus_that_is_no_whole_number_is_refused(number: str) -> None:
    with pytest.raises(InvalidInput, match=f"MASKRCNN_GPUS '{number}': must be a whole number"):
        GpuRequest.from_environ({"MASKRCNN_GPUS": number})


@pytest.mark.parametrize(("visible", "own"), [("-1", "-1"), ("", ""), ("2,3", "0")])
def test_index_replaces_a_list_of_gpus_but_not_the_choice_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, visible: str, own: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("MASKRCNN_GPU_INDEX", "")
    use_gpus([0])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == own


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_user_who_hides_all_gpus_has_chosen_the_cpu(hidden: str) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": hidden, "MASKRCNN_GPUS": "2"}
    assert own_gpu(0, GpuRequest.from_environ(environ), local_rank=0) is None


def test_cause_is_looked_for_once_on_a_node() -> None:
    request = GpuRequest(2)
    with pytest.raises(InvalidInput, match=r"finds no GPU \(libcudnn.so.9 is missing\); use the image"):
        own_gpu(0, request, local_rank=0, diagnose=lambda: "libcudnn.so.9 is missing")
    with pytest.raises(InvalidInput, match="finds no GPU; use the image"):
        own_gpu(0, request, local_rank=1, diagnose=lambda: pytest.fail("the first process of the node has done it"))


@pytest.mark.parametrize(
    ("device", "visible", "requested"), [(True, "0,1", "2"), (True, "-1", None), (False, "0,1", None)]
)
def test_gpus_are_required_where_there_is_a_device_unless_the_user_hides_it(
    monkeypatch: pytest.MonkeyPatch, device: bool, visible: str, requested: str | None
) -> None:
    monkeypatch.setattr("maskrcnn_trainer.task.gpus.has_nvidia_device", lambda: device)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("MASKRCNN_GPUS", "")
    monkeypatch.delenv("MASKRCNN_GPUS")
    request_gpus(2)
    assert os.environ.get("MASKRCNN_GPUS") == requested


def test_hidden_gpus_are_not_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("MASKRCNN_GPUS", "1")
    hide_gpus()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert not GpuRequest.from_environ().given


def test_gpu_is_described_by_name_and_memory() -> None:
    assert described("NVIDIA H100", 81559 * 2**20) == "NVIDIA H100 (81,559 MiB)"
    assert described("NVIDIA H100", None) == "NVIDIA H100"
