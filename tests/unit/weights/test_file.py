"""Weight files: their form by content, where the weights are in them, and arrays of NumPy in pickles."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.weights.files import Call, Ref, pickled, python2_pickle, tensor, write_torch_legacy, write_torch_zip

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.file import Form, form_of, read_weight_file
from maskrcnn_trainer.weights.inert import Inert

ARRAYS = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bn1.num_batches_tracked": np.array(7),
    "half": np.ones(3, np.float16),
    "double": np.ones((1, 2)),
    "mask": np.array([True, False]),
    "bytes": np.arange(3, dtype=np.uint8),
    "empty": np.zeros((0, 3), np.float32),
}


FLOAT = Call(Ref("numpy", "dtype"), ("f4", False, True), (3, "<", None, None, None, -1, -1, 0))


def assert_arrays(found: Any) -> None:
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_of_arrays_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    value = {"model": ARRAYS, "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
    file = read_weight_file(written(tmp_path / "w.bin", pickle.dumps(value, protocol)))
    assert file.form is Form.PICKLE
    assert file.within == ("model",)
    assert_arrays(file.tensors)
    assert file.extra == {"__author__": "Detectron2 Model Zoo", "matching_heuristics": True}


@pytest.mark.parametrize("protocol", [2, 3])
def test_pickle_of_numpy_1(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(ARRAYS, protocol)
    assert b"numpy._core" in data
    assert_arrays(read_weight_file(written(tmp_path / "w.pkl", data.replace(b"numpy._core", b"numpy.core"))).tensors)


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_buffers_of_protocol_5_in_either_order(tmp_path: Path, package: str) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    function = Ref(f"{package}.numeric", "_frombuffer")
    data = values.tobytes()
    arrays = {
        "c": Call(function, (data, FLOAT, (2, 3, 4), "C")),
        "f": Call(function, (data, FLOAT, (4, 3, 2), "F")),
        "k": Call(function, (data, FLOAT, (2, 3, 4), "K", (1, 0, 2))),
    }
    found = read_weight_file(written(tmp_path / "w.pkl", pickled(arrays, 5))).tensors
    np.testing.assert_array_equal(found["c"], values)
    np.testing.assert_array_equal(found["f"], values.T)
    np.testing.assert_array_equal(found["k"], values.transpose(1, 0, 2))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_fortran_order_and_other_byte_orders_are_read(tmp_path: Path, protocol: int) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"f": np.asfortranarray(values), "big": values.astype(">f4"), "part": values[:, ::2]}
    found = read_weight_file(written(tmp_path / "w.pkl", pickle.dumps(arrays, protocol))).tensors
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.isnative


def test_pickle_of_python_2_is_read_as_latin_1(tmp_path: Path) -> None:
    arrays = {"conv1_w": np.arange(-300, 300, dtype=np.float32).reshape(2, 300), "conv1_b": np.ones(3, np.float32)}
    data = python2_pickle(arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2 warns of NumPy 1's names of modules
        for name, array in pickle.loads(data, encoding="latin1").items():  # noqa: S301 - of this test
            np.testing.assert_array_equal(array, arrays[name])
    file = read_weight_file(written(tmp_path / "R-50.pkl", data))
    assert file.within == ()
    for name, array in arrays.items():
        np.testing.assert_array_equal(file.tensors[name], array)


def test_numbers_of_numpy_become_numbers(tmp_path: Path) -> None:
    value = {
        "model": ARRAYS,
        "iteration": np.int64(90_000),
        "loss": np.float32(0.5),
        "when": np.datetime64("2020-01-01"),
    }
    extra = read_weight_file(written(tmp_path / "w.pkl", pickle.dumps(value))).extra
    assert (extra["iteration"], extra["loss"]) == (90_000, 0.5)
    assert type(extra["iteration"]) is int
    assert isinstance(extra["when"], Inert)


@pytest.mark.parametrize("data", [b"", b"123", b"12345678", "12345678", None])
def test_numbers_of_another_length_are_inert(tmp_path: Path, data: Any) -> None:
    number = Call(Ref("numpy.core.multiarray", "scalar"), (FLOAT, data))
    file = read_weight_file(written(tmp_path / "w.pkl", pickled({"model": ARRAYS, "loss": number})))
    assert isinstance(file.extra["loss"], Inert)


def damaged_array(state: Any) -> Call:
    return Call(Ref("numpy.core.multiarray", "_reconstruct"), (Ref("numpy", "ndarray"), (0,), b"b"), state)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.array([{}, None], object), "array of Python objects"),
        (np.array(["a"]), "array of type U1"),
        (np.zeros(2, [("a", "f4")]), "array of type V4"),
        (np.zeros(2, np.complex64), "array of type c8"),
        (damaged_array((1, (2,), FLOAT, False, b"1234")), "8 bytes, but the file has 4"),
        (damaged_array((1, (2**62, 2), FLOAT, False, b"1234")), "views of the same values"),
        (damaged_array((1, (-1,), FLOAT, False, b"")), "without a shape"),
        (damaged_array((1, "ab", FLOAT, False, b"")), "without a shape"),
        (damaged_array((1, (1,), FLOAT, False, [1])), "without a shape or without bytes"),
        (damaged_array((1, (1,), "f4", False, b"1234")), "without a type"),
        (damaged_array((1, (1,))), "damaged"),
        (damaged_array(None), "without a type"),
        (damaged_array((1, (1,), Call(Ref("numpy", "dtype"), ("f4" * 1000,)), False, b"1234")), "without a type"),
    ],
)
def test_arrays_of_other_kinds_are_refused_by_name(tmp_path: Path, value: Any, match: str) -> None:
    path = written(tmp_path / "w.pkl", pickled({"model": {"a": np.ones(2, np.float32), "fc.bias": value}}))
    with pytest.raises(InvalidInput, match=match):
        read_weight_file(path)


def test_arrays_that_share_their_values_many_times_are_refused(tmp_path: Path) -> None:
    shared = np.ones(1000, np.float32)
    path = written(tmp_path / "w.pkl", pickle.dumps({"model": {str(i): shared for i in range(20)}}))
    with pytest.raises(InvalidInput, match="views of the same values"):
        read_weight_file(path)


@pytest.mark.parametrize(
    ("wrap", "within"),
    [
        (lambda t: t, ()),
        (lambda t: {"model": t, "optimizer": {}, "epoch": 25}, ("model",)),
        (lambda t: {"state_dict": t, "meta": {}}, ("state_dict",)),
        (lambda t: {"blobs": t, "cfg": "x"}, ("blobs",)),
        (lambda t: {"state_dict": {"model": t}}, ("state_dict", "model")),
        (lambda t: {"model": t, "rng": np.ones(3)}, ("model",)),
        (lambda t: {**t, "model": "resnet50"}, ()),
    ],
)
def test_weights_are_found_where_projects_put_them(
    tmp_path: Path, wrap: Callable[[Any], Any], within: tuple[str, ...]
) -> None:
    file = read_weight_file(written(tmp_path / "w.pkl", pickle.dumps(wrap(ARRAYS))))
    assert file.within == within
    assert_arrays(file.tensors)
    assert not set(file.extra) & set(within)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1, 2], "holds a list, expected a dictionary"),
        ({}, "its keys are none"),
        ({"net": ARRAYS, 3: 1}, "its keys are 'net', 3"),
        ({"model": {"model": {"model": ARRAYS}}}, "its keys are 'model'"),
        ({"model": ARRAYS, "state_dict": ARRAYS}, "tensors under model and state_dict"),
        ({3: np.ones(2)}, "under the key 3, which isn't a name"),
    ],
)
def test_files_without_weights_in_a_known_place_are_refused(tmp_path: Path, value: Any, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        read_weight_file(written(tmp_path / "w.pkl", pickle.dumps(value)))


def test_other_entries_among_wrapped_weights_are_noted(tmp_path: Path) -> None:
    value = {"model": {**ARRAYS, "version": 3}}
    file = read_weight_file(written(tmp_path / "w.pkl", pickle.dumps(value)))
    assert file.notes == ("1 entries of model that aren't tensors are left out: 'version'",)


def all_forms(folder: Path, arrays: dict[str, np.ndarray]) -> Iterator[tuple[Form, Path]]:
    save_file(arrays, folder / "a")
    tensors = {name: tensor(array) for name, array in arrays.items()}
    yield Form.SAFETENSORS, folder / "a"
    yield Form.NPZ, write_npz(folder / "b", arrays)
    yield Form.TORCH_ZIP, write_torch_zip(folder / "c", tensors)
    yield Form.TORCH_LEGACY, write_torch_legacy(folder / "d", tensors)
    yield Form.PICKLE, written(folder / "e", pickle.dumps(arrays))


@pytest.mark.parametrize("suffix", ["", ".pkl", ".safetensors"])
def test_forms_are_recognized_by_content(tmp_path: Path, suffix: str) -> None:
    for form, path in all_forms(tmp_path, ARRAYS):
        renamed = path.rename(f"{path}{suffix}")
        assert form_of(renamed) is form
        file = read_weight_file(renamed)
        assert (file.form, file.path) == (form, str(renamed))
        assert_arrays({name: file.tensors[name] for name in ARRAYS})


@pytest.mark.parametrize(("prefix", "adds"), [("module.", "DataParallel"), ("model.", "PyTorch Lightning")])
def test_prefix_of_all_tensors_is_left_out_and_noted_in_every_form(tmp_path: Path, prefix: str, adds: str) -> None:
    for _, path in all_forms(tmp_path, {f"{prefix}{name}": array for name, array in ARRAYS.items()}):
        file = read_weight_file(path)
        assert set(file.tensors) == set(ARRAYS)
        assert [note for note in file.notes if adds in note]


def test_prefix_of_some_tensors_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pkl", pickle.dumps({"module.a": np.ones(2), "b": np.ones(2)}))
    assert list(read_weight_file(path).tensors) == ["module.a", "b"]


def test_other_files_have_no_form(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", b"x")
    for path in (
        tmp_path / "other.zip",
        written(tmp_path / "empty", b""),
        written(tmp_path / "text", b"abc"),
        written(tmp_path / "protocol_0", pickle.dumps({}, 0)),
        written(tmp_path / "hdf5", b"\x89HDF\r\n\x1a\n" + bytes(50)),
    ):
        assert form_of(path) is None
        with pytest.raises(InvalidInput, match="is not a .safetensors, .npz, .pth, or .pkl file"):
            read_weight_file(path)


def test_cut_off_archive_is_named_as_such(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "w.npz", ARRAYS)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InvalidInput, match="begins as a zip archive but is not complete"):
        read_weight_file(path)


def test_impossible_shape_of_safetensors_is_refused(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}'
    path = written(tmp_path / "w.safetensors", len(header).to_bytes(8, "little") + header)
    with pytest.raises(InvalidInput, match="the tensor 'a' has the impossible shape"):
        read_weight_file(path)


def test_zip_with_a_damaged_directory_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "w.npz", ARRAYS)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02", b"PK\x01\x03"))
    with pytest.raises(InvalidInput, match="damaged archive"):
        form_of(path)


def test_pickle_takes_about_its_own_size_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {str(i): rng.bytes(1 << 20) for i in range(8)}
    value = {name: np.frombuffer(data, np.uint8) for name, data in arrays.items()}
    for protocol, ratio in ((2, 2.1), (3, 1.1), (5, 1.1)):
        path = written(tmp_path / "w.pkl", pickle.dumps(value, protocol))
        tracemalloc.start()
        file = read_weight_file(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(file.tensors) == 8
        assert peak < ratio * path.stat().st_size
