"""What TensorFlow raises, as what a user can do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from maskrcnn_trainer.errors import TaskError, TryAgain

WHAT_TO_LOWER = (
    "Try a smaller imageSize or trainBatchSize (evalBatchSize in evaluation) first. If the error "
    "persists, reduce nWorkers and prefetchBufferSize. If the original images have a very large "
    "resolution, resize them offline and convert them again, so that large images are not loaded at all"
)
OUT_OF_MEMORY = f"Out of memory. {WHAT_TO_LOWER}"


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
    try:
        with lost_peer_is_try_again():
            yield
    except MemoryError as error:
        raise TaskError(OUT_OF_MEMORY, reason="OutOfMemory") from error
    except Exception as error:
        # A mistake in the spec is told in a second: it is found before TensorFlow is loaded, and told without it.
        if "tensorflow" not in sys.modules:
            raise
        explained = _explained(error)
        if explained is None:
            raise
        raise explained from error


def _explained(error: Exception) -> Exception | None:
    """What stands for an error of TensorFlow's own, or None."""
    import tensorflow as tf

    if isinstance(error, tf.errors.ResourceExhaustedError):
        return TaskError(OUT_OF_MEMORY, reason="OutOfMemory")
    if isinstance(error, tf.errors.OpError):
        from maskrcnn_trainer.data.pipeline import data_error

        return data_error(error)
    return None


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
        raise TryAgain(
            f"another process of this training was lost (the log of launch names it): {_telling_line(error)}",
            reason="PeerLost",
        ) from error


def _speaks_of_a_peer(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "HorovodInternalError" in names:
        return True
    return bool(names & {"UnknownError", "InternalError"}) and _names_a_peer(str(error))


def _telling_line(error: Exception) -> str:
    # TensorFlow begins with a heading, and what happened stands below a list of nodes
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if _names_a_peer(line)] or [line for line in lines if not line.endswith(":")]
    return telling[0][:300] if telling else type(error).__name__


def _names_a_peer(line: str) -> bool:
    return any(word in line.lower() for word in LOST_PEER_WORDS)
