"""Registrations of kernels in the GPU wheel of TensorFlow that requirements/trainer-gpu.lock pins.

    python benchmarks/gpu_kernels.py

Downloads the wheel (615 MB) into the user's cache, unpacks it (1.4 GB, removed afterwards), and imports it in a process
of its own, with its dependencies from this environment. Neither a GPU nor CUDA is needed. The result is
benchmarks/gpu_kernels.json.xz.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from kernel_registrations import STORED, Kernel, Registrations, write_registrations

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "trainer-gpu.lock"
DEVICES = ("GPU", "DEFAULT")
"""Devices whose kernels run on a GPU, preferred ones first; DEFAULT kernels serve each device without an own one."""


def pinned_requirement(lock: str) -> str:
    """Return the lines of ``tensorflow`` with version and hashes, as the text of a requirements file.

    Raises:
        ValueError: the lock doesn't pin TensorFlow.
    """
    found = re.search(r"^tensorflow==(?:.*\\\n)*.*\n?", lock, re.MULTILINE)
    if found is None:
        raise ValueError(f"{LOCK.name} doesn't pin tensorflow")
    return found.group()


def pinned_version(lock: str) -> str:
    """Return the version of ``tensorflow`` in a lock file.

    Raises:
        ValueError: the lock doesn't pin TensorFlow.
    """
    return pinned_requirement(lock).split()[0].partition("==")[2]


def download(requirement: str, folder: Path) -> Path:
    """Return the wheel of a pinned requirement, downloaded into a folder unless it is there; pip checks its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "requirement.txt"
    pins.write_text(requirement, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-d", str(folder), "-r", str(pins)], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel of TensorFlow without its C++ headers."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.startswith("tensorflow/include/")]
        archive.extractall(folder, names)


def registered_kernels() -> Registrations:
    """Return the kernels for GPUs of the TensorFlow that this process imports.

    Kernels with a label are left out: an operation must name it to get one of them.
    """
    import tensorflow as tf
    from tensorflow.python.framework import kernels

    def values(listed: Any) -> list[str]:
        texts = [text.decode() for text in listed.s] + [str(number) for number in (*listed.i, *listed.b)]
        return sorted({*(tf.as_dtype(number).name for number in listed.type), *texts})

    by_operation: defaultdict[str, list[tuple[int, int, Kernel]]] = defaultdict(list)
    for kernel in kernels.get_all_registered_kernels().kernel:
        if kernel.device_type in DEVICES and not kernel.label:
            allowed = {constraint.name: values(constraint.allowed_values.list) for constraint in kernel.constraint}
            found = Kernel(allowed, frozenset(kernel.host_memory_arg))
            by_operation[kernel.op].append((DEVICES.index(kernel.device_type), -kernel.priority, found))

    def in_order(listed: list[tuple[int, int, Kernel]]) -> list[Kernel]:
        return [kernel for _, _, kernel in sorted(listed, key=lambda one: (*one[:2], sorted(one[2].allowed.items())))]

    return Registrations(tf.__version__, {operation: in_order(listed) for operation, listed in by_operation.items()})


def main() -> None:
    """Write the file, or with ``--installed`` the registrations of the TensorFlow on the import path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=STORED)
    parser.add_argument("--installed", action="store_true", help="read the TensorFlow on the import path")
    arguments = parser.parse_args()
    if arguments.installed:
        write_registrations(registered_kernels(), arguments.output)
        return
    lock = LOCK.read_text(encoding="utf-8")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskrcnn-operator"
    wheel = download(pinned_requirement(lock), cache / f"tensorflow-gpu-{pinned_version(lock)}")
    with tempfile.TemporaryDirectory(dir=wheel.parent) as unpacked:
        unpack(wheel, Path(unpacked))
        command = [sys.executable, __file__, "--installed", "--output", str(arguments.output)]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": unpacked, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=True)
    print(
        f"{arguments.output}: kernels of tensorflow {pinned_version(lock)}, {arguments.output.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
