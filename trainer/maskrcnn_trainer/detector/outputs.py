"""Conversion between the tensors of an exported graph and those of a :class:`Detector`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.detector.interface import Detections, detections_of_batch
from maskrcnn_trainer.detector.metadata import ExportMetadata
from maskrcnn_trainer.errors import InvalidInput

INPUT = "Input"
DETECTIONS = "generate_detections"
MASK_LOGITS = "mask_fcn_logits/BiasAdd"


def tensor_shapes(metadata: ExportMetadata) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input and output for one image, by name."""
    rows, side = metadata.detections_per_image, metadata.architecture.mrcnn_resolution
    return {
        INPUT: (3, *metadata.image_size),
        DETECTIONS: (rows, 6),
        MASK_LOGITS: (rows, metadata.architecture.num_classes, side, side),
    }


def graph_input(images: NDArray[np.float32], metadata: ExportMetadata) -> NDArray[np.float32]:
    """Return normalized images [B, H, W, 3] in the layout of the graph: float32 [B, 3, H, W], contiguous.

    For a graph that normalizes its input, the values are converted back to 0..255. The padding then is the mean color,
    which the graph converts to 0 again.
    """
    planes = np.ascontiguousarray(np.asarray(images, np.float32).transpose(0, 3, 1, 2))
    if metadata.preprocessing:
        mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (metadata.mean, metadata.std))
        planes = (planes * std + mean) * np.float32(255.0)
    return planes


def graph_detections(rows: NDArray[np.float32], mask_logits: NDArray[np.float32], source: str) -> list[Detections]:
    """Convert the two outputs of a graph to the detections of each image.

    Args:
        rows: [B, D, 6]: y1, x1, y2, x2, class, score; a missing detection has score 0.
        mask_logits: [B, D, C, m, m], of all classes; only those of the detected class are returned.
        source: name of the model in messages.

    Raises:
        InvalidInput: no number in ``rows`` is finite, or the model does not have one of the classes.
    """
    if rows.size and not np.isfinite(rows).any():
        raise InvalidInput(
            f"{source}: no detection of the network is finite (all are NaN or infinity); export another model",
            reason="InvalidModel",
        )
    classes = np.rint(np.nan_to_num(rows[..., 4])).astype(np.int32)
    if classes.size and classes.max() >= mask_logits.shape[2]:
        raise InvalidInput(
            f"{source}: the network detects class {classes.max()}, but has classes 1 to {mask_logits.shape[2] - 1}; "
            "export the model again",
            reason="InvalidModel",
        )
    images, indices = np.indices(classes.shape, sparse=True)
    chosen = mask_logits[images, indices, np.clip(classes, 0, mask_logits.shape[2] - 1)]
    return detections_of_batch(
        boxes=np.ascontiguousarray(rows[..., :4], np.float32),
        classes=classes,
        scores=np.ascontiguousarray(rows[..., 5], np.float32),
        mask_logits=np.asarray(chosen, np.float32),
    )
