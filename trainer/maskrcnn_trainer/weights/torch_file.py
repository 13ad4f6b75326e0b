"""Reader of PyTorch's files: the zip archives of torch 1.6 and later, and the form before, which isn't an archive.

- Zip: ``<folder>/data.pkl`` is the pickle, ``<folder>/data/<key>`` the bytes of a storage; ``<folder>/byteorder`` is
  ``little`` or ``big`` (torch 2.1 and later, little without it). The folder has the name that the file had when it was
  written. Members are stored; a user may have compressed them.
- Before (written by torch 0.1.10 to 1.5, and today with ``_use_new_zipfile_serialization=False``): pickles of a magic
  number, of the protocol 1001, of a dictionary about the machine, of the value, and of the list of the storages' keys;
  then for each key the number of elements as int64, and the elements.

Facts are from torch/serialization.py (_legacy_save, _save) of torch 2.3.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

import numpy as np

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.inert import Inert
from maskrcnn_trainer.weights.pickled_arrays import ARRAYS
from maskrcnn_trainer.weights.restricted_pickle import load_pickle
from maskrcnn_trainer.weights.torch_tensors import ReadStorage, Storage, storage_of, tensor_functions
from maskrcnn_trainer.weights.zip_members import ZipMembers

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_PICKLE = "data.pkl"


def is_torch_zip(names: list[str]) -> bool:
    """Return whether an archive with these members is one of PyTorch."""
    return any(_is_pickle(name) for name in names)


def _is_pickle(name: str) -> bool:
    return name == _PICKLE or name.endswith(f"/{_PICKLE}")


def read_torch_zip(members: ZipMembers) -> Any:
    """Return the pickled value of a zip file; its tensors are read from the archive later, see `deferred.Deferred`.

    Raises:
        InvalidInput: the file is damaged, or a program (TorchScript).
    """
    pickled = min(filter(_is_pickle, members.names), key=len)
    folder = pickled.removesuffix(_PICKLE)
    if f"{folder}constants.pkl" in members.names:
        raise InvalidInput("the file is a TorchScript program, not weights; save the state_dict() of the model instead")
    order = "little"
    if f"{folder}byteorder" in members.names:
        order = bytes(members.read(f"{folder}byteorder")).decode("latin-1")
    if order not in ("little", "big"):
        raise InvalidInput(f"the member byteorder is {order!r:.40}, expected 'little' or 'big'")

    def read(storage: Storage) -> bytearray:
        content = members.read(f"{folder}data/{storage.key}")
        expected = storage.length * storage.item_size
        if len(content) != expected:
            raise InvalidInput(
                f"storage {storage.key!r:.40} should have {expected:,} bytes, but has {len(content):,}: it is damaged"
            )
        if order == "big" and storage.item_size > 1:
            content = bytearray(np.frombuffer(content, f"u{storage.item_size}").byteswap().tobytes())
        return content

    content = members.read(pickled)
    functions = {**ARRAYS, **tensor_functions(_once(read))}
    return load_pickle(io.BytesIO(content), len(content), functions, storage_of)


def read_torch_legacy(stream: BinaryIO, size: int) -> Any:
    """Return the pickled value of a file of the older form; its tensors are read from the stream later.

    Args:
        stream: at the start of the file, buffered; it must stay open until the tensors are read.
        size: of the file in bytes.

    Raises:
        InvalidInput: the file is damaged or cut off, or of a machine with another byte order.
    """
    if load_pickle(stream, size, {}) != LEGACY_MAGIC:
        raise InvalidInput("the file begins like one of PyTorch, but with another magic number")
    protocol = load_pickle(stream, size - stream.tell(), {})
    if protocol != _LEGACY_PROTOCOL:
        raise InvalidInput(f"the file isn't of PyTorch's protocol {_LEGACY_PROTOCOL}")
    machine = load_pickle(stream, size - stream.tell(), {})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InvalidInput("the file was written by a machine that isn't little-endian; save it on another one")

    known: dict[str, Storage] = {}
    places: dict[str, int] = {}

    def refer(persistent_id: Any) -> Storage | Inert:
        storage = storage_of(persistent_id)
        if isinstance(storage, Storage):
            first = known.setdefault(storage.key, storage)
            if (first.name, first.length) != (storage.name, storage.length):
                raise InvalidInput(f"storage {storage.key!r:.40} has two types or lengths: the file is damaged")
        return storage

    def read(storage: Storage) -> bytes:
        if storage.key not in places:
            raise InvalidInput(f"storage {storage.key!r:.40} isn't in the file: it is damaged or cut off")
        stream.seek(places[storage.key])
        return stream.read(storage.length * storage.item_size)

    value = load_pickle(stream, size - stream.tell(), {**ARRAYS, **tensor_functions(_once(read))}, refer)
    keys = load_pickle(stream, size - stream.tell(), {})
    _find_storages(stream, size, keys, known, places)
    return value


def _find_storages(stream: BinaryIO, size: int, keys: Any, known: dict[str, Storage], places: dict[str, int]) -> None:
    """Fill in where each storage begins, from the lengths in front of them."""
    if not isinstance(keys, list):
        raise InvalidInput("the list of storages isn't a list: the file is damaged")
    for key in keys:
        storage = known.get(key) if isinstance(key, str) else None
        if storage is None:
            raise InvalidInput("the list of storages names one without a tensor: the file is damaged")
        header = stream.read(8)
        start = stream.tell()
        length = struct.unpack("<q", header)[0] if len(header) == 8 else -1
        if length != storage.length or length * storage.item_size > size - start:
            raise InvalidInput(
                f"storage {storage.key!r:.40} should have {storage.length:,} elements at byte {start:,} of {size:,}: "
                "the file is damaged or cut off"
            )
        places[storage.key] = start
        stream.seek(start + length * storage.item_size)


def _once(read: ReadStorage) -> ReadStorage:
    """Return a function that reads each storage once, though several tensors may be views of it."""
    contents: dict[str, bytes | bytearray] = {}

    def read_once(storage: Storage) -> bytes | bytearray:
        if storage.key not in contents:
            contents[storage.key] = read(storage)
        return contents[storage.key]

    return read_once
