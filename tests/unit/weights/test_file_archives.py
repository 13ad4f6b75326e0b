"""Archives and safetensors: types, damage, and hostile sizes."""

from __future__ import annotations

import errno
import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.file import read_weight_file
from maskrcnn_trainer.weights.inert import Inert

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: np.ndarray, *, pickles: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=pickles)
    return stream.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H", len(text)) if version == b"\x01\x00" else struct.pack("<I", len(text))
    return b"\x93NUMPY" + version + length + text.encode()


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    described: dict[str, Any] = {}
    content = b""
    for name, (kind, shape, data) in tensors.items():
        offsets = [len(content), len(content) + len(data)]
        described[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        content += data
    text = json.dumps(described).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def test_npz_in_fortran_order_and_with_version_2(tmp_path: Path) -> None:
    text = "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }\n"
    content = header(text, b"\x02\x00") + np.asfortranarray(VALUES.astype(">f4")).tobytes("F")
    file = read_weight_file(write_zip(tmp_path / "w.npz", {"a.npy": content, "b.npy": npy(np.asfortranarray(VALUES))}))
    for name in "ab":
        np.testing.assert_array_equal(file.tensors[name], VALUES)
        assert file.tensors[name].dtype == np.float32


def test_npz_arrays_of_anything_but_numbers_are_inert(tmp_path: Path) -> None:
    members = {
        "a.npy": npy(VALUES),
        "text.npy": npy(np.array("resnet")),
        "objects.npy": npy(np.array([{"x": 1}], object), pickles=True),
        "fields.npy": npy(np.zeros(1, [("\u00fc", "f4")])),
    }
    file = read_weight_file(write_zip(tmp_path / "w.npz", members))
    assert list(file.tensors) == ["a"]
    assert {name: type(item) for name, item in file.extra.items()} == dict.fromkeys(
        ("text", "objects", "fields"), Inert
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "damaged header"),
        (b"\x93NUMPY\x01\x00\xff\xff", "damaged header"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}") + bytes(20), "24 bytes, but has 20"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}") + bytes(28), "24 bytes, but has 28"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "should have"),
        (header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, 4)}}"), "but has 0"),
        (header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {2**62}, {2**62})}}"), "damaged"),
        (header("__import__('os').abort()"), "damaged header"),
        (header("(" * 5000), "damaged header"),
    ],
)
def test_damaged_npz_arrays_are_refused(tmp_path: Path, content: bytes, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        read_weight_file(write_zip(tmp_path / "w.npz", {"a.npy": content}))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_with_an_unusual_compression_are_refused(tmp_path: Path, compression: int) -> None:
    with pytest.raises(InvalidInput, match="compressed in an unusual way"):
        read_weight_file(write_zip(tmp_path / "w.npz", {"a.npy": npy(VALUES)}, compression))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_occur_twice_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", npy(VALUES))
        archive.writestr("a.npy", npy(VALUES + 1))
    with pytest.raises(InvalidInput, match="more than once"):
        read_weight_file(tmp_path / "w.npz")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.npz", {"a.npy": npy(VALUES)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="is encrypted or compressed"):
        read_weight_file(path)


def test_failure_of_the_storage_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = write_zip(tmp_path / "w.npz", {"a.npy": npy(VALUES)})
    monkeypatch.setattr(zipfile.ZipFile, "open", fail)
    with pytest.raises(OSError, match="Input/output"):
        read_weight_file(path)


def test_member_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.npz", {"a.npy": npy(VALUES)})
    data = path.read_bytes()
    path.write_bytes(data.replace(VALUES.tobytes(), (VALUES + 1).tobytes()))
    with pytest.raises(InvalidInput, match="CRC"):
        read_weight_file(path)


def test_names_that_lead_out_of_a_folder_are_only_names(tmp_path: Path) -> None:
    file = read_weight_file(write_zip(tmp_path / "w.npz", {"../../a.npy": npy(VALUES), "/etc/b.npy": npy(VALUES)}))
    assert list(file.tensors) == ["../../a", "/etc/b"]
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_archive_of_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.npz", {"a.npy": npy(np.zeros(5_000_000, np.float32))}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="20,000,128 when unpacked; weights compress at most by a factor of 20"):
        read_weight_file(path)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_member_that_is_longer_than_declared_is_unpacked_no_further(tmp_path: Path) -> None:
    """Both headers declare 1,000 bytes, but the compressed data has 20 million."""
    path = write_zip(tmp_path / "w.npz", {"a.npy": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 20_000_000), struct.pack("<I", 1000)))
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="damaged"):
        read_weight_file(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_safetensors_of_bfloat16_become_float32(tmp_path: Path) -> None:
    halves = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    path = write_safetensors(tmp_path / "w", {"a": ("BF16", [2, 3], halves.tobytes()), "n": ("I64", [], bytes(8))})
    file = read_weight_file(path)
    np.testing.assert_array_equal(file.tensors["a"], VALUES)
    assert file.tensors["a"].dtype == np.float32
    assert file.tensors["n"].shape == ()


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"a": ("F8_E4M3", [2], bytes(2))}, "the tensor 'a' has the type F8_E4M3"),
        ({"a": ("F32", [2], bytes(4))}, "damaged"),
        ({"a": ("F32", [2**62, 2**62], bytes(4))}, "damaged"),
    ],
)
def test_other_safetensors_are_refused(tmp_path: Path, tensors: Any, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        read_weight_file(write_safetensors(tmp_path / "w", tensors))
