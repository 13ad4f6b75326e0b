"""Which kind of model a file is, by its content, and its detector."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from maskrcnn_trainer.detector.interface import Detector
from maskrcnn_trainer.detector.metadata import ExportMetadata, metadata_path
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import MAGIC, ONNX_BEGINNING, decrypt, require_model
from maskrcnn_trainer.spec import ExperimentSpec

ENGINE_MAGICS = (b"ftrt", b"ptrt")
"""How TensorRT's serialised engines begin."""

_ZIP = b"PK"


class ModelKind(Enum):
    """The kinds of models; a ``.etlt`` is an encrypted ONNX."""

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
    """A model file of any kind, ready to detect.

    Args:
        path: a ``.tlt``, ``.onnx``, ``.etlt`` or engine; its name does not matter.
        spec: what of a model is not fixed by its file.
        key: needed when the file is encrypted, ignored when it is not.
        threads: CPU threads of the network.
        batch_size: images at once; None for the spec's eval_batch_size (an engine takes at most what it was built for).

    Raises:
        InvalidInput: no such file, not a model of ours, a missing or wrong key, a pruned model that was not retrained,
            a field of the spec that contradicts the model, a package or device that is missing.
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

        onnx = OnnxDetector(payload, str(path), threads=threads, batch_size=batch_size or spec.eval_batch_size)
        _refuse_contradictions(path, onnx.metadata, spec)
        return onnx
    from maskrcnn_trainer.detector.tensorrt_engine import EngineDetector

    engine = EngineDetector(payload, path, batch_size=batch_size or spec.eval_batch_size)
    _refuse_contradictions(path, engine.metadata, spec)
    return engine


def kind_of(payload: bytes, path: Path) -> ModelKind:
    """The kind of an unencrypted model.

    Raises:
        InvalidInput: none of those that can detect.
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


def _refuse_contradictions(path: Path, metadata: ExportMetadata, spec: ExperimentSpec) -> None:
    contradictions = metadata.contradictions(spec)
    if contradictions:
        raise InvalidInput(f"{path} was built otherwise than the spec says: {'; '.join(contradictions)}")


def _read(path: Path) -> bytes:
    require_model(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}", reason="ModelNotFound") from error
