"""Translation of errors of TensorFlow and Horovod to errors that a user can act on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import cv2
import pytest
import tensorflow as tf
from horovod.common.exceptions import HorovodInternalError

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.task.failures import explained_failures, lost_peer_is_try_again


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.InternalError(None, None, "Could not create cudnn handle: CUDNN_STATUS_ALLOC_FAILED"),
        tf.errors.UnknownError(None, None, "failed to create cublas handle: CUBLAS_STATUS_ALLOC_FAILED"),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        tf.errors.InternalError(None, None, "NCCL operation failed: unhandled cuda error: out of memory"),
        RuntimeError("Failed to allocate memory for requested buffer of size 4096"),
        cv2.error("OpenCV(4.10.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
        HorovodInternalError("cudaMalloc failed: out of memory"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:40],
)
def test_out_of_memory_names_settings_to_lower(error: Exception) -> None:
    with pytest.raises(InvalidInput, match="smaller imageSize or trainBatchSize") as told, explained_failures():
        raise error
    assert (told.value.exit_code, told.value.reason) == (64, "OutOfMemory")
    assert told.value.__cause__ is error


def test_a_lost_peer_asks_for_another_try() -> None:
    error = tf.errors.UnknownError(None, None, "Graph execution error:\nnode x\nGloo: Connection closed by peer")
    with pytest.raises(TryAgain, match="Connection closed by peer"), explained_failures():
        raise error


@pytest.mark.parametrize("kind", [tf.errors.InternalError, tf.errors.UnknownError])
def test_a_peer_that_nccl_lost_asks_for_another_try(kind: type[tf.errors.OpError]) -> None:
    words = "remote process exited or there was a network error"
    with pytest.raises(TryAgain, match=words) as told, explained_failures():
        raise kind(None, None, f"ncclAllReduce failed: {words}")
    assert told.value.reason == "PeerLost"


def test_a_failed_collective_without_a_known_cause_is_a_lost_peer() -> None:
    with pytest.raises(TryAgain) as told, explained_failures():
        raise HorovodInternalError("Horovod has been shut down.")
    assert told.value.reason == "PeerLost"


@pytest.mark.parametrize("words", ["invalid usage", "Duplicate GPU detected : rank 1 and rank 0", "invalid argument"])
def test_processes_that_share_a_gpu_are_refused(words: str) -> None:
    with pytest.raises(InvalidInput, match=f"{words}.*more processes than GPUs on a node"), explained_failures():
        raise tf.errors.UnknownError(None, None, f"Graph execution error:\nNCCL operation failed: {words}")


@pytest.mark.parametrize("around", [explained_failures, lost_peer_is_try_again])
@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (HorovodInternalError("ncclCommInitRank failed: unhandled cuda error"), 1, "NcclFailed"),
        (tf.errors.UnknownError(None, None, "ncclAllReduce failed: unhandled system error"), 1, "NcclFailed"),
        (tf.errors.InternalError(None, None, "NCCL operation failed: internal error"), 1, "NcclFailed"),
        (HorovodInternalError("ncclCommInitRank failed: invalid usage"), 64, "NcclRefused"),
        (tf.errors.InternalError(None, None, "CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable"), 75, "DeviceFailed"),
        (tf.errors.FailedPreconditionError(None, None, "DNN library initialization failed."), 1, "CudnnFailed"),
        (tf.errors.InternalError(None, None, "CUBLAS_STATUS_EXECUTION_FAILED"), 1, "CublasFailed"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_of_libraries_are_distinguished(
    around: Callable[[], AbstractContextManager[None]], error: Exception, code: int, reason: str
) -> None:
    with pytest.raises(TaskError) as told, around():
        raise error
    assert (told.value.exit_code, told.value.reason) == (code, reason)


def test_other_errors_of_collectives_are_not_a_lost_peer() -> None:
    with pytest.raises(tf.errors.InternalError), explained_failures():
        raise tf.errors.InternalError(None, None, "Mismatched allreduce tensor shapes")


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        (tf.errors.ResourceExhaustedError, "/w/logs/events.1; No space left on device", 70),
        (tf.errors.ResourceExhaustedError, "/w/train-1.tfrecord; Too many open files", 64),
        (tf.errors.PermissionDeniedError, "/w/train-1.tfrecord; Permission denied [Op:ReadFile]", 64),
        (tf.errors.UnknownError, "/w/train-1.tfrecord; Input/output error", 75),
    ],
)
def test_tensorflow_file_error_is_reported_as_file_error(kind: type[Exception], text: str, code: int) -> None:
    with pytest.raises(TaskError, match=text.partition(";")[0]) as told, explained_failures():
        raise kind(None, None, text)
    assert told.value.exit_code == code


@pytest.mark.parametrize("error", [tf.errors.InternalError(None, None, "a fault of our own"), KeyError("x")])
def test_unknown_error_is_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as told, explained_failures():
        raise error
    assert told.value is error
