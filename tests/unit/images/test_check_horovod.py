"""Check that the build of the gpu image makes of its Horovod: libraries and device code, in small libraries."""

from __future__ import annotations

import importlib.util
import re
import struct
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
TRAINER = ROOT / "images" / "trainer"
ALL = [("sm", arch) for arch in (60, 61, 70, 75, 80, 86, 89, 90)] + [("compute", 90)]


@pytest.fixture(name="checks", scope="module")
def _checks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_horovod", TRAINER / "check_horovod.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fat_binary(targets: Sequence[tuple[str, int]]) -> bytes:
    """Return a fat binary with an entry of 24 bytes of code for each target."""
    entries = b""
    for kind, arch in targets:
        fields = struct.pack("<HHIQQHHI", {"compute": 1, "sm": 2}[kind], 0x101, 64, 24, 0, 5, 8, arch)
        entries += fields.ljust(64, b"\0") + bytes(24)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


Compile = Callable[..., Path]


@pytest.fixture(name="compiled", scope="module")
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    folder = tmp_path_factory.mktemp("libraries")

    def compiled(name: str, linked: Sequence[str] = (), code: bytes = b"") -> Path:
        """Return a shared library that is linked with others, and has device code."""
        others = [str(compiled(other)) for other in linked]
        (folder / "code").write_bytes(code)
        listed = '.section .nv_fatbin,"a"\n.incbin "code"\n.section .note.GNU-stack,""\n'
        command = ["cc", "-shared", "-nostdlib", "-o", name, f"-Wl,-soname,{name}", "-Wl,--no-as-needed"]
        subprocess.run(
            [*command, "-x", "assembler", "-", "-x", "none", *others], cwd=folder, input=listed.encode(), check=True
        )
        return folder / name

    return compiled


def test_library_with_both_libraries_and_all_targets_passes(checks: ModuleType, compiled: Compile) -> None:
    library = compiled("mpi_lib.so", ["libcudart.so.12", "libnccl.so.2"], fat_binary(ALL) + fat_binary(ALL))
    assert checks.needed(library) == {"libcudart.so.12", "libnccl.so.2"}
    assert checks.faults(library) == []


def test_library_that_calls_stubs_of_tensorflow_is_refused(checks: ModuleType, compiled: Compile) -> None:
    library = compiled("mpi_lib.so", ["libtensorflow_framework.so.2", "libnccl.so.2"], fat_binary(ALL))
    assert checks.faults(library) == ["not linked with libcudart.so.12"]
    assert checks.faults(compiled("mpi_lib.so", ["libcudart.so.13"], fat_binary(ALL))) == [
        "not linked with libcudart.so.12, libnccl.so.2"
    ]


@pytest.mark.parametrize(
    ("code", "lacking"),
    [
        (fat_binary(ALL[1:]), "sm_60"),
        (fat_binary(ALL[:-1]), "compute_90"),
        (fat_binary(ALL) + fat_binary(ALL[:5] + ALL[6:]), "sm_86"),
        (b"", "compute_90, sm_60, sm_61, sm_70, sm_75, sm_80, sm_86, sm_89, sm_90"),
    ],
    ids=["no machine code", "no PTX", "second module", "no device code"],
)
def test_library_without_a_target_is_refused(checks: ModuleType, compiled: Compile, code: bytes, lacking: str) -> None:
    library = compiled("mpi_lib.so", ["libcudart.so.12", "libnccl.so.2"], code)
    assert checks.faults(library) == [f"no device code for {lacking}"]


def test_wheel_is_refused_by_name(checks: ModuleType, compiled: Compile, tmp_path: Path) -> None:
    wheel = tmp_path / "horovod-0.28.1-cp311.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(compiled("mpi_lib.so", ["libnccl.so.2"], fat_binary(ALL)), "horovod/tensorflow/mpi_lib.cp311.so")
    with pytest.raises(SystemExit, match=r"horovod-0\.28\.1-cp311\.whl: not linked with libcudart\.so\.12"):
        checks.main(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("horovod/__init__.py", "")
    with pytest.raises(SystemExit, match=r"expected one horovod/tensorflow/mpi_lib\.\*\.so, found \[\]"):
        checks.main(wheel)


def test_targets_are_those_that_are_compiled(checks: ModuleType) -> None:
    toolchain = (TRAINER / "cuda" / "toolchain.cmake").read_text()
    found = re.search(r"^set\(CMAKE_CUDA_ARCHITECTURES (.+)\)$", toolchain, re.MULTILINE)
    assert found
    *machine_code, last = found[1].split()
    expected = {f"sm_{arch.removesuffix('-real')}" for arch in (*machine_code, last)} | {f"compute_{last}"}
    assert expected == checks.TARGETS


def test_compiler_gets_no_flags_of_nvcc(tmp_path: Path) -> None:
    clang = tmp_path / "clang++-19"
    clang.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    clang.chmod(0o755)

    def nvcc(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CUDA_PATH": "/toolkit"}
        command = [str(TRAINER / "cuda" / "nvcc.sh"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    passed = nvcc("-Xcompiler", "-fPIC", "-gencode", "arch=compute_90,code=sm_90", "-c", "a b.cu").stdout.splitlines()
    assert passed == ["--cuda-path=/toolkit", "-Wno-unknown-cuda-version", "-fPIC", "-c", "a b.cu"]
    assert "release 12.5" in nvcc("--version").stdout
    assert nvcc("-v", "__cmake_determine_cuda", "x").stderr == "#$ TOP=/toolkit\n"


def test_fatbinary_refuses_arguments_of_another_clang() -> None:
    for arguments in (["--create", "x", "--image3=kind=elf,sm=90,file=y"], ["--image=profile=sm_90,file=y"]):
        command = [str(TRAINER / "cuda" / "fatbinary.py"), "-64", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "fatbinary: expected --create OUTPUT --image=profile=sm_N,file=INPUT" in done.stderr
