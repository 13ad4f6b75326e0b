"""Recognizing the kind of a model file by its content, and opening its detector."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from maskrcnn_trainer.detector.interface import Detector
from maskrcnn_trainer.detector.metadata import metadata_path
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.contradictions import refuse_contradictions
from maskrcnn_trainer.model_files.model_file import MAGIC, ONNX_BEGINNING, decrypt, require_model
from maskrcnn_trainer.spec import ExperimentSpec

ENGINE_MAGICS = (b"ftrt", b"ptrt")
"""First bytes of TensorRT's serialized engines."""

_ZIP = b"PK"


class ModelKind(Enum):
    """Kinds of models; a ``.etlt`` is an encrypted ONNX file."""

    TLT = "tlt"
    ONNX = "onnx"
    ENGINE = "engine"


def open_detector(
    path: Path | str,
    spec: ExperimentSpec,
    *,
    key: str | None = None,
    threads: int,
    batch_size: int | None = None,
) -> Detector:
    """Open a model file of any kind, ready to detect.

    Args:
        path: a ``.tlt``, ``.onnx``, ``.etlt``, or engine; its name does not matter.
        spec: settings that the model file does not determine.
        key: required if the file is encrypted, otherwise ignored.
        threads: CPU threads of the network.
        batch_size: images at once; None for the spec's eval_batch_size (at most the number an engine was built for).

    Raises:
        InvalidInput: the file is missing or isn't a model of this trainer, the key is missing or wrong, a pruned model
            was not retrained, a field of the spec contradicts the model, or a package or device is missing.
    """
    path = Path(path)
    payload = _read(path)
    encrypted = payload.startswith(MAGIC)
    if encrypted:
        if not key:
            raise InvalidInput(
                f"{path}: the model is encrypted; give its key with -k or MASKRCNN_KEY", reason="WrongKey"
            )
        payload = decrypt(payload, key, source=str(path))
    kind = kind_of(payload, path)
    if kind is ModelKind.TLT:
        from maskrcnn_trainer.detector.tlt import open_tlt

        del payload
        return open_tlt(path, spec, key=key, threads=threads, batch_size=batch_size)
    if kind is ModelKind.ONNX:
        from maskrcnn_trainer.detector.onnx_runtime import OnnxDetector

        onnx = OnnxDetector(
            payload, str(path), threads=threads, batch_size=batch_size or spec.eval_batch_size, tf32=spec.tf32
        )
        refuse_contradictions(str(path), onnx.metadata.contradictions(spec))
        return onnx
    from maskrcnn_trainer.detector.tensorrt_engine import EngineDetector

    engine = EngineDetector(payload, path, batch_size=batch_size or spec.eval_batch_size)
    refuse_contradictions(str(path), engine.metadata.contradictions(spec))
    return engine


def kind_of(payload: bytes, path: Path) -> ModelKind:
    """Return the kind of an unencrypted model.

    Args:
        payload: content of the file.
        path: of the file; an engine may be recognized by the description next to it.

    Raises:
        InvalidInput: the file isn't a model that can detect.
    """
    if payload.startswith(_ZIP):
        return ModelKind.TLT
    if payload.startswith(ONNX_BEGINNING):
        return ModelKind.ONNX
    if payload.startswith(ENGINE_MAGICS) or metadata_path(path).is_file():
        return ModelKind.ENGINE
    raise InvalidInput(
        f"{path}: not a model that can detect; give a .tlt from train, an .onnx or .etlt from export, or an engine "
        "that export built",
        reason="InvalidModel",
    )


def _read(path: Path) -> bytes:
    require_model(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}", reason="ModelNotFound") from error
