"""Lock file of the gpu image next to those of the tests and the cpu image."""

from __future__ import annotations

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements"


def locked(name: str) -> dict[str, str]:
    """Return the versions in a lock file by package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (REQUIREMENTS / f"{name}.lock").read_text(), re.MULTILINE))


def test_both_targets_of_the_trainer_have_the_same_versions() -> None:
    cpu, gpu = locked("trainer-cpu"), locked("trainer-gpu")
    assert {name: gpu[name] for name in cpu.keys() & gpu.keys()} == {
        name: cpu[name] for name in cpu.keys() & gpu.keys()
    }
    assert cpu.keys() - gpu.keys() == {"tensorflow-cpu", "onnxruntime"}
    assert gpu["tensorflow"] == cpu["tensorflow-cpu"]


def test_only_one_package_has_the_module_onnxruntime() -> None:
    assert {name for name in locked("trainer-gpu") if name.startswith("onnxruntime")} == {"onnxruntime-gpu"}
    assert {name for name in locked("trainer-cpu") if name.startswith("onnxruntime")} == {"onnxruntime"}


def test_fat_binaries_are_written_by_the_cuda_of_the_image() -> None:
    gpu, writer = locked("trainer-gpu"), locked("horovod-gpu-build")
    assert writer == {"nvidia-nvfatbin-cu12": gpu["nvidia-cuda-runtime-cu12"]}
    assert gpu["nvidia-cuda-nvcc-cu12"] == gpu["nvidia-cuda-runtime-cu12"]
