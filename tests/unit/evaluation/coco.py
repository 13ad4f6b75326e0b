"""COCO's metrics of a complete list of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maskrcnn_trainer.evaluation.coco_metrics import KINDS, STANDARD_DETECTIONS, CocoMatching, CocoMetrics, GroundTruth
from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId


def evaluate_coco(
    ground_truth: GroundTruth,
    results: Sequence[CocoResult],
    image_ids: Iterable[ImageId] | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    max_detections: int = STANDARD_DETECTIONS,
) -> CocoMetrics:
    """Compare results with the ground truth of the given images, or of all images if ``image_ids`` is None."""
    seen = ground_truth.image_ids if image_ids is None else image_ids
    by_image: dict[ImageId, list[CocoResult]] = {image_id: [] for image_id in seen}
    for result in results:
        by_image.get(result["image_id"], []).append(result)
    matching = CocoMatching(ground_truth, kinds=kinds, max_detections=max_detections)
    return matching.metrics([matching.of_image(image_id, found) for image_id, found in by_image.items()])
