"""Section with box and mask metrics: overall, by size, and by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskrcnn_trainer.report.content import ClassAnalysis, Evaluation, Experiment, Kind, OperatingPoint
from maskrcnn_trainer.report.page.class_lines import KIND_NAMES, by_metric, in_words, kinds_of, metric, plural
from maskrcnn_trainer.report.page.layout import (
    LONGEST_TABLE,
    Nesting,
    Section,
    bar_cell,
    heading,
    long_table,
    note,
    paragraph,
    table,
)
from maskrcnn_trainer.report.page.markup import Markup, joined
from maskrcnn_trainer.report.page.numbers import NOT_RECORDED, count, fraction

OVERALL = (
    ("AP", "AP: mean over IoU 0.50 to 0.95"),
    ("AP50", "AP50: at IoU 0.50"),
    ("AP75", "AP75: at IoU 0.75"),
    ("ARmax1", "AR, 1 detection per image"),
    ("ARmax10", "AR, 10 detections per image"),
    ("ARmax100", "AR, 100 detections per image"),
)
MOST_OF_AR = 100
"""Largest number of detections per image for which there is an AR."""

SIZE_METRICS = (
    ("s", "small: area below 32 × 32 pixels"),
    ("m", "medium: up to 96 × 96 pixels"),
    ("l", "large: above"),
)
KNOWN = frozenset(
    {*(name for name, _ in OVERALL), *(f"{kind}{size}" for kind in ("AP", "AR") for size, _ in SIZE_METRICS)}
)


def accuracy(experiment: Experiment, evaluation: Evaluation, place: Nesting) -> Section:
    """Return the section with all metrics and the support of each class."""
    lead = (
        "Average precision (AP) and recall (AR) by COCO's definitions, on the images that the evaluation saw: 0 to 1, "
        "higher is better, equal to metrics.json. A dash means that there are no such objects."
    )
    parts = [
        paragraph(lead),
        heading(place, "Overall"),
        _overall(evaluation.metrics),
        _limit(evaluation),
        heading(place, "By size of the objects"),
        paragraph("If small objects are far below the others, try a larger dataConfig.imageSize."),
        _by_size(evaluation.metrics),
        heading(place, "By class"),
        paragraph("Support is the number of objects in the evaluated images, without crowds. An AP of a class with few "
                  "objects is uncertain. Work on the class with the lowest AP and many objects first."),
        _by_class(experiment, evaluation),
    ]  # fmt: skip
    return Section("metrics", "Metrics", joined(parts))


def _limit(evaluation: Evaluation) -> Markup | None:
    most = evaluation.most_detections
    if not 0 < most < MOST_OF_AR:
        return None
    return note(
        f"No image has more than {count(most)} detections ({count(evaluation.images_with_most)} of "
        f"{count(evaluation.images)} images have so many), so AR with {MOST_OF_AR} detections is AR with "
        f"{count(most)}. If many images have so many, the model's limit may cut detections: try a larger "
        f"maskrcnnConfig.testDetectionsPerImage."
    )


def _overall(metrics: Mapping[str, float]) -> Markup:
    others = dict.fromkeys(name.removeprefix("mask_") for name in metrics if name.removeprefix("mask_") not in KNOWN)
    named = [*OVERALL, *((name, name) for name in others)]
    kinds = kinds_of(metrics)
    rows = [(label, *_values(metrics, name, kinds)) for name, label in named]
    return table(("metric", *(plural(kind) for kind in kinds)), rows, label="Metrics overall")


def _by_size(metrics: Mapping[str, float]) -> Markup:
    kinds = kinds_of(metrics)
    headers = ("size", *(f"{KIND_NAMES[kind]} {name}" for name in ("AP", "AR") for kind in kinds))
    rows = [
        (label, *_values(metrics, f"AP{size}", kinds), *_values(metrics, f"AR{size}", kinds))
        for size, label in SIZE_METRICS
    ]
    return table(headers, rows, label="Metrics by size")


def _values(metrics: Mapping[str, float], name: str, kinds: Sequence[Kind]) -> list[str]:
    """Return a metric of boxes and of masks; a metric that isn't there is not recorded."""
    found = [metrics.get(metric(kind, name)) for kind in kinds]
    return [NOT_RECORDED if value is None else fraction(value) for value in found]


def _by_class(experiment: Experiment, evaluation: Evaluation) -> Markup:
    trained = {row.category: row.objects for data in experiment.data if data.name == "training" for row in data.classes}
    if not evaluation.classes:
        return note("There are no classes.")
    names = [metric(kind, name) for kind in kinds_of(evaluation.metrics) for name in ("AP", "AP50")]
    headers = (
        "class",
        "support",
        "training objects",
        "detections",
        *(in_words(name) for name in names),
        "best F1",
        "at score",
    )
    rows = [_class_row(found, trained.get(found.category), names) for found in _in_order(evaluation)]
    return long_table(headers, rows, label="Metrics by class")


def _in_order(evaluation: Evaluation) -> Sequence[ClassAnalysis]:
    """Return the classes by their ids, or the lowest AP50 first if there are so many that only some are in view."""
    if len(evaluation.classes) <= LONGEST_TABLE:
        return evaluation.classes
    lowest = by_metric(evaluation)[::-1]
    ranked = {found.category for found in lowest}
    return [*lowest, *(found for found in evaluation.classes if found.category not in ranked)]


def _class_row(found: ClassAnalysis, trained: int | None, names: Sequence[str]) -> list[str]:
    point: OperatingPoint = found.operating_point
    metrics = [found.metrics.get(name) for name in names]
    return [
        found.name, count(found.objects), count(trained), count(found.detections),
        *(NOT_RECORDED if number is None else bar_cell(fraction(number), number) for number in metrics),
        fraction(point.best_f1), fraction(point.best_score),
    ]  # fmt: skip
