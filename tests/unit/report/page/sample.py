"""Content of reports as tests of the page need it: like that of a small training, but made from a seed."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskrcnn_trainer.report.content import (
    ClassAnalysis,
    ClassCount,
    Confusion,
    Curve,
    DataSet,
    Errors,
    ErrorType,
    Evaluation,
    Experiment,
    FieldDifference,
    Kind,
    ModelRow,
    OperatingPoint,
    PrecisionRecall,
    ReliabilityBin,
    Report,
    Role,
    ShownImage,
    ShownObject,
    TrainingHistory,
)
from maskrcnn_trainer.report.interval import wilson_interval
from maskrcnn_trainer.report.reliability import score_errors

SHAPES = ("disc", "square", "triangle")
ERRORS: tuple[ErrorType, ...] = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
ROLES: tuple[Role, ...] = ("true", "false", "missed", "object")
COCO_LIKE = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light")
IMAGES_IN_A_LIST = 12


@dataclass(frozen=True)
class Scored:
    """Detections of a class: scores, descending, which of them are right, and the number of objects."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    objects: int


def report(*experiments: Experiment, title: str = "Experiment shapes", comparable: bool | None = None) -> Report:
    """Return a report of the given experiments, by default of one with everything."""
    found = experiments or (experiment(),)
    differences = (
        (FieldDifference("initLearningRate", tuple(str(0.02 / (number + 1)) for number in range(len(found)))),
         FieldDifference("maskrcnnConfig.nlayers", tuple(("18", "50")[number % 2] for number in range(len(found)))))
        if len(found) > 1 else ()
    )  # fmt: skip
    return Report(title, "2026-11-29T12:00:00Z", "0.1.0", tuple(found), differences, comparable)


