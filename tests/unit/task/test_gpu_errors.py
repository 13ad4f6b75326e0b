"""Errors of NVIDIA's libraries, in the words of TensorFlow, Horovod, NCCL, and ONNX Runtime."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.task.failures import error_of_abort
from maskrcnn_trainer.task.gpu_errors import gpu_error

# tensorflow/tensorflow issues and nagadit/DeepFaceLab_Linux#89, horovod/horovod#3929, #3625; ncclGetErrorString in
# NCCL's init.cc; cudaGetErrorString; CudaCall in ONNX Runtime's cuda_call.cc; cuda_dnn.cc and cuda_blas.cc of XLA
SAID = [
    (
        "failed call to cuDevicePrimaryCtxRetain: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered",
        (75, "DeviceFailed"),
    ),
    ("CUDA failure 214: uncorrectable ECC error encountered ; GPU=0 ; hostname=a", (75, "DeviceFailed")),
    ("cudaStreamSynchronize failed: uncorrectable ECC error encountered", (75, "DeviceFailed")),
    ("CUDA_ERROR_NVLINK_UNCORRECTABLE: uncorrectable NVLink error detected", (75, "DeviceFailed")),
    ("CUDA error: all CUDA-capable devices are busy: device(s) is/are busy or unavailable", (75, "DeviceFailed")),
    ("Could not synchronize CUDA stream: CUDA_ERROR_UNKNOWN: unknown error", (75, "DeviceFailed")),
    ("cudaEventSynchronize failed: unknown error", (75, "DeviceFailed")),
    ("CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected", (75, "DeviceFailed")),
    ("Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.", (75, "DeviceFailed")),
    ("CUDA_ERROR_SYSTEM_NOT_READY: system not yet initialized", (75, "DeviceFailed")),
    ("ncclCommInitRank failed: invalid usage (run with NCCL_DEBUG=WARN for details)", (64, "NcclRefused")),
    ("ncclAllReduce failed: invalid argument (run with NCCL_DEBUG=WARN for details)", (64, "NcclRefused")),
    ("NCCL WARN Duplicate GPU detected : rank 6 and rank 0 both on CUDA device 1000", (64, "NcclRefused")),
    ("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the device", (64, "CudaRefused")),
    ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version", (64, "CudaRefused")),
    ("cudaSetDevice failed: invalid device ordinal", (64, "CudaRefused")),
    ("libdevice not found at ./libdevice.10.bc", (64, "XlaRefused")),
    ("JIT compilation failed. [Op:__inference_step_1]", (64, "XlaRefused")),
    ("Couldn't get ptxas version string: INTERNAL: Couldn't invoke ptxas --version", (64, "XlaRefused")),
    ("No PTX compilation provider is available.", (64, "XlaRefused")),
    (
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the provided PTX was compiled with an unsupported toolchain.",
        (64, "CudaRefused"),
    ),
    ("Loaded runtime CuDNN library: 9.1.0 but source was compiled with: 9.3.0.", (64, "CudnnRefused")),
    ("CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH", (64, "CudnnRefused")),
    ("CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH", (64, "CudnnRefused")),
    ("CUBLAS failure 8: CUBLAS_STATUS_ARCH_MISMATCH", (64, "CublasRefused")),
    ("ncclAllReduce failed: unhandled cuda error (run with NCCL_DEBUG=INFO for details)", (1, "NcclFailed")),
    ("ncclCommInitRank failed: unhandled system error (run with NCCL_DEBUG=INFO for details)", (1, "NcclFailed")),
    ("NCCL failed: internal error - please report this issue to the NCCL developers", (1, "NcclFailed")),
    ("DNN library initialization failed.", (1, "CudnnFailed")),
    ("DNN library is not found.", (1, "CudnnFailed")),
    ("cuDNN launch failure: CUDNN_STATUS_EXECUTION_FAILED", (1, "CudnnFailed")),
    ("failed to create cublas handle: CUBLAS_STATUS_NOT_INITIALIZED", (1, "CublasFailed")),
    ("Attempting to perform BLAS operation using StreamExecutor without BLAS support", (1, "CublasFailed")),
    ("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", (1, "CudaFailed")),
    ("cudaStreamSynchronize failed: an illegal memory access was encountered", (1, "CudaFailed")),
    ("CUDA failure 700: an illegal memory access was encountered", (1, "CudaFailed")),
]


@pytest.mark.parametrize(("text", "expected"), SAID, ids=[text[:50] for text, _ in SAID])
def test_error_has_the_exit_code_of_its_cause_and_its_line(text: str, expected: tuple[int, str]) -> None:
    error = gpu_error(f"Graph execution error:\n\nDetected at node x:\n  {text}\n\t [[{{{{node x}}}}]]")
    assert error is not None
    assert (error.exit_code, error.reason) == expected
    assert f"({text}); " in str(error)


def test_index_of_a_gpu_that_is_not_there_is_a_matter_of_the_placement() -> None:
    error = gpu_error("cudaSetDevice failed: invalid device ordinal")
    assert error is not None
    assert "more processes than GPUs on a node" in str(error)


NO_GPU = "2026-11-29 12:00:00.1: E external/cuda_driver.cc:152] failed call to cuInit: CUDA_ERROR_NO_DEVICE: no GPU"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (f"{NO_GPU}\nterminate called after throwing an instance of 'std::bad_alloc'", (64, "OutOfMemory")),
        (f"{NO_GPU}\n2026-11-29 12:00:01.1: F a.cc:1] Check failed: x", None),
        ("2026-11-29 12:00:01.1: F a.cc:1] CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable", (75, "DeviceFailed")),
    ],
)
def test_hidden_gpus_are_not_why_a_process_was_aborted(output: str, expected: tuple[int, str] | None) -> None:
    error = error_of_abort(output)
    assert (None if error is None else (error.exit_code, error.reason)) == expected


def test_device_that_died_counts_before_the_library_that_reports_it() -> None:
    error = gpu_error("ncclAllReduce failed: unhandled cuda error\nCUDA failure 'uncorrectable ECC error encountered'")
    assert error is not None
    assert error.exit_code == 75


@pytest.mark.parametrize(
    "text", ["Mismatched allreduce tensor shapes", "remote process exited or there was a network error", "/data/nccl/a"]
)
def test_other_messages_are_not_errors_of_a_gpu(text: str) -> None:
    assert gpu_error(text) is None
