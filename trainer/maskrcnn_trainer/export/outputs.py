"""The files of an export: where they go, what may not stand there before, and how a model is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.detector.metadata import metadata_path
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import encrypt
from maskrcnn_trainer.spec.task_table import DEEPSTREAM_CONFIG_FILE, DEEPSTREAM_LABELS_FILE
from maskrcnn_trainer.task.files import write_atomically

log = logging.getLogger(__name__)

PLAIN, ENCRYPTED = ".onnx", ".etlt"
OTHER_FORMATS = (".uff", ".engine", ".trt", ".plan", ".tlt", ".hdf5", ".h5", ".pb", ".pt", ".pth", ".tflite")


@dataclass(frozen=True)
class ExportFiles:
    """What an export writes.

    Attributes:
        model: the ``.onnx``, or the ``.etlt`` when there is a key.
        cache: the calibration cache, of an int8 export.
        engine: the TensorRT engine.
        deepstream: whether configuration and labels for DeepStream are written beside the model.
    """

    model: Path
    cache: Path | None = None
    engine: Path | None = None
    deepstream: bool = False

    @property
    def config(self) -> Path:
        return self.model.with_name(DEEPSTREAM_CONFIG_FILE)

    @property
    def labels(self) -> Path:
        return self.model.with_name(DEEPSTREAM_LABELS_FILE)

    @property
    def all(self) -> list[Path]:
        """Every file that is written."""
        found = [self.model]
        found += [self.cache] if self.cache else []
        found += [self.engine, metadata_path(self.engine)] if self.engine else []
        return found + ([self.config, self.labels] if self.deepstream else [])


def model_file(output: str | None, model: Path, directory: str | None, key: str | None) -> Path:
    """Where the exported model goes.

    Args:
        output: of the command line; a name without ``.onnx`` or ``.etlt`` gets the right one of them.
        model: the given model, whose name is used where ``output`` is None.
        directory: where it goes then; None for beside the given model.
        key: whether the result is encrypted.

    Raises:
        InvalidInput: the name says otherwise than the key, or is that of a directory.
    """
    suffix = PLAIN if key is None else ENCRYPTED
    if output is None:
        return (Path(directory) if directory else model.parent) / f"{model.name.removesuffix('.tlt')}{suffix}"
    path = Path(output)
    if path.is_dir() or output.endswith("/"):
        raise InvalidInput(f"-o {output} is a directory; name a file, such as {path / f'model{suffix}'}")
    if path.suffix == suffix:
        return path
    if path.suffix == ENCRYPTED:
        raise InvalidInput(
            f"-o {output}: an .etlt is encrypted, and there is no key; give one with -k or MASKRCNN_KEY, or name an "
            ".onnx",
            reason="WrongKey",
        )
    if path.suffix == PLAIN:
        raise InvalidInput(
            f"-o {output}: with a key the model is written encrypted; name an .etlt (maskrcnn decrypt makes the .onnx "
            "of it), or leave the key out"
        )
    completed = path.with_name(f"{path.name}{suffix}")
    if path.suffix.lower() in OTHER_FORMATS:
        log.warning("-o %s: export writes ONNX, so the file is %s", output, completed)
    return completed


def refuse_existing(files: Iterable[Path]) -> None:
    """Raises InvalidInput when one of the files is there."""
    there = [str(path) for path in files if path.exists()]
    if there:
        raise InvalidInput(f"{', '.join(there)}: there already; give another name, or remove it", reason="OutputExists")


def write_model(path: Path, payload: bytes, key: str | None, *, before_rename: Callable[[], None]) -> None:
    """Writes a serialised ONNX model, encrypted when there is a key."""
    write_atomically(path, payload if key is None else encrypt(payload, key), before_rename=before_rename)
