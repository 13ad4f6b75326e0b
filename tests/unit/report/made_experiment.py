"""A small experiment as its tasks leave it, made without training: four images, two classes, seven steps."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.unit.report import scenes

from maskrcnn_trainer.conversion.example import make_example
from maskrcnn_trainer.data.records import frame, index_file
from maskrcnn_trainer.evaluation.coco_metrics import CocoMatching, GroundTruth
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file

IMAGES = 4
NAMES = ("one", "two")
DOCUMENT = {
    "images": [
        {"id": number, "width": scenes.SIDE, "height": scenes.SIDE, "file_name": f"{number}.png"}
        for number in range(1, IMAGES + 1)
    ],
    "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)],
    "annotations": [
        one | {"id": number}
        for number, one in enumerate(
            (
                scenes.thing(1, 1, (10, 10, 60, 50)),
                scenes.thing(1, 2, (90, 90, 100, 100)),
                scenes.thing(2, 1, (20, 20, 20, 20)) | {"segmentation": scenes.rle((25, 25, 10, 10))},
                scenes.thing(3, 2, (40, 40, 80, 80)),
            ),
            start=1,
        )
    ],
}
RESULTS = [
    scenes.found(1, 1, (10, 10, 60, 50), 0.9),
    scenes.found(1, 2, (90, 92, 100, 100), 0.8),
    scenes.found(2, 2, (120, 120, 30, 30), 0.7),
    scenes.found(3, 2, (40, 44, 80, 80), 0.6),
]
SPEC: dict[str, Any] = {
    "seed": 7,
    "totalSteps": 40,
    "initLearningRate": 0.02,
    "dataConfig": {
        "imageSize": [128, 128],
        "numClasses": 3,
        "trainingFilePattern": "/workspace/shapes/convert-train/train-*.tfrecord",
        "validationFilePattern": "/workspace/shapes/convert-val/val-*.tfrecord",
        "valJsonFile": "/workspace/raw/val.json",
    },
    "maskrcnnConfig": {"nlayers": 18},
}
VERSIONS = {"python": "3.11.7", "numpy": "2.0.2"}
FACTS_OF_DATA = {
    "images": 100,
    "classes": [
        {"id": 1, "name": "one", "objects": 30, "small": 10, "medium": 15, "large": 5},
        {"id": 2, "name": "two", "objects": 20, "small": 0, "medium": 20, "large": 0},
    ],
}


def make_experiment(workspace: Path, *, name: str = "shapes", changes: Mapping[str, Any] | None = None) -> Path:
    """Write the experiment into a workspace, and return its directory.

    Args:
        workspace: directory that the tasks saw as ``/workspace``.
        name: of the experiment.
        changes: fields of the spec.
    """
    home = workspace / name
    spec = json.loads(json.dumps(SPEC).replace("/workspace/shapes/", f"/workspace/{name}/")) | (changes or {})
    (workspace / "raw").mkdir(parents=True, exist_ok=True)
    write_json(workspace / "raw" / "val.json", DOCUMENT)
    _converted(home / "convert-train", "train", FACTS_OF_DATA)
    _converted(home / "convert-val", "val", {**FACTS_OF_DATA, "images": IMAGES})
    _trained(home / "train", spec, 40, {"parameters": 1000})
    evaluate(home / "evaluate", home / "train" / "model.step-40.tlt")
    write_model(home / "prune" / "model.tlt", spec, 40)
    write_result(home / "prune", "prune", 5, model="model.tlt", facts={"parameters": 600})
    retrained = spec | {"prunedModelPath": f"/workspace/{name}/prune/model.tlt"}
    _trained(home / "retrain", retrained, 20, {"parameters": 600}, minute=6)
    (home / "export").mkdir()
    (home / "export" / "model.onnx").write_bytes(b"\x08" * 500_000)
    facts = {"parameters": 600, "dtype": "fp16"}
    write_result(home / "export", "export", 7, model="model.onnx", facts=facts)
    evaluate(home / "evaluate-fp16", home / "export" / "model.onnx", minute=8)
    return home


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file; its directory is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def recorded(path: Path) -> str:
    """Return the ``/workspace`` path of a file of an experiment, which is two levels below the workspace."""
    return str(Path("/workspace", *path.parts[-3:]))


def write_result(
    directory: Path,
    task: str,
    minute: int,
    *,
    model: str | None = None,
    evaluated: str | None = None,
    artifacts: Mapping[str, Path] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write ``result.json`` of a step that ran for a minute, from a minute of an hour on."""
    files = dict(artifacts or {}) | ({"model": directory / model} if model else {})
    write_json(
        directory / "result.json",
        {
            "version": 1,
            "task": task,
            "code": 0,
            "modelPath": recorded(directory / model) if model else evaluated,
            "metrics": {},
            "artifacts": {
                name: {"path": recorded(file), "bytes": file.stat().st_size if file.exists() else 1}
                for name, file in files.items()
            },
            "versions": VERSIONS,
            "processes": 1,
            "threads": 2,
            "device": "NVIDIA H100 80GB HBM3 (81,559 MiB)",
            "startTime": f"2026-11-29T10:{minute:02d}:00Z",
            "completionTime": f"2026-11-29T10:{minute:02d}:59Z",
            **({"facts": facts} if facts else {}),
        },
    )


