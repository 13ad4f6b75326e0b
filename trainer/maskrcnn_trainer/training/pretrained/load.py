"""Loading a file's values into a network; the kind of the file is recognized by its content."""

from __future__ import annotations

import logging
import re
import shutil
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.pretrained.fit import is_of_a_backbone, refuse_half_a_backbone
from maskrcnn_trainer.training.pretrained.keras_hdf5 import MAGIC as HDF5_MAGIC
from maskrcnn_trainer.training.pretrained.keras_hdf5 import read_hdf5
from maskrcnn_trainer.training.pretrained.model_file import read_our_model
from maskrcnn_trainer.training.pretrained.report import LoadReport
from maskrcnn_trainer.training.pretrained.source import Source
from maskrcnn_trainer.training.pretrained.tf_checkpoint import read_original_tlt, read_tf_checkpoint
from maskrcnn_trainer.training.pretrained.torch_names import read_torch_file
from maskrcnn_trainer.weights.file import form_of

log = logging.getLogger(__name__)

# Last eight bytes of a table file, which is the format of a TensorFlow checkpoint's index.
_TABLE_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_HEADS = "class-predict|box-predict|mask_fcn_logits"


def load_checkpoint(
    path: str | Path, network: MaskRCNN, *, skip: str | None = None, key: str | None = None
) -> LoadReport:
    """Load the values of a file into a network, by variable name.

    The kind is recognized by content, not by the file's suffix: a Keras HDF5 file; ``.safetensors``, ``.npz``,
    ``.pth``, or ``.pkl`` with the names of torchvision or timm; a model file of this trainer; an unencrypted ``.tlt``
    of TAO Toolkit; or a TensorFlow checkpoint (its prefix, one of its files, or its directory). No code in a file is
    executed. The result is logged, with a warning about variables that keep random values.

    Args:
        path: of the file.
        network: its variables are assigned.
        skip: regular expression, searched in each variable's name (``fc6/kernel``) and its path in the network
            (``box_head/fc6/kernel``); variables that match are not loaded.
        key: encryption key of a model file.

    Raises:
        InvalidInput: the file is missing, damaged, encrypted, or of an unknown kind, the expression is invalid, the
            backbone has another depth or family or a variable another shape and ``skip`` does not match it, or no
            variable of the network is in the file.
    """
    pattern = _compile(skip)
    source = read_source(Path(path), network, key)
    report = assign(network, source, pattern, str(path))
    log.info("checkpoint: %s", report.table(shutil.get_terminal_size((100, 24)).columns))
    random = report.left_random(network.network_path)
    for note in (*report.notes, *([random] if random else [])):
        log.warning("checkpoint: %s", note)
    return report


def read_source(path: Path, network: MaskRCNN, key: str | None) -> Source:
    """Read a file of any kind, recognized by its content; see `load_checkpoint`.

    Args:
        path: of the file.
        network: the network for which the values are read.
        key: encryption key of a model file.

    Raises:
        InvalidInput: the file is missing, damaged, encrypted, or of an unknown kind.
    """
    from maskrcnn_trainer.model_files.model_file import is_model_file

    prefix = _tf_prefix(path)
    if prefix is not None:
        return read_tf_checkpoint(prefix, str(path))
    if not path.is_file():
        problem = "is a pipe, a socket, or a device; give a plain file" if path.exists() else "does not exist"
        raise InvalidInput(f"checkpoint: {path} {problem}")
    if is_model_file(path):
        return read_our_model(path, key, network.architecture)
    with path.open("rb") as stream:
        head = stream.read(len(HDF5_MAGIC))
    if head == HDF5_MAGIC:
        return read_hdf5(path)
    if form_of(path) is not None:
        return read_torch_file(path, network.architecture)
    if zipfile.is_zipfile(path):
        return read_original_tlt(path)
    if not head:
        raise InvalidInput(f"checkpoint: {path} is an empty file")
    if head.startswith(b"PK"):
        raise InvalidInput(
            f"checkpoint: {path} begins as a zip archive but is not complete: the file is damaged or cut off"
        )
    raise InvalidInput(
        f"checkpoint: {path} is not a Keras .hdf5, .safetensors, .npz, .pth, .pkl, .tlt, or TensorFlow checkpoint. "
        "If it is a .tlt that TAO Toolkit encrypted, it cannot be read here: save it unencrypted with that toolkit "
        "(its releases since 5.0 do so), or start from the pretrained .hdf5"
    )


