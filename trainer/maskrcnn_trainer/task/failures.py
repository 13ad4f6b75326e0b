"""Translation of errors of TensorFlow, Horovod, and ONNX Runtime to errors that a user can act on."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from maskrcnn_trainer.errors import NO_SPACE, OUT_OF_MEMORY, InvalidInput, TaskError, TryAgain, as_task_error
from maskrcnn_trainer.task.gpu_errors import gpu_error

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger(__name__)

MEMORY_WORDS = (
    "oom when allocating", "out of memory", "out_of_memory", "status_alloc_failed", "internal_error_device_allocation",
    "failed to allocate memory", "insufficient memory", "unable to allocate", "cannot allocate memory",
    "std::bad_alloc",
)  # fmt: skip
"""Parts of messages of TensorFlow, CUDA (``CUDA_ERROR_OUT_OF_MEMORY``), cuDNN (also
``CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED``), cuBLAS (``..._STATUS_ALLOC_FAILED``), ONNX Runtime, OpenCV,
NumPy, and the C library, whose errors are often UnknownError, InternalError, or RuntimeException."""

LOST_PEER_WORDS = (
    "horovod has been shut down", "gloo", "connection closed", "connection reset", "connection refused", "broken pipe",
    "remote process exited",
)  # fmt: skip
"""Parts of messages of an UnknownError or InternalError after a peer was lost. The last is NCCL's ncclRemoteError, for
a socket that failed; its other errors are in :mod:`maskrcnn_trainer.task.gpu_errors`."""

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
def explained_failures() -> Iterator[None]:
    """Replace errors of TensorFlow, Horovod, and ONNX Runtime by ones that a user can act on.

    Raises:
        InvalidInput: a record is invalid, memory of the host or the GPU ran out, or processes, GPU, and libraries don't
            fit (exit code 64).
        TryAgain: another process of the worker group was lost, or the GPU or its driver failed (75).
        TaskError: NCCL, cuDNN, cuBLAS, or CUDA reports another error (1).
    """
    try:
        yield
    except Exception as error:
        explained = _explained(error)
        if explained is None:
            raise
        if type(explained) is TaskError:
            log.error("The error in full:", exc_info=error)
        raise explained from error


def _explained(error: Exception) -> Exception | None:
    """Return the error to raise instead of one of a library, or None.

    It doesn't load TensorFlow, which takes seconds: errors in the spec are found before it is loaded.
    """
    if is_out_of_memory(error):
        return InvalidInput(OUT_OF_MEMORY, reason="OutOfMemory")
    if "OpError" in _names_of(error):
        refused = _FILE_ERROR.search(str(error))
        if refused:
            number = _FILE_ERRORS[refused["text"]]
            return as_task_error(OSError(number, refused["text"], refused["path"]))
        from_data = data_error(cast("tf.errors.OpError", error))
        if from_data is not None:
            return from_data
    return _device_or_peer(error)


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
    return name in (*_GENERAL_ERRORS, _OPENCV_ERROR) and any(word in text for word in MEMORY_WORDS)


_ABORTING = re.compile(r"^(\[\d+\] )?\d{4}-\d\d-\d\d [\d:.]+: [EF] |terminate called|what\(\):")
"""Lines of errors in the log of TensorFlow, and those of the C++ runtime, before it aborts the process."""
_NO_GPU_TO_USE = "failed call to cuInit"
"""TensorFlow logs this error if no GPU is there or all are hidden, and continues on the CPU."""


def error_of_abort(output: str) -> TaskError | None:
    """Return the error of a process that TensorFlow or the C++ runtime aborted, from the end of its output.

    TensorFlow aborts on many errors of the driver, so that no exception reaches Python.
    """
    text = "\n".join(line for line in output.splitlines() if _ABORTING.search(line) and _NO_GPU_TO_USE not in line)
    error = gpu_error(text)
    if not isinstance(error, TryAgain) and any(word in text.lower() for word in MEMORY_WORDS):
        return InvalidInput(OUT_OF_MEMORY, reason="OutOfMemory")
    return error


_GENERAL_ERRORS = ("UnknownError", "InternalError", "HorovodInternalError", "RuntimeException", "RuntimeError", "Fail")
"""Error classes of TensorFlow, Horovod, and ONNX Runtime whose cause is only in the message."""
_OPENCV_ERROR = "error"


@contextmanager
def lost_peer_is_try_again() -> Iterator[None]:
    """Replace the error of a collective operation by one that a user can act on.

    Raises:
        TryAgain: a peer was lost, or the GPU failed (exit code 75).
        InvalidInput: NCCL refuses the number or placement of the processes (64).
        TaskError: NCCL reports another error (1).
    """
    try:
        yield
    except Exception as error:
        explained = None if is_out_of_memory(error) else _device_or_peer(error)
        if explained is None:
            raise
        raise explained from error


def _device_or_peer(error: Exception) -> Exception | None:
    """Return the error to raise for a failure of a GPU, of NVIDIA's libraries, or of a peer; None for another."""
    names = _names_of(error)
    if not names & {"OpError", *_GENERAL_ERRORS}:
        return None
    explained = gpu_error(str(error))
    if explained is not None:
        return explained
    if "HorovodInternalError" in names or (names & {"UnknownError", "InternalError"} and _names_a_peer(str(error))):
        return TryAgain(
            f"another worker process died; see the launcher's log ({_relevant_line(error)})", reason="PeerLost"
        )
    return None


def _names_of(error: Exception) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(error).__mro__)


def _relevant_line(error: Exception) -> str:
    # TensorFlow's message begins with a heading and a list of nodes; the cause comes after them
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    relevant = [line for line in lines if _names_a_peer(line)] or [line for line in lines if not line.endswith(":")]
    return relevant[0][:300] if relevant else type(error).__name__


def _names_a_peer(line: str) -> bool:
    return any(word in line.lower() for word in LOST_PEER_WORDS)
