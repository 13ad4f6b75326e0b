"""PyTorch's tensors in a pickle: views of storages that lie elsewhere in the file.

A tensor is ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``, all in elements, and a storage is
a persistent id ``("storage", torch.FloatStorage, key, location, length)`` (torch 1.6 and later), or the same with the
metadata of a view as a sixth value, None or (key, offset, length) (before). Facts are from torch's
torch/serialization.py and torch/_utils.py, which haven't changed in this since torch 0.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.deferred import Deferred, are_lengths, native, widened
from maskrcnn_trainer.weights.inert import Inert, Name
from maskrcnn_trainer.weights.pickled_containers import Budget, Rebuild

_BFLOAT16 = "torch.BFloat16Storage"
_TYPES: Mapping[str, str] = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    _BFLOAT16: "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}
_SIZES_OF_OTHERS: Mapping[str, int] = {
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
    "torch.QInt8Storage": 1,
    "torch.QUInt8Storage": 1,
    "torch.QInt32Storage": 4,
    "torch.QUInt4x2Storage": 1,
    "torch.QUInt2x4Storage": 1,
    "torch.UntypedStorage": 1,
    "torch.storage.UntypedStorage": 1,
}
_OTHER_TENSORS: Mapping[str, str] = {
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no values",
    "torch._utils._rebuild_tensor_v3": "a tensor of a type without a storage type of its own, such as float8",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
    "torch._utils._rebuild_xla_tensor": "a tensor of another device",
}
_PLAIN_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_ADVICE = "save the model's state_dict() as plain float32 tensors on the CPU"


class Storage(Inert):
    """Storage that a pickle refers to.

    Attributes:
        name: its class, such as ``torch.FloatStorage``.
        key: of its bytes in the file.
        location: device on which it was, such as ``cuda:0``.
        length: in elements.
        offset: of a view of a storage, in elements; 0 if it isn't a view.
        view_length: in elements; `length` if it isn't a view.
    """

    __slots__ = ("key", "length", "location", "offset", "view_length")

    def __init__(self, name: str, key: str, location: str, length: int, view: tuple[int, int]) -> None:
        super().__init__(name)
        self.key = key
        self.location = location
        self.length = length
        self.offset, self.view_length = view

    @property
    def item_size(self) -> int:
        """Bytes of an element.

        Raises:
            InvalidInput: the type is unknown.
        """
        if self.name in _TYPES:
            return np.dtype(_TYPES[self.name]).itemsize
        if self.name not in _SIZES_OF_OTHERS:
            raise InvalidInput(f"it has a storage of type {self.name}, which is not known; {_ADVICE}")
        return _SIZES_OF_OTHERS[self.name]


ReadStorage = Callable[[Storage], "bytes | bytearray"]
"""Function that returns all bytes of a storage, little-endian."""


def storage_of(persistent_id: Any) -> Storage | Inert:
    """Return the storage that a persistent id names, or an inert object for a module's class (before torch 1.6).

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(persistent_id, tuple) and len(persistent_id) in (4, 5, 6):
        kind, *rest = persistent_id
        if kind == "module":
            return Inert(rest[0].name if isinstance(rest[0], Name) else "torch.nn.Module")
        if kind == "storage" and len(rest) >= 4:
            return _storage(*rest)
    raise InvalidInput("the pickle refers to data outside of it in another way than PyTorch does: it is damaged")


def _storage(kind: Any, key: Any, location: Any, length: Any, view: Any = None) -> Storage:
    text = isinstance(kind, Name) and isinstance(key, str) and isinstance(location, str)
    if not text or not are_lengths((length,)):
        raise InvalidInput("the pickle has a storage without a class, key, device, or length: it is damaged")
    offset, view_length = 0, length
    if view is not None:
        _, offset, view_length = view
        if not are_lengths((offset, view_length)) or offset + view_length > length:
            raise InvalidInput(f"the pickle has a view that is outside of its storage {key!r:.40}: it is damaged")
    return Storage(kind.name, key, location, length, (offset, view_length))


