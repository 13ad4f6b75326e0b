"""The stored registrations of GPU kernels, compared with the lock file of the gpu image."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpu_kernels
from kernel_registrations import read_registrations

LOCK = (Path(__file__).resolve().parents[3] / "requirements" / "trainer-gpu.lock").read_text(encoding="utf-8")


def test_stored_registrations_are_those_of_the_locked_tensorflow() -> None:
    assert read_registrations().tensorflow == gpu_kernels.pinned_version(LOCK), "run make gpu-kernels"


def test_requirement_has_all_hashes_of_tensorflow_and_no_other_package() -> None:
    pinned = "tensorflow==2.0 \\\n    --hash=sha256:01 \\\n    --hash=sha256:02\n"
    lock = f"six==1.17.0 \\\n    --hash=sha256:00\n{pinned}zipp==3 \\\n    --hash=sha256:03\n"
    assert gpu_kernels.pinned_requirement(lock) == pinned
    assert gpu_kernels.pinned_version(lock) == "2.0"


def test_lock_without_tensorflow_is_refused() -> None:
    with pytest.raises(ValueError, match="doesn't pin tensorflow"):
        gpu_kernels.pinned_version("tensorflow-io==1.0 \\\n    --hash=sha256:00\n")
