"""Choice of the GPU of a process, tested without a GPU."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.gpus import GpuRequest, described, index_variable, own_gpu


@pytest.mark.parametrize(
    ("visible", "environ", "local_rank", "own"),
    [
        (0, {}, 3, None),
        (0, {"MASKRCNN_GPUS": "0"}, 0, None),
        (8, {"MASKRCNN_GPUS": "8"}, 7, 7),
        # a process sees only one MIG slice
        (1, {"MASKRCNN_GPUS": "2"}, 0, 0),
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
        (0, index_variable([0]), 0, "--gpu_index 0: TensorFlow finds no GPU"),
        (1, index_variable([0, 7]), 0, "--gpu_index 0 7: TensorFlow finds 1 of them"),
        (0, {"MASKRCNN_GPUS": "8"}, 0, "gpusPerNode 8: TensorFlow finds no GPU"),
    ],
)
def test_missing_gpu_is_refused_with_what_was_asked_for(
    visible: int, environ: dict[str, str], local_rank: int, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        own_gpu(visible, GpuRequest.from_environ(environ), local_rank=local_rank)
    assert refused.value.exit_code == 64


def test_gpu_is_described_by_name_and_memory() -> None:
    assert described("NVIDIA H100", 81559 * 2**20) == "NVIDIA H100 (81,559 MiB)"
    assert described("NVIDIA H100", None) == "NVIDIA H100"
