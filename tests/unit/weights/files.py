"""Writers of weight files as PyTorch and Python 2 write them, neither of which the tests need.

The formats are those of torch/serialization.py and torch/_utils.py of torch 2.3 (zip form, byte order, and the form
before torch 1.6) and of cPickle of Python 2.7 with NumPy 1.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "i4": "IntStorage",
    "i2": "ShortStorage", "i1": "CharStorage", "u1": "ByteStorage", "b1": "BoolStorage",
}  # fmt: skip


@dataclass(frozen=True)
class Ref:
    """Class or function that a pickle names, whether it exists or not."""

    module: str
    name: str

    def __call__(self, *_: object) -> None:
        raise AssertionError("a reference is only written")


@dataclass(frozen=True)
class Call:
    """Value that a pickle describes as the call of a function, with a state perhaps."""

    function: Any
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __call__(self, *_: object) -> None:
        raise AssertionError("a call is only written")


@dataclass(frozen=True)
class ModuleClass:
    """Class of a module, which torch before 1.6 writes with its source as a persistent id."""

    ref: Ref

    def __call__(self, *_: object) -> None:
        raise AssertionError("a class is only written")


@dataclass(eq=False)
class Storage:
    """Storage of torch: its class and its bytes."""

    kind: str
    content: bytes
    item_size: int
    key: str = ""
    location: str = "cpu"
    view: tuple[int, int] | None = None
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.content) // self.item_size


def storage_of(array: np.ndarray, **options: Any) -> Storage:
    code = array.dtype.str[1:]
    return Storage(STORAGES[code], np.ascontiguousarray(array).tobytes(), array.itemsize, **options)


def view(storage: Storage, offset: Any, size: Any, stride: Any) -> Call:
    rest = (False, Call(Ref("collections", "OrderedDict")))
    return Call(Ref("torch._utils", "_rebuild_tensor_v2"), (storage, offset, size, stride, *rest))


def tensor(array: np.ndarray) -> Call:
    """Return a tensor with a storage of its own."""
    strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)
    return view(storage_of(array), 0, array.shape, strides[: array.ndim])


def parameter(data: Any) -> Call:
    return Call(Ref("torch._utils", "_rebuild_parameter"), (data, True, Call(Ref("collections", "OrderedDict"))))


def state_dict(tensors: Mapping[str, Any]) -> Call:
    """Return a module's state: an OrderedDict, whose ``_metadata`` is in its ``__dict__``."""
    made = tuple(tensors.items())
    return Call(
        Ref("collections", "OrderedDict"), ([list(pair) for pair in made],), {"_metadata": {"": {"version": 1}}}
    )


class FilePickler(pickle._Pickler):
    """Pickler in Python, which writes `Ref`, `Call`, and `Storage` as torch's objects are written."""

    dispatch: ClassVar[Any] = dict(pickle._Pickler.dispatch)

    def __init__(self, stream: io.BytesIO, protocol: int, *, legacy: bool = False) -> None:
        super().__init__(stream, protocol)
        self.storages: dict[str, Storage] = {}
        self._legacy = legacy

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, ModuleClass):
            return ("module", obj.ref, "model.py", "class Model: pass")
        if not isinstance(obj, Storage):
            return None
        if not obj.key:
            obj.key = str(len(self.storages))
        self.storages.setdefault(obj.key, obj)
        found = ("storage", Ref("torch", obj.kind), obj.key, obj.location, obj.length)
        return (*found, obj.view and (f"view of {obj.key}", *obj.view)) if self._legacy else found

    def save_ref(self, ref: Ref) -> None:
        if self.proto >= 4:
            self.save(ref.module)
            self.save(ref.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{ref.module}\n{ref.name}\n".encode())
        self.memoize(ref)

    def save_call(self, call: Call) -> None:
        self.save_reduce(call.function, call.arguments, call.state, obj=call)

    dispatch[Ref] = save_ref
    dispatch[Call] = save_call


def pickled(value: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    FilePickler(stream, protocol).dump(value)
    return stream.getvalue()


def write_torch_zip(
    path: Path,
    value: Any,
    *,
    folder: str = "archive",
    order: str | None = "little",
    compression: int = zipfile.ZIP_STORED,
    without: Iterable[str] = (),
) -> Path:
    """Write a file as torch 1.6 and later do.

    Args:
        path: to be written.
        value: with `Call` and `Storage` in it.
        folder: name of the top folder.
        order: content of the member ``byteorder``, None for a file of torch before 2.1.
        compression: of the members; torch stores them.
        without: keys of storages that are left out.
    """
    stream = io.BytesIO()
    pickler = FilePickler(stream, 2)
    pickler.dump(value)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", stream.getvalue())
        archive.writestr(f"{folder}/.format_version", "1")
        if order is not None:
            archive.writestr(f"{folder}/byteorder", order)
        for key, storage in pickler.storages.items():
            if key not in without:
                archive.writestr(f"{folder}/data/{key}", storage.content)
        archive.writestr(f"{folder}/version", "3\n")
    return path


def write_torch_legacy(path: Path, value: Any, *, little_endian: bool = True) -> Path:
    """Write a file as torch before 1.6 does, and later ones with ``_use_new_zipfile_serialization=False``."""
    stream = io.BytesIO()
    machine = {"protocol_version": PROTOCOL, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4}}
    for head in (MAGIC, PROTOCOL, machine):
        pickle.dump(head, stream, protocol=2)
    pickler = FilePickler(stream, 2, legacy=True)
    pickler.dump(value)
    pickle.dump(sorted(pickler.storages), stream, protocol=2)
    for key in sorted(pickler.storages):
        storage = pickler.storages[key]
        stream.write(struct.pack("<q", storage.length) + storage.content)
    path.write_bytes(stream.getvalue())
    return path


def python2_pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a dictionary of float32 arrays as cPickle of Python 2 writes it with protocol 2: bytes are strings."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def array(value: np.ndarray) -> bytes:
        shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in value.shape) + b"t"
        content = np.ascontiguousarray(value, "<f4").tobytes()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR(K\x01"
            + shape + b"cnumpy\ndtype\n" + text(b"f4") + b"K\x00K\x01\x87R(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xff"
            + b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(content)) + content + b"tb"
        )  # fmt: skip

    items = b"".join(text(name.encode()) + array(value) for name, value in arrays.items())
    return b"\x80\x02}q\x01(" + items + b"u."
