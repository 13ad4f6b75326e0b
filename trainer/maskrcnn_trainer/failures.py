"""What TensorFlow raises, as what a user can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from maskrcnn_trainer.errors import TaskError, TryAgain

OUT_OF_MEMORY = (
    "Out of memory. Try a smaller imageSize or trainBatchSize (evalBatchSize in evaluation) first. If the error "
    "persists, reduce nWorkers, shuffleBufferSize and prefetchBufferSize. If the original images have a very large "
    "resolution, resize them offline and convert them again, so that large images are not loaded at all"
)


# What UnknownError and InternalError of TensorFlow say when a peer is gone (HorovodInternalError always means that).
LOST_PEER_WORDS = ("horovod", "gloo", "nccl", "connection closed", "connection reset", "allreduce", "allgather")


@contextmanager
def explained_failures() -> Iterator[None]:
    """Names the record behind a data error, says what to lower when memory ran out, and calls a lost peer that.

    Raises:
        InvalidInput: a record is bad (exit code 64).
        TryAgain: another process of the gang is gone (75).
        TaskError: out of memory (1).
    """
    import tensorflow as tf

    from maskrcnn_trainer.data.pipeline import data_error

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


@contextmanager
def lost_peer_is_try_again() -> Iterator[None]:
    """Turns what a collective raises when a peer is gone into exit code 75.

    Raises:
        TryAgain: in place of Horovod's and TensorFlow's errors about the connection.
    """
    try:
        yield
    except Exception as error:
        if not _speaks_of_a_peer(error):
            raise
        raise TryAgain(f"another process of this training was lost: {_first_line(error)}", reason="PeerLost") from error


def _speaks_of_a_peer(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "HorovodInternalError" in names:
        return True
    text = str(error).lower()
    return bool(names & {"UnknownError", "InternalError"}) and any(word in text for word in LOST_PEER_WORDS)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
