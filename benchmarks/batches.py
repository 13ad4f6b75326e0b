"""Files with batches of real COCO photographs, so that two systems in two environments train on the same batches."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data.class_map import class_map_for
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.data.records import index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec

BATCH_SIZE = 2
INSTANCES = 200
CLASSES = 91


def write_batches(coco: Path, folder: Path, *, size: int, first: int, count: int) -> list[Path]:
    """Write the batches of ``count`` steps, if a file is missing; return the files.

    Args:
        coco: directory with ``images`` and ``instances_train.json``.
        folder: directory of the files.
        size: height and width of the padded image.
        first: first step.
        count: number of steps.

    Returns:
        one file per step: ``images`` float32 [2, size, size, 3] and the ground truth in the input pipeline's format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{size}-{step:04d}.npz" for step in range(first, first + count)]
    if all(file.is_file() for file in files):
        return files
    spec = ExperimentSpec.model_validate(
        {
            "seed": 1,
            "init_learning_rate": 0.01,
            "total_steps": 1,
            "train_batch_size": BATCH_SIZE,
            "data_config": {"image_size": [size, size], "num_classes": CLASSES, "max_num_instances": INSTANCES},
            "maskrcnn_config": {},
        }
    )
    anchors = generate_anchors(Architecture(num_classes=CLASSES), (size, size))
    with tempfile.TemporaryDirectory() as records:
        convert_dataset(coco / "images", coco / "instances_train.json", Path(records), tag="train", num_shards=4)
        index = index_records(f"{records}/train-*")
        names = {raw: str(raw) for raw in record_summary(index).class_ids}
        class_map = class_map_for(set(names), names, CLASSES)
        dataset = training_dataset(index, spec, class_map, anchors, start=first * BATCH_SIZE, rank=0, ranks=1)
        for file, batch in zip(files, dataset.as_numpy_iterator(), strict=False):
            write(file, batch)
    return files


def write_crowded(source: Path, target: Path) -> Path:
    """Write a batch like ``source`` with 200 instances per image, made by repeating its instances with shifted boxes.

    This is enough foreground for every mask row to have a loss.
    """
    if target.is_file():
        return target
    with np.load(source) as file:
        batch = {name: file[name] for name in file.files}
    generator = np.random.default_rng(0)
    side = batch["images"].shape[1]
    for image in range(len(batch["images"])):
        found = np.flatnonzero(batch["gt_classes"][image] > 0)
        if len(found) == 0:
            batch["gt_boxes"][image, 0] = [0.25 * side, 0.25 * side, 0.75 * side, 0.75 * side]
            batch["gt_classes"][image, 0] = 1
            batch["cropped_gt_masks"][image, 0, 2:-2, 2:-2] = 255
            found = np.array([0])
        chosen = np.resize(found, INSTANCES)
        boxes = batch["gt_boxes"][image][chosen]
        extent = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        moved = boxes + generator.uniform(-0.05, 0.05, boxes.shape) * extent
        batch["gt_boxes"][image] = np.clip(moved, 0.0, side)
        batch["gt_classes"][image] = batch["gt_classes"][image][chosen]
        batch["cropped_gt_masks"][image] = batch["cropped_gt_masks"][image][chosen]
    write(target, batch)
    return target


def write(file: Path, batch: dict[str, NDArray[Any]]) -> None:
    """Write a batch to a file atomically."""
    aside = file.with_suffix(".partial.npz")
    np.savez_compressed(aside, **batch)
    aside.replace(file)