def experiment(
    names: Sequence[str] = SHAPES, *, name: str = "shapes", seed: int = 1, with_pictures: bool = True
) -> Experiment:
    """Return an experiment of 500 steps with every number."""
    random = np.random.default_rng(seed)
    counts = [int(count) for count in np.sort(random.integers(40, 900, len(names)))[::-1]]
    found = evaluation(names, seed=seed, with_pictures=with_pictures)
    metrics = {key: found.metrics[key] for key in ("AP", "AP50", "mask_AP", "mask_AP50")}
    return Experiment(
        name=name,
        differences=(
            FieldDifference("dataConfig.imageSize", ("[832,1344]", "[192,192]")),
            FieldDifference("totalSteps", ("null", "500")),
            FieldDifference("initLearningRate", ("0.01", "0.02")),
        ),
        data=(
            _data("training", 640, names, counts),
            _data("validation", 60, names, [count // 8 + 1 for count in counts]),
        ),
        facts={
            "hardware": "2 CPU cores, 23 GB of memory, no GPU", "seed": "123", "maskrcnn-operator": "0.1.0",
            "TensorFlow": "2.18.1", "duration of train": "0:04:30",
        },
        trainings=(_training("train", 500, random), _training("retrain", 200, random)),
        models=(
            ModelRow("train", "trained", "train/model.step-500.tlt", metrics, 88.4, 22_341_910, 9.95, "evaluate"),
            ModelRow("prune", "pruned", "prune/model.tlt", {}, 31.2, 8_102_400),
            ModelRow("retrain", "retrained", "retrain/model.tlt", _scaled(metrics, 0.97), 31.2, 8_102_400, 14.2,
                     "evaluate-pruned"),
            ModelRow("export-int8", "int8", "export-int8/model.onnx", _scaled(metrics, 0.95), 8.3, 8_102_400,
                     21.7, "evaluate-int8"),
        ),
        evaluation=found, spec_step="train",
    )  # fmt: skip


def bare_experiment(name: str = "old") -> Experiment:
    """Return an experiment of which nothing is recorded."""
    return Experiment(name, None, (), {}, (), (), None, ("train/history.jsonl isn't there.",))


def evaluation(names: Sequence[str] = SHAPES, *, seed: int = 1, with_pictures: bool = True) -> Evaluation:
    """Return an evaluation whose numbers fit together as far as the page shows."""
    random = np.random.default_rng(seed)
    scored = [_scored(random, int(random.integers(20, 120)), float(random.uniform(0.3, 0.95))) for _ in names]
    pooled = Scored(
        np.concatenate([one.scores for one in scored]), np.concatenate([one.right for one in scored]),
        sum(one.objects for one in scored),
    )  # fmt: skip
    point = operating_point(pooled)
    precisions = {iou: [_interpolated(one, iou) for one in scored] for iou in (0.5, 0.75)}
    ap50 = [float(np.mean(values)) for values in precisions[0.5]]
    classes = tuple(
        ClassAnalysis(
            number + 1, name, one.objects, len(one.scores),
            {"AP": ap * 0.62, "AP50": ap * 1.08, "mask_AP": ap * 0.55, "mask_AP50": ap},
            operating_point(one), 0.03 * number,
        )
        for number, (name, one, ap) in enumerate(zip(names, scored, ap50, strict=True))
    )  # fmt: skip
    mean = float(np.mean(ap50))
    shown = [
        _shown(random, names, number, point.best_score or 0.5, with_pictures) for number in range(4 * IMAGES_IN_A_LIST)
    ]
    bins = _reliability(pooled)
    return Evaluation(
        step="evaluate", model="train/model.step-500.tlt", kind="segm", images=60, objects=pooled.objects,
        detections=len(pooled.scores), metrics=_metrics(mean), classes=classes,
        precision_recall=tuple(
            PrecisionRecall(
                iou, tuple(float(value) for value in np.mean(values, axis=0)),
                {number + 1: tuple(float(value) for value in one) for number, one in enumerate(values)},
            )
            for iou, values in precisions.items()
        ),
        operating_point=point, confusion=_confusion(random, names, scored, point.best_score or 0.5),
        errors=(_errors("bbox", classes, mean * 1.08, random), _errors("segm", classes, mean, random)),
        reliability=bins, score_errors=score_errors(bins),
        most_detections=-(-len(pooled.scores) // 60), images_with_most=len(pooled.scores) % 60 or 60,
        worst=tuple(sorted(shown[:12], key=lambda image: image.f1)), confident_false=tuple(shown[12:24]),
        missed=tuple(shown[24:36]), random=tuple(shown[36:]),
        pictures_missing=None if with_pictures else "the validation records are gone (convert-val/*.tfrecord)",
    )  # fmt: skip


def nothing_detected() -> Experiment:
    """Return an experiment whose model detects nothing."""
    found = evaluation(with_pictures=False)
    point = OperatingPoint((), (), (), (), None, None)
    zero = dict.fromkeys(found.metrics, 0.0)
    empty = replace(
        found, detections=0, most_detections=0, images_with_most=0, score_errors=None, metrics=zero,
        classes=tuple(
            replace(one, detections=0, metrics=dict.fromkeys(one.metrics, 0.0), operating_point=point)
            for one in found.classes
        ),
        precision_recall=tuple(
            PrecisionRecall(one.iou, (0.0,) * 101, dict.fromkeys(one.by_class, (0.0,) * 101))
            for one in found.precision_recall
        ),
        operating_point=point, confusion=None,
        errors=tuple(
            replace(one, ap50=0.0, lost=dict.fromkeys(ERRORS, 0.0) | {"Miss": 100.0}, false_positives=0.0,
                    false_negatives=100.0, counts=dict.fromkeys(ERRORS, 0) | {"Miss": found.objects},
                    by_class={category: dict.fromkeys(ERRORS, 0.0) | {"Miss": 100.0} for category in one.by_class})
            for one in found.errors
        ),
        reliability=tuple(replace(one, detections=0, mean_score=None, precision=None) for one in found.reliability),
        confident_false=(),
    )  # fmt: skip
    return replace(experiment(with_pictures=False), evaluation=empty)


def many_names(number: int) -> tuple[str, ...]:
    """Return class names like COCO's, with a number from the second ten on."""
    return tuple(f"{COCO_LIKE[index % 10]}{f' {index // 10}' if index >= 10 else ''}" for index in range(number))


def operating_point(found: Scored) -> OperatingPoint:
    """Return precision, recall, and F1 at 101 thresholds."""
    thresholds = np.linspace(0.0, 1.0, 101)
    above = [found.scores >= threshold for threshold in thresholds]
    right = np.array([np.count_nonzero(found.right & mask) for mask in above])
    counted = np.array([np.count_nonzero(mask) for mask in above])
    precision = [r / c if c else None for r, c in zip(right.tolist(), counted.tolist(), strict=True)]
    f1 = 2 * right / (counted + found.objects)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    equal = thresholds[f1 >= f1[best] - 0.01].round(2)
    return OperatingPoint(
        tuple(thresholds.round(2).tolist()), tuple(precision), tuple((right / found.objects).tolist()),
        tuple(f1.tolist()), float(thresholds[best].round(2)), float(f1[best]), (float(equal[0]), float(equal[-1])),
        wilson_interval(int(right[best]), found.objects),
    )  # fmt: skip


def _scored(random: np.random.Generator, objects: int, skill: float) -> Scored:
    detections = objects * 3
    scores = np.sort(random.beta(1.2, 1.6, detections))[::-1]
    right = random.random(detections) < scores**1.4 * skill
    right &= np.cumsum(right) <= objects
    return Scored(scores, right, objects)


def _interpolated(found: Scored, iou: float) -> NDArray[np.float64]:
    right = found.right & (np.arange(len(found.right)) % 3 < (3 if iou < 0.6 else 2))
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(hits / found.objects, np.linspace(0, 1, 101))
    return np.where(at < len(hits), precision[np.minimum(at, len(hits) - 1)], 0.0)


def _metrics(ap50: float) -> dict[str, float]:
    boxes = {
        "AP": 0.62, "AP50": 1.08, "AP75": 0.6, "APs": 0.4, "APm": 0.65, "ARmax1": 0.4, "ARmax10": 0.8,
        "ARmax100": 0.85, "ARs": 0.5, "ARm": 0.8,
    }  # fmt: skip
    found = {name: factor * ap50 for name, factor in boxes.items()} | {"APl": -1.0, "ARl": -1.0}
    masks = {f"mask_{name}": value * 0.88 if value > 0 else value for name, value in found.items()}
    return found | masks | {"mask_AP50": ap50}


def _confusion(random: np.random.Generator, names: Sequence[str], scored: Sequence[Scored], score: float) -> Confusion:
    size = len(names)
    counts = np.zeros((size + 1, size + 1), dtype=int)
    for row, one in enumerate(scored):
        found = int(one.objects * random.uniform(0.4, 0.85))
        counts[row, row], counts[row, size] = found, (one.objects - found) // 2
        for _ in range(one.objects - found - (one.objects - found) // 2):
            counts[row, (row + int(random.integers(1, max(size, 2)))) % size] += size > 1
        counts[size, row] = int(np.count_nonzero((one.scores >= score) & ~one.right))
    sums = counts.sum(1)
    return Confusion(
        score, tuple(names), tuple(tuple(row) for row in counts.tolist()),
        tuple(tuple((row / total).tolist()) if total else None for row, total in zip(counts, sums, strict=True)),
    )  # fmt: skip


def _errors(kind: Kind, classes: Sequence[ClassAnalysis], ap50: float, random: np.random.Generator) -> Errors:
    lost = {"Cls": 21.3, "Loc": 9.0, "Both": 1.2, "Dupe": 0.1, "Bkg": 3.4, "Miss": 0.8}
    counts = {"Cls": 84, "Loc": 61, "Both": 12, "Dupe": 3, "Bkg": 140, "Miss": 11}
    if len(classes) == 1:
        lost, counts = (values | {"Cls": 0, "Both": 0} for values in (lost, counts))
    return Errors(
        kind, ap50 * 100, {error: lost[error] for error in ERRORS}, 18.6, 6.5,
        {one.category: {error: lost[error] * float(random.uniform(0.3, 2)) for error in ERRORS} for one in classes},
        {error: int(counts[error]) for error in ERRORS},
    )  # fmt: skip


def _reliability(found: Scored) -> tuple[ReliabilityBin, ...]:
    bins = np.minimum((found.scores * 10).astype(int), 9)
    made = []
    for number in range(10):
        inside = bins == number
        some = bool(inside.any())
        made.append(
            ReliabilityBin(number / 10, (number + 1) / 10, int(inside.sum()),
                           float(found.scores[inside].mean()) if some else None,
                           float(found.right[inside].mean()) if some else None)
        )  # fmt: skip
    return tuple(made)


def _scaled(metrics: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in metrics.items()}


def _data(name: str, images: int, names: Sequence[str], counts: Sequence[int]) -> DataSet:
    classes = tuple(
        ClassCount(number + 1, label, count, count // 2, count - count // 2 - count // 10, count // 10)
        for number, (label, count) in enumerate(zip(names, counts, strict=True))
    )
    return DataSet(name, images, classes, f"{images:x}f0c9a7b2e41d865")


def _training(step: str, steps: int, random: np.random.Generator) -> TrainingHistory:
    at = tuple(float(x) for x in range(10, steps + 1, 10))
    starts = {"fast_rcnn_class_loss": 1.1, "mask_loss": 0.69, "fast_rcnn_box_loss": 0.45, "rpn_score_loss": 0.6,
              "rpn_box_loss": 0.03, "l2_loss": 0.38}  # fmt: skip
    parts = [
        Curve(
            name,
            at,
            tuple(start * (0.3 + 0.7 * math.exp(-x / steps * 4)) * float(random.uniform(0.9, 1.1)) for x in at),
        )
        for name, start in starts.items()
    ]
    total = Curve("loss", at, tuple(sum(part.y[index] or 0.0 for part in parts) for index in range(len(at))))
    rate = Curve("learning rate", at, tuple(0.02 * min(x / 100, 1.0) * (1.0 if x < steps * 0.8 else 0.1) for x in at))
    speed = Curve("images/s", at, tuple(float(random.uniform(4.2, 5.1)) for _ in at))
    checked = tuple(float(x) for x in range(steps // 5, steps + 1, steps // 5))
    rising = (0.05, 0.14, 0.2, 0.23, 0.245)
    evaluations = (Curve("mask AP", checked, rising), Curve("box AP", checked, tuple(value * 1.1 for value in rising)))
    return TrainingHistory(step, (total, *parts), rate, speed, evaluations)


def _shown(
    random: np.random.Generator, names: Sequence[str], number: int, score: float, with_pictures: bool
) -> ShownImage:  # fmt: skip
    objects = []
    for index in range(int(random.integers(2, 9))):
        role = ROLES[int(random.integers(0, len(ROLES)))]
        category = int(random.integers(0, len(names)))
        box = (float(random.integers(5, 120)), float(random.integers(5, 120)), 40.0, 50.0)
        detected = float(random.uniform(score, 1)) if role in ("true", "false") else None
        objects.append(ShownObject(role, category + 1, names[category], detected, box, index))
    picture = _picture(objects) if with_pictures else None
    true, false, missed = (sum(one.role == role for one in objects) for role in ("true", "false", "missed"))
    f1 = 2 * true / (2 * true + false + missed) if true + false + missed else 1.0
    return ShownImage(number + 1, f1, tuple(objects), picture)


def _picture(objects: Sequence[ShownObject]) -> str:
    image = Image.new("RGB", (192, 192), (70, 84, 96))
    draw = ImageDraw.Draw(image)
    colors = {"true": (0, 200, 110), "false": (230, 60, 40), "missed": (255, 230, 120), "object": (160, 160, 160)}
    for found in objects:
        x, y, width, height = found.box
        draw.rectangle((x, y, x + width, y + height), outline=colors[found.role], width=2)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