class TorchTensor(Deferred):
    """Tensor that is a view of a storage."""

    __slots__ = ("_offset", "_read", "_size", "_storage", "_stride")

    def __init__(self, read: ReadStorage, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        super().__init__("torch.Tensor")
        self._read = read
        self._storage = storage
        self._offset = offset
        self._size = size
        self._stride = stride

    def _checked_storage(self) -> Storage:
        storage = self._storage
        if not isinstance(storage, Storage):
            raise InvalidInput("it is a tensor without a storage: the file is damaged")
        if storage.location == "meta":
            raise InvalidInput(f"it is a meta tensor, which has no values; {_ADVICE}")
        if storage.name not in _TYPES:
            raise InvalidInput(f"it is a tensor of type {storage.name}, which is not supported; {_ADVICE}")
        if not are_lengths((self._offset,)) or not are_lengths(self._size) or not are_lengths(self._stride):
            raise InvalidInput("it is a tensor whose offset, size, or stride isn't a length: the file is damaged")
        if len(self._size) != len(self._stride):
            raise InvalidInput("it is a tensor with another number of sizes than of strides: the file is damaged")
        return storage

    def nbytes(self) -> int:  # noqa: D102 - see Deferred
        storage = self._checked_storage()
        count: int = math.prod(self._size)
        return count * storage.item_size

    def read(self) -> NDArray[Any]:  # noqa: D102 - see Deferred
        storage = self._checked_storage()
        dtype = np.dtype(_TYPES[storage.name])
        size, stride = tuple(self._size), tuple(self._stride)
        last = self._offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if 0 not in size and last >= storage.view_length:
            raise InvalidInput(
                f"it is a tensor whose last element is number {last:,} of a storage with {storage.view_length:,}: "
                "the file is damaged"
            )
        try:
            array: NDArray[Any] = np.ndarray(
                size,
                dtype,
                self._read(storage),
                (storage.offset + self._offset) * dtype.itemsize,
                tuple(step * dtype.itemsize for step in stride),
            )
        except (OverflowError, TypeError, ValueError) as error:
            raise InvalidInput(f"it is a damaged tensor: {error}") from error
        array.flags.writeable = False
        return widened(array) if storage.name == _BFLOAT16 else native(array)


class _OtherTensor(Deferred):
    """Tensor of a kind that cannot be read; it is refused if it is one of the weights, and ignored otherwise."""

    __slots__ = ("_what",)

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name)
        self._what = what

    def nbytes(self) -> int:
        raise InvalidInput(f"it is {self._what}, which is not supported; {_ADVICE}")


def tensor_functions(read: ReadStorage) -> dict[str, Rebuild]:
    """Return the functions for `restricted_pickle.load_pickle` by which tensors are rebuilt.

    Args:
        read: returns the bytes of a storage, once the tensor turns out to be one of the weights.
    """

    def tensor(arguments: tuple[Any, ...], _budget: Budget) -> TorchTensor:
        return TorchTensor(read, *arguments[:4])

    def parameter(arguments: tuple[Any, ...], _budget: Budget) -> Any:
        return arguments[0]

    def of_type(arguments: tuple[Any, ...], budget: Budget) -> Any:
        function, kind, values, _state = arguments
        if not isinstance(function, Name) or not isinstance(kind, Name) or not isinstance(values, tuple):
            raise TypeError("a tensor of a class without a class")
        if kind.name not in _PLAIN_CLASSES:
            return _OtherTensor(kind.name, f"a tensor of the class {kind.name}")
        if function.name not in plain:
            return other(function.name)(values, budget)
        return plain[function.name](values, budget)

    def size(arguments: tuple[Any, ...], _budget: Budget) -> Any:
        return arguments[0] if arguments else ()

    def other(name: str) -> Rebuild:
        what = _OTHER_TENSORS.get(name, f"a tensor made by {name}")
        return lambda _arguments, _budget: _OtherTensor(name, what)

    plain: dict[str, Rebuild] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
    }
    return {
        **plain,
        "torch._tensor._rebuild_from_type": of_type,
        "torch._tensor._rebuild_from_type_v2": of_type,
        "torch.Size": size,
        **{name: other(name) for name in _OTHER_TENSORS},
    }
