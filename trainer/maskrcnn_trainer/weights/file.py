"""Content of a weight file of another project, by the names that the file itself has."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput, content_of
from maskrcnn_trainer.weights.npz_file import read_npz
from maskrcnn_trainer.weights.pickled_arrays import ARRAYS
from maskrcnn_trainer.weights.restricted_pickle import load_pickle
from maskrcnn_trainer.weights.safetensors_file import read_safetensors
from maskrcnn_trainer.weights.selection import Selection, select_weights, without_prefix
from maskrcnn_trainer.weights.torch_file import LEGACY_MAGIC, is_torch_zip, read_torch_legacy, read_torch_zip
from maskrcnn_trainer.weights.zip_members import member_names, open_members

_HEAD = 32
_PROTO, _PROTOCOLS = 0x80, range(2, 6)
# The magic number follows the opcode for an integer of 10 bytes, after the protocol and perhaps a frame.
_LEGACY_START = b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")


class Form(StrEnum):
    """Form of a weight file, as messages name it."""

    SAFETENSORS = "safetensors"
    NPZ = "npz"
    TORCH_ZIP = "PyTorch zip"
    TORCH_LEGACY = "PyTorch before 1.6"
    PICKLE = "pickle of NumPy arrays"


@dataclass(frozen=True)
class WeightFile:
    """Tensors of a file, and the rest of its outermost dictionary.

    Attributes:
        path: of the file, as given.
        form: recognized by the file's content.
        tensors: by the file's own names, without the prefix ``module.`` that torch's DataParallel adds to all of them.
            float16, float32, float64, and integer arrays have the file's type; bfloat16 is float32, with equal values.
            Arrays may be read-only views of the file.
        extra: the other entries of the outermost dictionary (``meta``, ``args``, ``__author__``, ``iteration``): plain
            containers, numbers, and strings, and `inert.Inert` for everything else, arrays included. Containers may be
            nested without end, so don't print or compare them, or walk through them, as a whole.
        within: keys under which the tensors were found, outermost first: ``()``, ``("model",)``, ``("state_dict",)``,
            ``("blobs",)``.
        notes: remarks to the user, such as a removed prefix.
    """

    path: str
    form: Form
    tensors: Mapping[str, NDArray[Any]]
    extra: Mapping[str, Any] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def form_of(path: Path) -> Form | None:
    """Return the form of a plain file by its content, None if it isn't a weight file of another project.

    Raises:
        InvalidInput: it is a damaged zip archive.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if zipfile.is_zipfile(path):
        names = member_names(path)
        if is_torch_zip(names):
            return Form.TORCH_ZIP
        return Form.NPZ if names and all(name.endswith(".npy") for name in names) else None
    if len(head) > 1 and head[0] == _PROTO and head[1] in _PROTOCOLS:
        return Form.TORCH_LEGACY if _LEGACY_START in head else Form.PICKLE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return Form.SAFETENSORS
    return None


def read_weight_file(path: Path) -> WeightFile:
    """Read a ``.safetensors``, ``.npz``, ``.pth``, or ``.pkl`` file, recognized by its content and not by its suffix.

    Nothing in the file is executed or imported, see `restricted_pickle`. The memory is about the size of the weights,
    and twice that for pickles of protocol 2 and ``.safetensors``; an optimizer in PyTorch's files isn't read.

    Args:
        path: of an existing plain file.

    Raises:
        InvalidInput: the file is damaged, of another form, or has no tensors, or a tensor is of a kind that cannot be
            read.
    """
    form = form_of(path)
    if form is None:
        with path.open("rb") as stream:
            begun = stream.read(2) == b"PK" and not zipfile.is_zipfile(path)
        raise InvalidInput(
            f"checkpoint: {path} begins as a zip archive but is not complete: the file is damaged or cut off"
            if begun
            else f"checkpoint: {path} is not a .safetensors, .npz, .pth, or .pkl file"
        )
    with content_of(f"checkpoint: {path}"):
        chosen = _selected(path, form)
    return WeightFile(str(path), form, chosen.tensors, chosen.extra, chosen.within, chosen.notes)


def _selected(path: Path, form: Form) -> Selection:
    if form is Form.SAFETENSORS:
        tensors, notes = without_prefix(read_safetensors(path))
        return Selection(tensors, {}, (), notes)
    if form is Form.NPZ:
        with open_members(path) as members:
            arrays, others = read_npz(members)
        tensors, notes = without_prefix(arrays)
        return Selection(tensors, others, (), notes)
    if form is Form.TORCH_ZIP:
        with open_members(path) as members:
            return select_weights(read_torch_zip(members), members.unpacked)
    size = path.stat().st_size
    with path.open("rb") as stream:
        if form is Form.TORCH_LEGACY:
            return select_weights(read_torch_legacy(stream, size), size)
        return select_weights(load_pickle(stream, size, ARRAYS), size)