def assign(network: MaskRCNN, source: Source, skip: re.Pattern[str] | None, path: str) -> LoadReport:
    """Assign a source's values to a network's variables; an error leaves all variables unchanged.

    Args:
        network: its variables are assigned.
        source: values by variable name.
        skip: expression for variables that are not loaded, see `load_checkpoint`.
        path: of the file, for messages.

    Raises:
        InvalidInput: a value isn't finite or has another shape, the backbone does not match, or no variable of the
            network is in the source.
    """
    fitting: list[tuple[str, NDArray[Any]]] = []
    skipped: dict[str, str] = {}
    not_found: dict[str, str] = {}
    mismatched: dict[str, str] = {}
    variables = network.named_variables
    for name, variable in variables.items():
        value = source.values.get(name)
        if value is not None and tuple(value.shape) != tuple(variable.shape):
            mismatched[name] = f"{tuple(value.shape)} in the file, {tuple(variable.shape)} in the network"
        matched = _match(skip, name, network.network_path(name))
        if matched is not None:
            what = "the name" if matched == name else f"the path {matched.partition('/')[0]}/..."
            skipped[name] = f"skipCheckpointVariables matches {what}"
        elif value is None:
            not_found[name] = "not in the file"
        elif name not in mismatched:
            if not np.all(np.isfinite(value)):
                raise InvalidInput(f"checkpoint: {path}: {name} holds values that are not finite")
            fitting.append((name, value))
    backbone = {name for name in variables if network.network_path(name).startswith("backbone/")}
    begun = any(name in backbone for name, _ in fitting)
    refuse_half_a_backbone(
        path,
        source.values,
        network.architecture,
        absent=[name for name in not_found if name in backbone and begun],
        extra=[
            name
            for name in source.values
            if name not in variables and is_of_a_backbone(name) and _match(skip, name, f"backbone/{name}") is None
        ],
    )
    _refuse_mismatches({name: text for name, text in mismatched.items() if name not in skipped}, path)
    if not fitting and not skipped:
        listed = ", ".join(list(source.values)[:5]) or "nothing"
        raise InvalidInput(
            f"checkpoint: {path} ({source.kind}) has no variable of this network: found {listed}, "
            f"expected {', '.join(list(variables)[:3])}, ..."
        )
    if not fitting:
        log.warning("skipCheckpointVariables matches all usable variables of checkpoint %s, so none is loaded", path)
    for name, value in fitting:
        variables[name].assign(np.asarray(value, np.float32))
    unused = {
        **{name: "no such variable in this network" for name in source.values if name not in variables},
        **source.unused,
    }
    return LoadReport(path, source.kind, tuple(name for name, _ in fitting), skipped, not_found, unused, source.notes)


def _compile(skip: str | None) -> re.Pattern[str] | None:
    if not skip:
        return None
    try:
        return re.compile(skip)
    except re.error as error:
        raise InvalidInput(f"skipCheckpointVariables: {skip!r} is not a regular expression: {error}") from error


def _match(skip: re.Pattern[str] | None, name: str, network_path: str) -> str | None:
    if skip is None:
        return None
    return next((text for text in (name, network_path) if skip.search(text)), None)


def _refuse_mismatches(wrong: Mapping[str, str], path: str) -> None:
    if not wrong:
        return
    listed = "; ".join(f"{name}: {text}" for name, text in list(wrong.items())[:6])
    more = f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""
    heads = all(re.search(_HEADS, name) for name in wrong)
    advice = (
        f'for other classes, set skipCheckpointVariables to "{_HEADS}"'
        if heads
        else "change the network to match, or leave these out with skipCheckpointVariables"
    )
    raise InvalidInput(f"checkpoint: {path} has other shapes than this network ({listed}{more}): {advice}")


def _tf_prefix(path: Path) -> str | None:
    """Return the prefix of the TensorFlow checkpoint at a path, None if it isn't one."""
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        if latest is None:
            raise InvalidInput(f"checkpoint: {path} is a directory without a TensorFlow checkpoint")
        return str(latest)
    if Path(f"{path}.index").is_file():
        return str(path)
    part = re.fullmatch(r"(.+)\.(index|meta|data-\d{5}-of-\d{5})", str(path))
    if part and Path(f"{part[1]}.index").is_file():
        return part[1]
    if path.is_file() and path.stat().st_size > 48:
        with path.open("rb") as stream:
            stream.seek(-8, 2)
            if stream.read() == _TABLE_MAGIC:
                return str(path)
    return None
