"""What TensorFlow and Horovod raise, told as what a user can do."""

from __future__ import annotations

import pytest
import tensorflow as tf

from maskrcnn_trainer.errors import TaskError, TryAgain
from maskrcnn_trainer.failures import explained_failures


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), MemoryError()]
)
def test_out_of_memory_says_what_to_lower(error: Exception) -> None:
    with pytest.raises(TaskError, match="smaller imageSize or trainBatchSize") as told, explained_failures():
        raise error
    assert told.value.reason == "OutOfMemory"
    assert told.value.__cause__ is error


def test_a_lost_peer_asks_for_another_try() -> None:
    error = tf.errors.UnknownError(None, None, "Graph execution error:\nnode x\nGloo: Connection closed by peer")
    with pytest.raises(TryAgain, match="Connection closed by peer"), explained_failures():
        raise error


@pytest.mark.parametrize("error", [tf.errors.InternalError(None, None, "a fault of our own"), KeyError("x")])
def test_what_nobody_can_explain_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as told, explained_failures():
        raise error
    assert told.value is error
