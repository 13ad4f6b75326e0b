"""Model file of a detector of another project, as if a training had ended with its weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.weights.class_rows import COCO_NAMES, coco_ids_of
from maskrcnn_trainer.weights.opening import OpenedDetector

IMAGE_SIZE = (832, 1344)
"""Height and width of the smallest padded image for these models' sizes: 800 by at most 1,333 pixels."""


def imported_model(detector: OpenedDetector) -> ModelFile:
    """Return the model file of a detector, after step 0 and without the state of a training.

    Its spec has what every spec needs, and no field of ``maskrcnnConfig``: the architecture in the file decides.

    Args:
        detector: the opened detector.

    Raises:
        InvalidInput: it has no mask head, or weights that are NaN or infinite.
    """
    if not detector.has_masks:
        raise InvalidInput(
            f"checkpoint: {detector.path} is a Faster R-CNN, which has no mask head, so it cannot detect as a Mask "
            "R-CNN: train one from it, with this file as 'checkpoint' in the spec of train"
        )
    for name, value in detector.values.items():
        if not np.all(np.isfinite(value)):
            raise InvalidInput(f"checkpoint: {detector.path}: {name} has values that are NaN or infinite")
    classes = detector.architecture.num_classes
    return ModelFile(
        architecture=detector.architecture.to_json(),
        experiment={
            "checkpoint": detector.path,
            "checkpointStyle": str(detector.style.name),
            "initLearningRate": 0.02,
            "totalSteps": 1,
            "dataConfig": {"imageSize": list(IMAGE_SIZE), "numClasses": classes},
        },
        class_map=class_map_of_rows(detector.class_names, classes).to_json(),
        step=0,
        variables=dict(detector.values),
    )


def class_map_of_rows(names: Sequence[str | None] | None, num_classes: int) -> ClassMap:
    """Return the class map of a detector: COCO's ids if its classes are COCO's 80, else 1 to N.

    Rows without a class get the ids that are left. In torchvision's 91 rows these are the numbers of the rows, as those
    of the classes are.

    Args:
        names: of all rows, None for the background and for rows without a class; None if they are unknown.
        num_classes: number of rows.
    """
    rows = (None,) * (num_classes - 1) if names is None else tuple(names[1:])
    coco = coco_ids_of(rows)
    ids = tuple(range(1, num_classes))
    if coco is not None:
        of_classes = iter(coco)
        left = (number for number in itertools.count(1) if number not in COCO_NAMES)
        ids = tuple(next(left if name is None else of_classes) for name in rows)
    return ClassMap(ids=ids, names=tuple(name or "" for name in rows), num_classes=num_classes)
