"""Reader of TensorFlow checkpoints: TAO Toolkit's unencrypted ``.tlt`` (a zip archive) and plain ``.ckpt`` files."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.files import DAMAGED_ZIP
from maskrcnn_trainer.training.pretrained.source import Source, variable_name
from maskrcnn_trainer.weights.zip_members import LARGEST_COMPRESSION

NOTE = (
    "the model was trained by TAO Toolkit, which encodes boxes with one pixel more and samples RoIs at other "
    "points: fine-tune it before you judge its accuracy"
)
_MEMBER = re.compile(r"(.*\.ckpt[^/]*)\.(index|data-\d{5}-of-\d{5})")


def read_original_tlt(path: Path) -> Source:
    """Read the checkpoint in a ``.tlt`` of TAO Toolkit, ``model.ckpt-<step>.{index,data-...}`` in a zip archive.

    Raises:
        InvalidInput: the model is pruned, or the archive is damaged or does not hold exactly one checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="maskrcnn-tlt-") as folder:
            members = [m for m in archive.namelist() if _MEMBER.fullmatch(Path(m).name)]
            if any(Path(m).name.startswith("pruned.ckpt") for m in members):
                raise InvalidInput(
                    f"checkpoint: {path} is a pruned model of TAO Toolkit, which is not supported; prune an "
                    "unpruned model with maskrcnn prune instead, and give the result as prunedModelPath"
                )
            if not members:
                raise InvalidInput(
                    f"checkpoint: {path} is a zip archive, but not of PyTorch (data.pkl), .npz (arrays alone), or .tlt "
                    "of TAO Toolkit (model.ckpt-<step>)"
                )
            prefixes = {Path(m).name.removesuffix(".index") for m in members if m.endswith(".index")}
            if len(prefixes) != 1:
                found = ", ".join(sorted(prefixes)) or "none"
                raise InvalidInput(f"checkpoint: {path} should hold one checkpoint model.ckpt-<step>, found: {found}")
            size, unpacked = path.stat().st_size, sum(archive.getinfo(member).file_size for member in members)
            if unpacked > LARGEST_COMPRESSION * size:
                raise InvalidInput(
                    f"checkpoint: {path} has {size} bytes, but {unpacked} when unpacked; weights compress at most "
                    f"by a factor of {LARGEST_COMPRESSION}"
                )
            for member in members:
                # Only the name is used: a path in an archive must not lead out of the folder.
                with archive.open(member) as stream, (Path(folder) / Path(member).name).open("wb") as copy:
                    while chunk := stream.read(1 << 20):
                        copy.write(chunk)
            source = read_tf_checkpoint(str(Path(folder) / prefixes.pop()), shown=str(path))
    except DAMAGED_ZIP as error:
        raise InvalidInput(f"checkpoint: {path} is a damaged archive: {error}") from error
    return Source("unencrypted .tlt of TAO Toolkit", source.values, source.notes, source.unused)


def read_tf_checkpoint(prefix: str, shown: str | None = None) -> Source:
    """Read the variables of a TensorFlow checkpoint; optimizer slots and counters are left out.

    Args:
        prefix: path without ``.index`` or ``.data-...``.
        shown: name of the file in messages.

    Raises:
        InvalidInput: the checkpoint is damaged or a part is missing.
    """
    values: dict[str, NDArray[Any]] = {}
    unused: dict[str, str] = {}
    depths: dict[str, int] = {}
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in sorted(reader.get_variable_to_shape_map()):
            variable = variable_name(name)
            if variable is None:
                unused[name] = "optimizer state or counter"
            elif depths.setdefault(variable, name.count("/")) >= name.count("/"):
                depths[variable] = name.count("/")
                values[variable] = np.asarray(reader.get_tensor(name))
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"checkpoint: {shown or prefix} cannot be read: {error}") from error
    return Source("TensorFlow checkpoint", values, (NOTE,), unused)
