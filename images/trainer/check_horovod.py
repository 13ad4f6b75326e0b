"""Check of a Horovod wheel for GPUs: the libraries that it is linked with, and the GPUs that it has kernels for.

TensorFlow's library exports stubs of CUDA's runtime and of NCCL. A Horovod that is linked with those instead works on a
CPU, so that no test without a GPU would notice it.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

NEEDED = frozenset({"libcudart.so.12", "libnccl.so.2"})
TARGETS = frozenset({f"sm_{arch}" for arch in (60, 61, 70, 75, 80, 86, 89, 90)} | {"compute_90"})
LIBRARY = re.compile(r"horovod/tensorflow/mpi_lib\..*\.so")

_MAGIC = struct.pack("<I", 0xBA55ED50)
_KINDS = {1: "compute", 2: "sm"}


def main(wheel: Path) -> None:
    """Check the library in a wheel.

    Raises:
        SystemExit: a library or a target is missing.
    """
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = [name for name in archive.namelist() if LIBRARY.fullmatch(name)]
        if len(names) != 1:
            sys.exit(f"{wheel.name}: expected one horovod/tensorflow/mpi_lib.*.so, found {names}")
        wrong = faults(Path(archive.extract(names[0], folder)))
    if wrong:
        sys.exit(f"{wheel.name}: {'; '.join(wrong)}")
    print(f"{wheel.name}: linked with {', '.join(sorted(NEEDED))}; kernels for {', '.join(sorted(TARGETS))}")  # noqa: T201


def faults(library: Path) -> list[str]:
    """Return what a library lacks: an entry for linked libraries, one for device code; empty if nothing is missing."""
    found = []
    if missing := NEEDED - needed(library):
        found.append(f"not linked with {', '.join(sorted(missing))}")
    modules = list(device_code(library)) or [frozenset()]
    if lacking := {target for module in modules for target in TARGETS - module}:
        found.append(f"no device code for {', '.join(sorted(lacking))}")
    return found


def needed(library: Path) -> set[str]:
    """Return the names of the libraries under NEEDED, as ``readelf -d`` lists them."""
    command = ["readelf", "--dynamic", "--wide", str(library)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", listed))


def device_code(library: Path) -> Iterator[frozenset[str]]:
    """Yield the targets of each fat binary in the library, such as ``sm_90`` (machine code) or ``compute_90`` (PTX).

    A fat binary is a header of 16 bytes and entries, each with a header of its own.
    """
    content = library.read_bytes()
    position = content.find(_MAGIC)
    while position >= 0:
        _, header, size = struct.unpack_from("<HHQ", content, position + 4)
        at, end = position + header, position + header + size
        targets = set()
        while at + 64 <= end:
            kind, _, head, payload = struct.unpack_from("<HHIQ", content, at)
            (arch,) = struct.unpack_from("<I", content, at + 28)
            targets.add(f"{_KINDS.get(kind, kind)}_{arch}")
            at += head + payload
        yield frozenset(targets)
        position = content.find(_MAGIC, end)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
