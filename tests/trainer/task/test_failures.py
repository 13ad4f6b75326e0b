"""Translation of errors of TensorFlow and Horovod to errors that a user can act on."""

from __future__ import annotations

import pytest
import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.task.failures import explained_failures


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.InternalError(None, None, "Could not create cudnn handle: CUDNN_STATUS_ALLOC_FAILED"),
        tf.errors.UnknownError(None, None, "failed to create cublas handle: CUBLAS_STATUS_ALLOC_FAILED"),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        tf.errors.InternalError(None, None, "NCCL operation failed: unhandled cuda error: out of memory"),
        RuntimeError("Failed to allocate memory for requested buffer of size 4096"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:40],
)
def test_out_of_memory_names_settings_to_lower(error: Exception) -> None:
    with pytest.raises(TaskError, match="smaller imageSize or trainBatchSize") as told, explained_failures():
        raise error
    assert told.value.reason == "OutOfMemory"
    assert told.value.__cause__ is error


def test_a_lost_peer_asks_for_another_try() -> None:
    error = tf.errors.UnknownError(None, None, "Graph execution error:\nnode x\nGloo: Connection closed by peer")
    with pytest.raises(TryAgain, match="Connection closed by peer"), explained_failures():
        raise error


@pytest.mark.parametrize("words", ["remote process exited or there was a network error", "unhandled system error"])
def test_a_peer_that_nccl_lost_asks_for_another_try(words: str) -> None:
    with pytest.raises(TryAgain, match=words), explained_failures():
        raise tf.errors.InternalError(None, None, f"NCCL operation ncclGroupEnd failed: {words}")


@pytest.mark.parametrize("words", ["invalid usage", "Duplicate GPU detected : rank 1 and rank 0", "invalid argument"])
def test_processes_that_share_a_gpu_are_refused(words: str) -> None:
    with pytest.raises(InvalidInput, match=f"{words}.*more processes than GPUs on a node"), explained_failures():
        raise tf.errors.UnknownError(None, None, f"Graph execution error:\nNCCL operation failed: {words}")


@pytest.mark.parametrize("words", ["NCCL operation failed: internal error", "Mismatched allreduce tensor shapes"])
def test_other_errors_of_collectives_are_not_a_lost_peer(words: str) -> None:
    with pytest.raises(tf.errors.InternalError), explained_failures():
        raise tf.errors.InternalError(None, None, words)


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
