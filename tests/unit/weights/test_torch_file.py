"""PyTorch's files of both forms: types, views, and what is refused only where it is one of the weights."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.weights.files import (
    STORAGES,
    Call,
    ModuleClass,
    Ref,
    Storage,
    parameter,
    state_dict,
    storage_of,
    tensor,
    view,
    write_torch_legacy,
    write_torch_zip,
)

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.file import Form, WeightFile, read_weight_file
from maskrcnn_trainer.weights.inert import Inert

Write = Callable[..., Path]
BOTH = pytest.mark.parametrize("write", [write_torch_zip, write_torch_legacy], ids=["zip", "legacy"])
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., WeightFile]:
    def read(write: Write, value: Any, **options: Any) -> WeightFile:
        return read_weight_file(write(tmp_path / "weights.bin", value, **options))

    return read


@BOTH
@pytest.mark.parametrize("code", STORAGES)
def test_tensors_of_every_type_are_read(read: Callable[..., WeightFile], write: Write, code: str) -> None:
    array = (np.arange(-3, 3) % 5 > 0).reshape(2, 3) if code == "b1" else np.arange(-3, 3).reshape(2, 3).astype(code)
    file = read(write, state_dict({"x": tensor(array)}))
    assert file.form is (Form.TORCH_ZIP if write is write_torch_zip else Form.TORCH_LEGACY)
    assert file.tensors["x"].dtype == array.dtype
    np.testing.assert_array_equal(file.tensors["x"], array)


@BOTH
def test_bfloat16_becomes_float32(read: Callable[..., WeightFile], write: Write) -> None:
    numbers = np.array([1.0, -2.5, 0.0, 3.0e38, np.inf], np.float32)
    halves = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    storage = Storage("BFloat16Storage", halves.tobytes(), 2)
    file = read(write, {"x": view(storage, 0, (5,), (1,)), "one": view(storage, 1, (), ())})
    assert file.tensors["x"].dtype == file.tensors["one"].dtype == np.float32
    np.testing.assert_allclose(file.tensors["x"], numbers, rtol=2**-7)
    assert isinstance(file.tensors["one"], np.ndarray)
    assert file.tensors["one"].shape == ()
    assert file.tensors["one"] == -2.5


@BOTH
def test_views_of_a_storage_are_read(read: Callable[..., WeightFile], write: Write) -> None:
    storage = storage_of(VALUES)
    file = read(
        write,
        {
            "all": view(storage, 0, (2, 3, 4), (12, 4, 1)),
            "transposed": view(storage, 0, (4, 3), (1, 4)),
            "second": view(storage, 12, (3, 4), (4, 1)),
            "column": view(storage, 1, (3,), (4,)),
            "number": view(storage, 23, (), ()),
            "empty": view(storage, 0, (0, 3), (3, 1)),
            "list": view(storage, 0, [24], [1]),
            "size": view(storage, 0, Call(Ref("torch", "Size"), ((24,),)), (1,)),
        },
    )
    np.testing.assert_array_equal(file.tensors["all"], VALUES)
    np.testing.assert_array_equal(file.tensors["transposed"], VALUES[0].T)
    np.testing.assert_array_equal(file.tensors["second"], VALUES[1])
    np.testing.assert_array_equal(file.tensors["column"], VALUES[0, :, 1])
    assert file.tensors["number"] == 23
    assert file.tensors["empty"].shape == (0, 3)
    np.testing.assert_array_equal(file.tensors["list"], VALUES.ravel())
    np.testing.assert_array_equal(file.tensors["size"], VALUES.ravel())


def test_storages_of_the_older_form_that_are_views_are_read(read: Callable[..., WeightFile]) -> None:
    whole = storage_of(VALUES, key="7")
    part = storage_of(VALUES, key="7", view=(12, 12))
    file = read(write_torch_legacy, {"a": view(whole, 0, (24,), (1,)), "b": view(part, 4, (2, 4), (4, 1))})
    np.testing.assert_array_equal(file.tensors["b"], VALUES[1, 1:])


@BOTH
@pytest.mark.parametrize(
    ("place", "match"),
    [
        ((0, (25,), (1,)), "element is number 24 of a storage with 24"),
        ((1, (24,), (1,)), "element is number 24"),
        ((0, (2,), (24,)), "element is number 24"),
        ((24, (), ()), "element is number 24"),
        ((-1, (2,), (1,)), "isn't a length"),
        ((0, (-2,), (1,)), "isn't a length"),
        ((0, (2,), (-1,)), "isn't a length"),
        ((0, (2, 2), (1,)), "another number of sizes"),
        ((0, (2**62, 4), (0, 0)), "views of the same values"),
        ((0, (20_000,), (0,)), "views of the same values"),
        ((2**62, (2,), (2**62,)), "element is number 9,223,372,036,854,775,808"),
        ((0, (2**200,), (1,)), "isn't a length"),
        ((0, (0, 2**62, 2**62), (1, 1, 1)), "damaged tensor"),
        ((0, (1,) * 65, (1,) * 65), "isn't a length"),
        ((0, (1.5,), (1,)), "isn't a length"),
        ((0, (True,), (1,)), "isn't a length"),
        (("0", (1,), (1,)), "isn't a length"),
        ((0, "ab", "ab"), "isn't a length"),
        ((None, None, None), "isn't a length"),
    ],
)
def test_views_outside_of_their_storage_are_refused(
    read: Callable[..., WeightFile], write: Write, place: tuple[Any, Any, Any], match: str
) -> None:
    value = {"conv1.weight": view(storage_of(VALUES), *place)}
    with pytest.raises(InvalidInput, match=rf"checkpoint: \S+: the tensor 'conv1.weight' cannot be read: .*{match}"):
        read(write, value)


@BOTH
@pytest.mark.parametrize(
    ("value", "match"),
    [
        (view(Storage("FloatStorage", bytes(8), 4, location="meta"), 0, (2,), (1,)), "meta tensor"),
        (view(Storage("ComplexFloatStorage", bytes(8), 8), 0, (1,), (1,)), "type torch.ComplexFloatStorage"),
        (view(Storage("QInt8Storage", bytes(8), 1), 0, (8,), (1,)), "type torch.QInt8Storage"),
        (view("not a storage", 0, (1,), (1,)), "without a storage"),
        (Call(Ref("torch._utils", "_rebuild_qtensor"), (storage_of(VALUES), 0)), "a quantized tensor"),
        (Call(Ref("torch._utils", "_rebuild_sparse_tensor"), (1, 2)), "a sparse tensor"),
        (Call(Ref("torch._utils", "_rebuild_meta_tensor_no_storage"), (1, 2)), "a meta tensor"),
        (Call(Ref("torch._utils", "_rebuild_tensor_v3"), (1, 2)), "float8"),
    ],
)
def test_other_tensors_are_refused_among_the_weights_and_ignored_elsewhere(
    read: Callable[..., WeightFile], write: Write, value: Any, match: str
) -> None:
    good = tensor(VALUES)
    with pytest.raises(InvalidInput, match=match):
        read(write, {"state_dict": {"good": good, "bad": value}})
    assert list(read(write, {"state_dict": {"good": good}, "optimizer": {"bad": value}}).tensors) == ["good"]


@pytest.mark.parametrize("part", [(20, 5), (-1, 2), (0, -1), (25, 0), (0, "1")])
def test_storages_of_the_older_form_that_are_views_outside_of_another_are_refused(
    read: Callable[..., WeightFile], part: Any
) -> None:
    with pytest.raises(InvalidInput, match="a view that is outside of its storage '0'"):
        read(write_torch_legacy, {"a": view(storage_of(VALUES, view=part), 0, (1,), (1,))})


@BOTH
def test_parameters_and_plain_classes_are_tensors(read: Callable[..., WeightFile], write: Write) -> None:
    plain = tensor(VALUES)
    of_type = Call(
        Ref("torch._tensor", "_rebuild_from_type_v2"),
        (plain.function, Ref("torch.nn.parameter", "Parameter"), plain.arguments, {}),
    )
    older = Call(Ref("torch._utils", "_rebuild_tensor"), plain.arguments[:4])
    file = read(write, state_dict({"a": parameter(plain), "b": of_type, "c": older}))
    for name in "abc":
        np.testing.assert_array_equal(file.tensors[name], VALUES)


def test_tensor_of_a_class_of_its_own_is_refused(read: Callable[..., WeightFile]) -> None:
    plain = tensor(VALUES)
    arguments = (plain.function, Ref("my.package", "MyTensor"), plain.arguments, {})
    with pytest.raises(InvalidInput, match="class my.package.MyTensor"):
        read(write_torch_zip, {"a": Call(Ref("torch._tensor", "_rebuild_from_type_v2"), arguments)})


@BOTH
def test_users_file_of_mmdetection_is_read_with_its_objects_inert(
    read: Callable[..., WeightFile], write: Write
) -> None:
    """An epoch_N.pth also has HistoryBuffer objects, getattr, and NumPy arrays of its message hub."""
    buffer = Call(
        Ref("mmengine.logging.history_buffer", "HistoryBuffer"),
        (),
        {"_log_history": np.arange(4.0), "_statistics_methods": {"mean": Call(Ref("builtins", "getattr"), (1, "x"))}},
    )
    meta = {"cfg": "model = dict(type='MaskRCNN')", "dataset_meta": {"classes": ("a", "b")}, "epoch": 12}
    value = {
        "meta": meta,
        "state_dict": state_dict({"conv1.weight": tensor(VALUES)}),
        "message_hub": {"log_scalars": {"train/loss": buffer}},
        "optimizer": {"state": {0: {"momentum_buffer": tensor(VALUES)}}, "param_groups": [{"params": [0]}]},
        "param_schedulers": [{"optimizer": Call(Ref("torch.optim", "SGD"))}],
    }
    file = read(write, value)
    assert list(file.tensors) == ["conv1.weight"]
    assert file.within == ("state_dict",)
    assert file.extra["meta"] == meta
    loss = file.extra["message_hub"]["log_scalars"]["train/loss"]
    assert (type(loss), loss.name) == (Inert, "mmengine.logging.history_buffer.HistoryBuffer")
    assert isinstance(file.extra["optimizer"]["state"][0]["momentum_buffer"], Inert)


def test_storages_of_an_optimizer_are_not_read(read: Callable[..., WeightFile]) -> None:
    value = {"model": {"a": tensor(VALUES)}, "optimizer": {0: tensor(VALUES + 1)}}
    file = read(write_torch_zip, value, without=["1"])
    np.testing.assert_array_equal(file.tensors["a"], VALUES)


@pytest.mark.parametrize("folder", ["archive", "resnet50-0676ba61", "a folder/inside", "\u00fc"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_with_any_top_folder_stored_or_compressed(
    read: Callable[..., WeightFile], folder: str, compression: int
) -> None:
    file = read(write_torch_zip, {"a": tensor(VALUES)}, folder=folder, compression=compression)
    np.testing.assert_array_equal(file.tensors["a"], VALUES)


def test_byte_order_is_that_of_its_member(read: Callable[..., WeightFile]) -> None:
    swapped = Storage("FloatStorage", VALUES.astype(">f4").tobytes(), 4)
    file = read(write_torch_zip, {"a": view(swapped, 0, (24,), (1,)), "b": tensor(VALUES[:0])}, order="big")
    np.testing.assert_array_equal(file.tensors["a"], VALUES.ravel())
    assert file.tensors["a"].dtype.isnative
    np.testing.assert_array_equal(read(write_torch_zip, {"a": tensor(VALUES)}, order=None).tensors["a"], VALUES)
    with pytest.raises(InvalidInput, match="byteorder is 'middle'"):
        read(write_torch_zip, {"a": tensor(VALUES)}, order="middle")


def test_zip_without_a_storage_is_refused(read: Callable[..., WeightFile]) -> None:
    with pytest.raises(InvalidInput, match="no member 'archive/data/0'"):
        read(write_torch_zip, {"a": tensor(VALUES)}, without=["0"])


def test_storage_of_another_length_is_refused(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pth", {"a": tensor(VALUES)}, without=["0"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(95))
    with pytest.raises(InvalidInput, match="should have 96 bytes, but has 95"):
        read_weight_file(path)


def test_pickle_of_the_top_folder_is_read(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pt", {"a": tensor(VALUES)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/data.pkl", b"x")
    np.testing.assert_array_equal(read_weight_file(path).tensors["a"], VALUES)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pt", {"a": tensor(VALUES)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"x")
    with pytest.raises(InvalidInput, match="TorchScript"):
        read_weight_file(path)


def test_whole_model_is_refused_by_its_class(read: Callable[..., WeightFile]) -> None:
    model = Call(Ref("torchvision.models.resnet", "ResNet"), (), {"_modules": {}})
    with pytest.raises(InvalidInput, match=r"an object of torchvision.models.resnet.ResNet.*state_dict\(\)"):
        read(write_torch_zip, model)


def test_whole_model_of_the_older_form_is_refused_by_its_class(read: Callable[..., WeightFile]) -> None:
    model = Call(ModuleClass(Ref("torchvision.models.resnet", "ResNet")), (), {"_modules": {}})
    with pytest.raises(InvalidInput, match=r"an object of torchvision.models.resnet.ResNet"):
        read(write_torch_legacy, model)


def test_older_form_of_another_machine_is_refused(read: Callable[..., WeightFile]) -> None:
    with pytest.raises(InvalidInput, match="little-endian"):
        read(write_torch_legacy, {"a": tensor(VALUES)}, little_endian=False)


def test_older_form_with_another_protocol_is_refused(tmp_path: Path) -> None:
    path = write_torch_legacy(tmp_path / "w.pth", {"a": tensor(VALUES)})
    path.write_bytes(path.read_bytes().replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)))
    with pytest.raises(InvalidInput, match="protocol 1001"):
        read_weight_file(path)


def test_older_form_with_another_length_of_a_storage_is_refused(tmp_path: Path) -> None:
    path = write_torch_legacy(tmp_path / "w.pth", {"a": tensor(VALUES)})
    data = path.read_bytes()
    for length in (23, 25, 2**60, -1):
        path.write_bytes(data[:-104] + length.to_bytes(8, "little", signed=True) + data[-96:])
        with pytest.raises(InvalidInput, match="should have 24 elements"):
            read_weight_file(path)


def test_older_form_with_a_storage_longer_than_the_file_is_refused(read: Callable[..., WeightFile]) -> None:
    storage = storage_of(VALUES)
    storage.length = 2**40
    with pytest.raises(InvalidInput, match="should have 1,099,511,627,776 elements at byte"):
        read(write_torch_legacy, {"a": view(storage, 0, (24,), (1,))})


def test_older_form_without_a_storage_is_refused(tmp_path: Path) -> None:
    path = write_torch_legacy(tmp_path / "w.pth", {"a": tensor(VALUES)})
    path.write_bytes(path.read_bytes().replace(pickle.dumps(["0"], 2), pickle.dumps([], 2)))
    with pytest.raises(InvalidInput, match="storage '0' isn't in the file"):
        read_weight_file(path)


def test_older_form_with_a_storage_without_a_tensor_is_refused(tmp_path: Path) -> None:
    path = write_torch_legacy(tmp_path / "w.pth", {"a": tensor(VALUES)})
    path.write_bytes(path.read_bytes().replace(pickle.dumps(["0"], 2), pickle.dumps(["1"], 2)))
    with pytest.raises(InvalidInput, match="one without a tensor"):
        read_weight_file(path)


def test_older_form_with_two_types_of_one_storage_is_refused(read: Callable[..., WeightFile]) -> None:
    first, second = Storage("FloatStorage", bytes(8), 4, key="0"), Storage("LongStorage", bytes(8), 8, key="0")
    with pytest.raises(InvalidInput, match="two types"):
        read(write_torch_legacy, {"a": view(first, 0, (2,), (1,)), "b": view(second, 0, (1,), (1,))})


def test_older_form_with_an_unknown_type_is_refused(read: Callable[..., WeightFile]) -> None:
    with pytest.raises(InvalidInput, match="type torch.OddStorage, which is not known"):
        read(
            write_torch_legacy,
            {"a": tensor(VALUES), "b": {"c": view(Storage("OddStorage", bytes(8), 4), 0, (1,), (1,))}},
        )


@BOTH
def test_every_truncation_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "w.pth", {"a": tensor(VALUES)})
    data = path.read_bytes()
    for end in range(1, len(data), 3):
        path.write_bytes(data[:end])
        with pytest.raises(InvalidInput, match=r"^checkpoint: "):
            read_weight_file(path)


@BOTH
def test_every_changed_byte_gives_tensors_or_one_error(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "w.pth", {"state_dict": {"a": tensor(VALUES[0, 0]), "b": tensor(VALUES[1, 1])}})
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            read_weight_file(path)
        except InvalidInput:
            continue


@BOTH
def test_shared_storages_are_read_once(read: Callable[..., WeightFile], write: Write) -> None:
    storage = storage_of(VALUES)
    file = read(write, {"a": view(storage, 0, (24,), (1,)), "b": view(storage, 0, (24,), (1,))})
    assert np.shares_memory(file.tensors["a"], file.tensors["b"])
    assert not file.tensors["a"].flags.writeable
