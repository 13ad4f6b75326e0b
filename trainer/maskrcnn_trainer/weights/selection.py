"""Search for the weights in the outermost dictionary of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.deferred import Deferred
from maskrcnn_trainer.weights.inert import Inert

WRAPPERS = ("model", "state_dict", "blobs")
"""Keys under which projects put their weights: ``model`` (Detectron2's zoo and its own files, torchvision's training
scripts), ``state_dict`` (MMDetection), and ``blobs`` (Detectron1, for a message that names it).
"""
_LEVELS = 2
_LARGEST_RATIO = 4
"""Bytes of all tensors by bytes of the file; above 1 where names share a tensor."""
_PREFIXES = {"module.": "DataParallel", "model.": "PyTorch Lightning"}
"""Prefixes that a class which holds the model adds to all names, with that class."""
_SHOWN = 4


@dataclass(frozen=True)
class Selection:
    """Weights of a file; see `file.WeightFile` for the attributes."""

    tensors: Mapping[str, NDArray[Any]]
    extra: Mapping[str, Any]
    within: tuple[str, ...]
    notes: tuple[str, ...]


def select_weights(value: Any, size: int) -> Selection:
    """Find the tensors in the outermost dictionary of a file, or under one of `WRAPPERS` in it, and read them.

    Args:
        value: of the pickle.
        size: of the file in bytes, unpacked.

    Raises:
        InvalidInput: there are none or they are in several places, a name isn't a string, a tensor is of a kind that
            cannot be read, or the tensors are many times larger than the file.
    """
    if not isinstance(value, dict):
        what = f"an object of {value.name}" if isinstance(value, Inert) else f"a {type(value).__name__}"
        raise InvalidInput(f"the file holds {what}, expected a dictionary of tensors: save the model's state_dict()")
    places = list(_places(value, _LEVELS))
    if not places:
        keys = ", ".join(_short(key) for key in list(value)[:_SHOWN]) or "none"
        raise InvalidInput(
            f"the file has no tensors in its outermost dictionary, nor under {', '.join(WRAPPERS)}; its keys are "
            f"{keys}: save the model's state_dict()"
        )
    if len(places) > 1:
        listed = " and ".join(".".join(place) for place in places)
        raise InvalidInput(f"the file has tensors under {listed}: save one of them alone")
    (within,) = places
    weights = value
    for key in within:
        weights = weights[key]
    chosen = {key: item for key, item in weights.items() if isinstance(item, Deferred)}
    others = {key: item for key, item in weights.items() if not isinstance(item, Deferred)}
    notes = []
    if within:
        extra = {key: item for key, item in value.items() if key != within[0]}
        if others:
            listed = ", ".join(_short(key) for key in list(others)[:_SHOWN])
            notes.append(f"{len(others)} entries of {'.'.join(within)} that aren't tensors are left out: {listed}")
    else:
        extra = others
    tensors, removed = without_prefix(_read(chosen, size))
    extra = {key: item for key, item in extra.items() if isinstance(key, str)}
    return Selection(tensors, extra, within, (*notes, *removed))


def without_prefix(tensors: Mapping[str, NDArray[Any]]) -> tuple[Mapping[str, NDArray[Any]], tuple[str, ...]]:
    """Return tensors without a prefix that DataParallel or PyTorch Lightning adds to all names, and a note about it."""
    for prefix, adds in _PREFIXES.items():
        if tensors and all(name.startswith(prefix) for name in tensors):
            note = f"the prefix {prefix} of all tensors, which {adds} adds, is left out of their names"
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, (note,)
    return tensors, ()


def _places(entries: Mapping[Any, Any], levels: int) -> Iterator[tuple[str, ...]]:
    """Yield the keys by which dictionaries with tensors are reached; the innermost ones only."""
    found = False
    for key in WRAPPERS if levels else ():
        inner = entries.get(key)
        if isinstance(inner, dict):
            for place in _places(inner, levels - 1):
                found = True
                yield (key, *place)
    if not found and any(isinstance(item, Deferred) for item in entries.values()):
        yield ()


def _read(chosen: Mapping[Any, Deferred], size: int) -> dict[str, NDArray[Any]]:
    total = 0
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in chosen.items():
        if not isinstance(name, str):
            raise InvalidInput(f"the file has a tensor under the key {_short(name)}, which isn't a name")
        try:
            total += tensor.nbytes()
            if total > _LARGEST_RATIO * size:
                raise InvalidInput(
                    f"with it the tensors have {total:,} bytes, but the file has {size:,}: they are views of the same "
                    "values; save them as copies"
                )
            tensors[name] = tensor.read()
        except InvalidInput as error:
            raise InvalidInput(f"the tensor {name!r:.200} cannot be read: {error}") from error
    return tensors


def _short(key: Any) -> str:
    return repr(key)[:80] if isinstance(key, str | int | Inert) else type(key).__name__
