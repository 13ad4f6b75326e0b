"""Output files of an export: paths, the check that they don't exist yet, and writing of the model."""

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
    """Files that an export writes.

    Attributes:
        model: the ``.onnx`` file, or the ``.etlt`` file if there is a key.
        cache: the calibration cache of an int8 export.
        engine: the TensorRT engine.
        deepstream: whether configuration and labels for DeepStream are written next to the model.
    """

    model: Path
    cache: Path | None = None
    engine: Path | None = None
    deepstream: bool = False

    @property
    def config(self) -> Path:
        """DeepStream's configuration, next to the model."""
        return self.model.with_name(DEEPSTREAM_CONFIG_FILE)

    @property
    def labels(self) -> Path:
        """DeepStream's labels, next to the model."""
        return self.model.with_name(DEEPSTREAM_LABELS_FILE)

    @property
    def all(self) -> list[Path]:
        """All files that are written."""
        found = [self.model]
        found += [self.cache] if self.cache else []
        found += [self.engine, metadata_path(self.engine)] if self.engine else []
        return found + ([self.config, self.labels] if self.deepstream else [])


def model_file(output: str | None, model: Path, directory: str | None, key: str | None) -> Path:
    """Return the path of the exported model.

    Args:
        output: path from the command line; the suffix ``.onnx`` or ``.etlt`` is added if it has neither.
        model: the trained model, whose name is used if ``output`` is None.
        directory: directory of the result if ``output`` is None; None for that of ``model``.
        key: key to encrypt the result with, or None.

    Raises:
        InvalidInput: the path is a directory, or its suffix contradicts the key.
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
            f"-o {output}: an .etlt file is encrypted, but there is no key; give one with -k or MASKRCNN_KEY, or name "
            "an .onnx file",
            reason="WrongKey",
        )
    if path.suffix == PLAIN:
        raise InvalidInput(
            f"-o {output}: with a key the model is written encrypted; name an .etlt file (maskrcnn decrypt converts it "
            "to .onnx), or omit the key"
        )
    completed = path.with_name(f"{path.name}{suffix}")
    if path.suffix.lower() in OTHER_FORMATS:
        log.warning("-o %s: export writes ONNX; writing %s instead", output, completed)
    return completed


def refuse_existing(files: Iterable[Path]) -> None:
    """Raise InvalidInput if one of the files exists."""
    existing = [str(path) for path in files if path.exists()]
    if existing:
        raise InvalidInput(
            f"{', '.join(existing)}: exists already; give another name, or remove it", reason="OutputExists"
        )


def write_model(path: Path, payload: bytes, key: str | None, *, before_rename: Callable[[], None]) -> None:
    """Write a serialized ONNX model, encrypted if there is a key."""
    write_atomically(path, payload if key is None else encrypt(payload, key), before_rename=before_rename)
