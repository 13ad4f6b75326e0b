"""Validation records and annotations, opened and compared before the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.categories import Categories, compare_categories, require_agreement
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.coco_results import ImageId, json_image_ids
from maskrcnn_trainer.spec import ExperimentSpec

_EXAMPLES = 3


@dataclass(frozen=True)
class ValidationData:
    """Records that detections are computed from, and annotations that they are compared with.

    Attributes:
        records: records of ``validationFilePattern``.
        ground_truth: annotations of ``valJsonFile``.
        evaluated: ids of the categories that have an object, other than crowds, in the images to be evaluated.
    """

    records: RecordIndex
    ground_truth: GroundTruth
    evaluated: frozenset[int]

    @property
    def categories(self) -> Categories:
        """All categories of the annotations."""
        return self.ground_truth.categories

    def check_model(self, class_map: ClassMap, source: str) -> None:
        """Compare the categories of a model with those of the annotations.

        Args:
            class_map: class map of the model.
            source: name of the model in messages.

        Raises:
            InvalidInput: model and annotations disagree about an id or a name, or have no category in common.
        """
        named = {number: {name} for number, name in zip(class_map.ids, class_map.names, strict=True) if name}
        # A model whose names are unknown may know any of its ids.
        model = Categories(source, named or {number: set() for number in class_map.ids})
        require_agreement([self.categories], model=model)
        compare_categories(model, self.categories, self.evaluated)


def open_validation(spec: ExperimentSpec) -> ValidationData:
    """Open the validation data of a spec, without reading the images.

    Raises:
        InvalidInput: the annotations or the records cannot be read, a record has invalid values, the annotations lack a
            record's image or give it another size, or the images to be evaluated have no object.
    """
    config = spec.data_config
    ground_truth = GroundTruth.load(str(config.val_json_file))
    records = index_records(str(config.validation_file_pattern))
    limit = min(config.eval_samples or len(records), len(records))
    summary = record_summary(records, records=np.arange(limit))
    summary.require_sound_images("validationFilePattern")
    source_ids = [one.decode("utf-8", "replace") for one in summary.source_ids]
    images = json_image_ids(ground_truth.image_ids)
    unknown = [one for one in source_ids if one not in images]
    if unknown:
        examples = ", ".join(map(repr, unknown[:_EXAMPLES])) + (", ..." if len(unknown) > _EXAMPLES else "")
        raise InvalidInput(
            f"valJsonFile: {ground_truth.name} has no image for {len(unknown)} of {limit} records of "
            f"validationFilePattern {config.validation_file_pattern} (ids {examples}); both must belong to the same "
            "data set",
            reason="InvalidData",
        )
    _require_sizes(ground_truth, records, [images[one] for one in source_ids], summary.sizes)
    seen = {images[one] for one in source_ids}
    evaluated = ground_truth.evaluated_categories(seen)
    if not evaluated:
        crowds = any(ground_truth.of_image(image_id) for image_id in seen)
        found = "crowds (iscrowd 1) only" if crowds else "no object"
        raise InvalidInput(
            f"valJsonFile: {ground_truth.name} has {found} in the {limit} "
            f"images of validationFilePattern {config.validation_file_pattern}, so there is nothing to compare "
            f"detections with; {'set iscrowd to 0 for single objects' if crowds else 'annotate them'}, or use "
            "another validation set",
            reason="InvalidData",
        )
    return ValidationData(records, ground_truth, frozenset(evaluated))


def _require_sizes(
    ground_truth: GroundTruth, records: RecordIndex, image_ids: Sequence[ImageId], sizes: NDArray[np.int64]
) -> None:
    """Check that each image has the same size in the annotations and in its record: detections use record pixels.

    Args:
        ground_truth: the annotations.
        records: records, of which the first N are compared.
        image_ids: image id of each of the N records.
        sizes: int64 [N, 2], height and width of each record, 0 if the record has none.

    Raises:
        InvalidInput: a size differs.
    """
    given = [(ground_truth.images[one]["height"], ground_truth.images[one]["width"]) for one in image_ids]
    other = np.flatnonzero(((sizes != np.asarray(given, np.int64)) & (sizes > 0)).any(axis=1))
    if not len(other):
        return
    first = int(other[0])
    (height, width), (stored_height, stored_width) = given[first], sizes[first].tolist()
    name = ground_truth.images[image_ids[first]]["file_name"]
    turned = (height, width) == (stored_width, stored_height)
    raise InvalidInput(
        f"valJsonFile: {ground_truth.name}: image {image_ids[first]}{f' ({name})' if name else ''} is {width}x{height} "
        f"(width x height), but its record in {records.files[int(records.file_ids[first])]} is "
        f"{stored_width}x{stored_height}; {len(other)} of {len(sizes)} images "
        f"differ{' (rotated by EXIF?)' if turned else ''}, so boxes would be compared at different scales; use the "
        "annotations that the records were converted from",
        reason="InvalidData",
    )
