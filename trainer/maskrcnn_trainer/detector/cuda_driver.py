"""GPUs and their memory through NVIDIA's driver library, which needs no package.

CUDA Driver API (docs.nvidia.com/cuda/cuda-driver-api).
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import WHAT_TO_LOWER, InvalidInput, TaskError
from maskrcnn_trainer.task.gpu_errors import gpu_error

LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2


class CudaDevice:
    """First visible GPU, with its primary context (which TensorRT also uses) and a stream.

    Raises:
        InvalidInput: there is no driver or no GPU, or its memory is full.
        TryAgain: the GPU or its driver failed.
        TaskError: another error of the driver.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise _missing(f"{LIBRARY} was not found") from error
        if self._library.cuInit(0):
            raise _missing("the driver found no GPU")
        device = ctypes.c_int()
        if self._library.cuDeviceGet(ctypes.byref(device), 0):
            raise _missing("no GPU is visible")
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.make_current()
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self.stream = int(stream.value or 0)

    def make_current(self) -> None:
        """Make the context current; every thread must call this before other methods."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes on the device and return their address; they are freed when the process ends.

        Raises:
            InvalidInput: the GPU is out of memory.
            TryAgain: the GPU or its driver failed.
            TaskError: another error of the driver.
        """
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return int(address.value)

    def upload(self, address: int, values: NDArray[np.generic]) -> None:
        """Copy a contiguous array to the device."""
        source = values.ctypes.data_as(ctypes.c_void_p)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, ctypes.c_size_t(values.nbytes))

    def download(self, address: int, values: NDArray[np.generic]) -> None:
        """Copy from the device into a contiguous array."""
        target = values.ctypes.data_as(ctypes.c_void_p)
        self._call("cuMemcpyDtoH_v2", target, ctypes.c_uint64(address), ctypes.c_size_t(values.nbytes))

    def synchronize(self) -> None:
        """Wait until the stream has finished all its work."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code == _OUT_OF_MEMORY:
            raise InvalidInput(f"The GPU is out of memory. {WHAT_TO_LOWER}", reason="OutOfMemory")
        if code:
            text = f"{function} of the CUDA driver failed with error {code}, {self._name_of(code)}"
            raise gpu_error(text) or TaskError(text, reason="CudaFailed")

    def _name_of(self, code: int) -> str:
        name = ctypes.c_char_p()
        known = not self._library.cuGetErrorName(code, ctypes.byref(name)) and name.value
        return name.value.decode() if known and name.value else "which it does not name"


def visible_gpus() -> int:
    """Return the number of GPUs that the driver shows this process, as ``CUDA_VISIBLE_DEVICES`` lists them."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


def _missing(what: str) -> InvalidInput:
    return InvalidInput(
        f"a TensorRT engine runs on an NVIDIA GPU, but {what}; use the .tlt or the .onnx here, or run this on the "
        "machine on which the engine was built",
        reason="MissingDevice",
    )
