"""Records of the GPU check: those that are given, some of COCO, or drawn pictures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gpu_check_plan import InvalidArgument, Options
from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data.class_map import class_map_for
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.data.records import index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec

SOURCE_FILE = "source.txt"
DRAWN_OBJECTS = 8
CORNERS = 24
SHAPES = ("ellipse", "diamond", "star")


@dataclass(frozen=True)
class Records:
    """Records of a training, and their origin.

    Attributes:
        training: pattern of the training records.
        validation: pattern of the validation records.
        annotations: validation annotations.
        source: origin in words.
    """

    training: str = ""
    validation: str = ""
    annotations: str = ""
    source: str = ""


def records_of(options: Options) -> Records:
    """Return the records that the options name; without any, draw pictures into a temporary directory."""
    folder = Path(options.data) if options.data else None
    if options.objects or (folder is None and not options.records):
        folder = Path(tempfile.mkdtemp(prefix="gpu-check-"))
        write_data(folder, replace(options, coco=""))
    if folder is None:
        return Records(options.records, options.val_records, options.val_json, "given records")
    source = folder / SOURCE_FILE
    return Records(
        options.records or f"{folder}/train/train-*",
        options.val_records or f"{folder}/val/val-*",
        options.val_json or str(folder / "instances_val.json"),
        source.read_text() if source.is_file() and not options.records else "given records",
    )


def data(options: Options, say: Callable[..., None]) -> None:
    """Write the data set of the other stages to ``options.out``."""
    if not options.out:
        raise InvalidArgument("out=DIR is missing")
    say(source=write_data(Path(options.out), options))


def write_data(folder: Path, options: Options) -> str:
    """Write training and validation records with their annotations; return their origin in words."""
    coco = Path(options.coco) if options.coco else None
    counts = {"train": options.images, "val": max(1, options.images // 4)}
    for split, count in counts.items():
        annotations = folder / f"instances_{split}.json"
        annotations.parent.mkdir(parents=True, exist_ok=True)
        if coco is None:
            images = folder / "images" / split
            content = draw_images(images, options, count, seed=len(split))
        else:
            images = coco / "images"
            content = part_of_coco(json.loads((coco / f"instances_{split}.json").read_text()), count)
        annotations.write_text(json.dumps(content))
        convert_dataset(images, annotations, folder / split, tag=split, num_shards=min(4, count))
    origin = (
        f"drawn pictures of {options.height}x{options.width} with {options.objects or DRAWN_OBJECTS} objects each"
        if coco is None
        else f"COCO, {counts['train']} training images"
    )
    (folder / SOURCE_FILE).write_text(origin)
    return origin


def part_of_coco(content: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the first ``count`` images that have annotations, with them."""
    annotated = {annotation["image_id"] for annotation in content["annotations"]}
    images = [image for image in content["images"] if image["id"] in annotated][:count]
    ids = {image["id"] for image in images}
    kept = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    return {**content, "images": images, "annotations": kept}


def draw_images(folder: Path, options: Options, count: int, *, seed: int) -> dict[str, Any]:
    """Draw ``count`` JPEG images of bright shapes on noise; return their annotations as COCO has them."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    size = np.array([options.height, options.width])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    rows, columns = np.ogrid[: size[0], : size[1]]
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    for number in range(1, count + 1):
        pixels = generator.integers(0, 90, (*size, 3), dtype=np.uint8)
        for _ in range(options.objects or DRAWN_OBJECTS):
            shape = int(generator.integers(len(SHAPES)))
            half = np.exp(generator.uniform(np.log(10), np.log(size.min() / 3), 2))
            center = generator.uniform(half, size - half)
            radius = (np.ones(CORNERS), 0.9 + 0.1 * np.cos(4 * angles), 0.8 + 0.2 * np.cos(6 * angles))[shape]
            y, x = (center[:, None] + half[:, None] * radius * np.stack([np.sin(angles), np.cos(angles)])).tolist()
            inside = ((rows - center[0]) / half[0]) ** 2 + ((columns - center[1]) / half[1]) ** 2 <= 0.9
            color = generator.integers(60, 120, 3)
            color[shape] = 250
            pixels[inside] = color
            box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": shape + 1,
                    "iscrowd": 0,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "segmentation": [[value for point in zip(x, y, strict=True) for value in point]],
                }
            )
        (folder / f"{number}.jpg").write_bytes(tf.io.encode_jpeg(pixels, quality=90).numpy())
        named = {"id": number, "file_name": f"{number}.jpg", "height": int(size[0]), "width": int(size[1])}
        images.append(named)
    categories = [{"id": shape + 1, "name": name} for shape, name in enumerate(SHAPES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def fields_of(options: Options, records: Records) -> dict[str, Any]:
    """Return the fields of the experiment that all stages train."""
    return {
        "seed": 1,
        "total_steps": options.steps,
        "num_steps_per_eval": options.steps,
        "train_batch_size": options.batch,
        "init_learning_rate": 0.002,
        "warmup_learning_rate": 0.0002,
        "warmup_steps": min(20, options.steps - 1),
        "logging_frequency": min(5, options.steps),
        "deterministic": options.deterministic,
        "data_config": {
            "image_size": [options.height, options.width],
            "num_classes": options.classes,
            "max_num_instances": options.instances,
            "n_workers": options.workers,
            "training_file_pattern": records.training or None,
            "validation_file_pattern": records.validation or None,
            "val_json_file": records.annotations or None,
        },
        "maskrcnn_config": {
            "nlayers": options.nlayers,
            "freeze_bn": options.freeze_bn,
            "freeze_blocks": [0, 1] if options.freeze_blocks else [],
            "batch_size_per_im": options.rois,
            "train_rpn_pre_nms_topn": 2 * options.proposals,
            "train_rpn_post_nms_topn": options.proposals,
            "test_rpn_pre_nms_topn": options.proposals,
            "test_rpn_post_nms_topn": options.proposals,
        },
    }


def spec_of(options: Options, records: Records) -> ExperimentSpec:
    """Return the experiment that all stages train."""
    return ExperimentSpec.model_validate(fields_of(options, records))


def batches_of(spec: ExperimentSpec) -> Iterator[dict[str, tf.Tensor]]:
    """Return the endless batches that ``maskrcnn train`` reads."""
    index = index_records(str(spec.data_config.training_file_pattern))
    names = {raw: str(raw) for raw in record_summary(index).class_ids}
    class_map = class_map_for(set(names), names, spec.data_config.num_classes)
    anchors = generate_anchors(Architecture.from_spec(spec), spec.data_config.image_size)
    return iter(training_dataset(index, spec, class_map, anchors, start=0, rank=0, ranks=1))
