from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data.class_map import class_map_for
from maskrcnn_trainer.data.pipeline import evaluation_dataset, training_dataset
from maskrcnn_trainer.data.records import index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec

pytestmark = [pytest.mark.trainer, pytest.mark.data]


def test_an_epoch_of_real_photographs_has_the_areas_of_its_annotations(
    test_data: Path, tmp_path: Path, make_spec: Callable[..., ExperimentSpec]
) -> None:
    annotations_file = test_data / "coco" / "instances_val.json"
    convert_dataset(
        str(test_data / "coco" / "images"), str(annotations_file), str(tmp_path), tag="val", num_shards=3, processes=1
    )
    coco = json.loads(annotations_file.read_text())
    index = index_records(str(tmp_path / "val-*"))
    summary = record_summary(index)
    summary.require_masks()
    assert len(index) == len(coco["images"])
    names = {category["id"]: category["name"] for category in coco["categories"]}
    spec = make_spec(
        data={"image_size": [256, 256], "num_classes": 81, "max_num_instances": 100}, model={"gt_mask_size": 56}
    )
    class_map = class_map_for(set(summary.class_ids), names, 81)
    anchors = generate_anchors(Architecture.from_spec(spec), (256, 256))
    batches = training_dataset(index, spec, class_map, anchors, start=0, rank=0, ranks=1)

    found: list[tuple[int, float]] = []
    for batch in batches.take(len(index) // 2).as_numpy_iterator():
        for row in range(2):
            real = batch["gt_classes"][row] > 0
            boxes = batch["gt_boxes"][row][real]
            covered = batch["cropped_gt_masks"][row][real].sum((1, 2)) / 255.0 / 56**2
            areas = covered * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * batch["image_info"][row, 2] ** 2
            classes = [class_map.to_raw(int(one)) for one in batch["gt_classes"][row][real]]
            found += zip(classes, areas.tolist(), strict=True)
    expected = [
        (one["category_id"], one["area"]) for one in coco["annotations"] if not one["iscrowd"] and one["area"] > 0
    ]
    assert abs(len(found) - len(expected)) <= 3  # the conversion drops boxes without extent
    assert {label for label, _ in found} == {label for label, _ in expected}
    large = [sorted(area for _, area in one if area > 1000) for one in (found, expected)]
    assert abs(len(large[0]) - len(large[1])) <= 3
    assert abs(sum(large[0]) / sum(large[1]) - 1) < 0.01

    seen = []
    for rank in range(2):
        for batch in evaluation_dataset(index, spec, rank=rank, ranks=2, limit=0).as_numpy_iterator():
            seen += [int(one) for one in batch["source_id"][batch["valid"]]]
    assert sorted(seen) == sorted(image["id"] for image in coco["images"])
