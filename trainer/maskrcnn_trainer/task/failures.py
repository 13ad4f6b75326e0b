"""Translation of TensorFlow's errors to errors that a user can act on."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from maskrcnn_trainer.errors import NO_SPACE, InvalidInput, TaskError, TryAgain, as_task_error

if TYPE_CHECKING:
    import tensorflow as tf

WHAT_TO_LOWER = (
    "Try a smaller imageSize or trainBatchSize (evalBatchSize in evaluation) first. If the error "
    "persists, reduce nWorkers and prefetchBufferSize. If the original images have a very large "
    "resolution, resize them offline and convert them again, so that large images are not loaded at all"
)
OUT_OF_MEMORY = f"Out of memory. {WHAT_TO_LOWER}"


MEMORY_WORDS = (
    "oom when allocating", "out of memory", "out_of_memory", "status_alloc_failed", "failed to allocate memory",
    "std::bad_alloc",
)  # fmt: skip
"""Parts of messages of TensorFlow, CUDA (``CUDA_ERROR_OUT_OF_MEMORY``), cuDNN and cuBLAS (``..._STATUS_ALLOC_FAILED``),
and ONNX Runtime, whose errors are often UnknownError, InternalError, or RuntimeException, and not
ResourceExhaustedError."""

LOST_PEER_WORDS = (
    "horovod has been shut down", "gloo", "connection closed", "connection reset", "connection refused", "broken pipe",
    "remote process exited", "unhandled system error",
)  # fmt: skip
"""Parts of messages of an UnknownError or InternalError after a peer was lost. The last two are from NCCL, whose other
errors are faults of this process: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api/types.html#ncclresult-t."""

NCCL_MISUSE = re.compile(r"nccl.*?(invalid usage|invalid argument|duplicate gpu)", re.IGNORECASE | re.DOTALL)

_FILE_ERRORS = {
    os.strerror(number): number
    for number in (
        *NO_SPACE,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EMFILE,
        errno.EFBIG,
        errno.ENAMETOOLONG,
        errno.EIO,
        errno.ESTALE,
    )
}
_FILE_ERROR = re.compile(rf"(?P<path>/[^;\n]*); (?P<text>{'|'.join(map(re.escape, _FILE_ERRORS))})")
"""End of TensorFlow's message about a file operation that the system refuses."""

_BAD_DATA = "bad training data: "


@contextmanager
def explained_memory() -> Iterator[None]:
    """Replace an out-of-memory error by one with remedies.

    Raises:
        TaskError: in place of the runtime's error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TaskError(OUT_OF_MEMORY, reason="OutOfMemory") from error


@contextmanager
def explained_failures() -> Iterator[None]:
    """Replace errors of TensorFlow by ones that name the bad record, the remedies for lack of memory, or the lost peer.

    Raises:
        InvalidInput: a record is invalid (exit code 64).
        TryAgain: another process of the worker group was lost (75).
        TaskError: out of memory (1).
    """
    try:
        with explained_memory(), lost_peer_is_try_again():
            yield
    except Exception as error:
        # errors in the spec are found before TensorFlow is loaded; don't load it now, which takes seconds
        if "tensorflow" not in sys.modules:
            raise
        explained = _explained(error)
        if explained is None:
            raise
        raise explained from error


def _explained(error: Exception) -> Exception | None:
    """Return the error to raise instead of an error of TensorFlow, or None."""
    import tensorflow as tf

    if not isinstance(error, tf.errors.OpError):
        return None
    refused = _FILE_ERROR.search(str(error))
    if refused:
        number = _FILE_ERRORS[refused["text"]]
        return as_task_error(OSError(number, refused["text"], refused["path"]))
    return data_error(error)


def passed_through_tensorflow(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function for TensorFlow's input pipeline that marks its InvalidInput for :func:`data_error`.

    TensorFlow replaces a Python exception by its own error, which contains the text of the exception.
    """

    def wrapped(*arguments: object) -> object:
        try:
            return function(*arguments)
        except InvalidInput as error:
            raise ValueError(f"{_BAD_DATA}{error}") from error

    return wrapped


def data_error(error: tf.errors.OpError) -> InvalidInput | None:
    """Return the InvalidInput that an element of the input pipeline raised; None if data wasn't the cause."""
    _, marked, message = str(error.message).partition(_BAD_DATA)
    return InvalidInput(message.splitlines()[0], reason="InvalidData") if marked else None


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory of the host or the GPU ran out, without loading TensorFlow."""
    name = type(error).__name__
    # TensorFlow raises ResourceExhaustedError for a full disk too
    if isinstance(error, MemoryError) or (name == "ResourceExhaustedError" and not _FILE_ERROR.search(str(error))):
        return True
    text = str(error).lower()
    return name in _GENERAL_ERRORS and any(word in text for word in MEMORY_WORDS)


_GENERAL_ERRORS = ("UnknownError", "InternalError", "RuntimeException", "RuntimeError", "Fail")
"""Error classes of TensorFlow and ONNX Runtime whose cause is only in the message."""


@contextmanager
def lost_peer_is_try_again() -> Iterator[None]:
    """Replace the error of a collective operation after the loss of a peer by TryAgain (exit code 75).

    Raises:
        TryAgain: in place of connection errors of Horovod and TensorFlow.
        InvalidInput: NCCL refuses the number or placement of the processes.
    """
    try:
        yield
    except Exception as error:
        if NCCL_MISUSE.search(str(error)):
            raise InvalidInput(
                f"NCCL cannot connect the processes ({_relevant_line(error)}); a frequent cause is more processes than "
                "GPUs on a node: lower --gpus, or gpusPerNode and processesPerNode",
                reason="NcclRefused",
            ) from error
        if not _is_lost_peer(error):
            raise
        raise TryAgain(
            f"another worker process died; see the launcher's log ({_relevant_line(error)})",
            reason="PeerLost",
        ) from error


def _is_lost_peer(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    if is_out_of_memory(error):
        return False
    if "HorovodInternalError" in names:
        return True
    return bool(names & {"UnknownError", "InternalError"}) and _names_a_peer(str(error))


def _relevant_line(error: Exception) -> str:
    # TensorFlow's message begins with a heading and a list of nodes; the cause comes after them
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    relevant = [line for line in lines if _names_a_peer(line) or NCCL_MISUSE.search(line)] or [
        line for line in lines if not line.endswith(":")
    ]
    return relevant[0][:300] if relevant else type(error).__name__


def _names_a_peer(line: str) -> bool:
    return any(word in line.lower() for word in LOST_PEER_WORDS)
