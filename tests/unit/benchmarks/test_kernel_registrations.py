"""Choice of the kernel of an operation, and the file with the registrations of the GPU wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel_registrations import Kernel, Registrations, read_registrations, write_registrations

STORED = read_registrations()
HOST = frozenset({"x", "y", "z"})


@pytest.mark.parametrize(
    ("operation", "attributes", "host"),
    [
        ("AddV2", {"T": ["float32"]}, frozenset()),
        ("AddV2", {"T": ["int64"]}, frozenset()),
        ("AddV2", {"T": ["int32"]}, HOST),
        ("GatherV2", {"Tparams": ["float16"], "Tindices": ["int64"], "Taxis": ["int32"]}, frozenset({"axis"})),
    ],
)
def test_kernels_of_the_wheel_list_what_is_in_host_memory(
    operation: str, attributes: dict[str, list[str]], host: frozenset[str]
) -> None:
    kernel = STORED.kernel_for(operation, attributes)
    assert kernel is not None
    assert kernel.host_arguments == host


@pytest.mark.parametrize(
    ("operation", "attributes"),
    [
        ("GatherV2", {"Tparams": ["uint8"], "Tindices": ["int32"], "Taxis": ["int32"]}),
        ("SplitV", {"T": ["int64"], "Tlen": ["int32"]}),
        ("DecodeJpeg", {}),
    ],
)
def test_operations_without_a_kernel_for_gpus_have_none(operation: str, attributes: dict[str, list[str]]) -> None:
    assert STORED.kernel_for(operation, attributes) is None


def test_first_kernel_that_takes_every_attribute_is_chosen() -> None:
    narrow = Kernel({"T": ["float32"], "U": ["int32"]}, frozenset({"a"}))
    wide = Kernel({"T": ["float32", "int32"]}, frozenset({"b"}))
    registrations = Registrations("1", {"Op": [narrow, wide]})
    assert registrations.kernel_for("Op", {"T": ["float32"], "U": ["int32"]}) is narrow
    assert registrations.kernel_for("Op", {"T": ["float32"], "U": ["int64"]}) is wide
    assert registrations.kernel_for("Op", {"T": ["int32", "float32"]}) is wide
    assert registrations.kernel_for("Op", {"T": ["int32", "int64"]}) is None


def test_registrations_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = Registrations("2.0", {"Op": [Kernel({"T": ["float32", "int64"]}, frozenset({"shape"}))]})
    write_registrations(written, tmp_path / "kernels.xz")
    assert read_registrations(tmp_path / "kernels.xz") == written