def evaluate(
    directory: Path, model: Path, *, minute: int = 4, results: Sequence[dict[str, Any]] = RESULTS, seen: int = IMAGES
) -> None:
    """Write the results of an evaluation that saw the first images."""
    truth = GroundTruth(DOCUMENT)
    matching = CocoMatching(truth)
    ids = list(range(1, seen + 1))
    found = matching.metrics(
        [matching.of_image(image, [one for one in results if one["image_id"] == image]) for image in ids]
    )
    write_json(
        directory / "metrics.json",
        {
            "step": 40,
            "metrics": found.values,
            "per_class": [{"category_id": one, "name": "x"} | values for one, values in found.per_class.items()],
            "num_images": len(ids),
            "images_per_second": 5.5,
        },
    )
    write_json(directory / "detections.json", list(results))
    shard = directory.parent / "convert-val" / "val-00000-of-00001.tfrecord"
    offsets = index_file(str(shard))[0].tolist()
    write_json(
        directory / "images.json",
        {
            "version": 1,
            "evaluatedOn": "0" * 32,
            "annotations": "/workspace/raw/val.json",
            "images": [
                {"id": image, "file": recorded(shard), "offset": offset}
                for image, offset in zip(ids, offsets, strict=False)
            ],
        },
    )
    write_result(
        directory, "evaluate", minute, evaluated=recorded(model), artifacts={"metrics": directory / "metrics.json"}
    )


def write_model(file: Path, spec: Mapping[str, Any], step: int, key: str | None = None) -> None:
    """Write a model file with one weight and the spec of its training."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_model_file(
        file,
        ModelFile(
            {}, spec, {}, step, {"w": np.zeros(1, np.float32)}, state={"records": 100, "recordsDigest": "ab" * 16}
        ),
        key,
    )  # fmt: skip


def picture(seed: int, *, side: int = scenes.SIDE) -> bytes:
    """Return a PNG of noise."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _converted(directory: Path, tag: str, facts: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True)
    payloads = [
        make_example(
            byte_lists={"image/encoded": [picture(number)], "image/source_id": [str(number).encode()]},
            float_lists={},
            int_lists={"image/height": [scenes.SIDE], "image/width": [scenes.SIDE]},
        )
        for number in range(1, IMAGES + 1)
    ]
    (directory / f"{tag}-00000-of-00001.tfrecord").write_bytes(b"".join(map(frame, payloads)))
    records = {"records": directory / f"{tag}-*-of-00001.tfrecord"}
    write_result(directory, "dataset_convert", 1, artifacts=records, facts=facts)


def _trained(
    directory: Path, spec: Mapping[str, Any], steps: int, facts: Mapping[str, Any], *, minute: int = 2
) -> None:
    write_model(directory / f"model.step-{steps}.tlt", spec, steps)
    lines = [
        {"step": step, "losses": {"rpn_box_loss": 0.1, "total_loss": 100 / step}, "learning_rate": 0.02,
         "images_per_second": 4.5}
        for step in range(10, steps + 1, 10)
    ]  # fmt: skip
    evaluation = {"step": steps, "metrics": {"AP": 0.5, "mask_AP": -1.0}}
    (directory / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, evaluation]))
    write_result(directory, "train", minute, model=f"model.step-{steps}.tlt", facts=facts)
