"""What TensorFlow raises, as what a user can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from maskrcnn_trainer.data.pipeline import data_error
from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.training.distributed import lost_peer_is_try_again

OUT_OF_MEMORY = (
    "Out of memory. Try a smaller imageSize or trainBatchSize (evalBatchSize in evaluation) first. If the error "
    "persists, reduce nWorkers, shuffleBufferSize and prefetchBufferSize. If the original images have a very large "
    "resolution, resize them offline and convert them again, so that large images are not loaded at all"
)


@contextmanager
def explained_failures() -> Iterator[None]:
    """Names the record behind a data error, says what to lower when memory ran out, and calls a lost peer that.

    Raises:
        InvalidInput: a record is bad (exit code 64).
        TryAgain: another process of the gang is gone (75).
        TaskError: out of memory (1).
    """
    try:
        with lost_peer_is_try_again():
            yield
    except tf.errors.ResourceExhaustedError as error:
        raise TaskError(OUT_OF_MEMORY, reason="OutOfMemory") from error
    except MemoryError as error:
        raise TaskError(OUT_OF_MEMORY, reason="OutOfMemory") from error
    except tf.errors.OpError as error:
        bad = data_error(error)
        if bad is None:
            raise
        raise bad from error
