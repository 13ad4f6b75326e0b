"""Content of a report: every number on the page. ``report.json`` has the same under the same names.

None stands for a number that no task has recorded, or that isn't defined; the page shows "not recorded" or a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from maskrcnn_trainer.results.report_files import GENERATOR

Kind = Literal["bbox", "segm"]
"""Comparison of detections and objects: by boxes or by masks."""

ErrorType = Literal["Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"]
"""Types of errors of TIDE (Bolya et al., arXiv:2008.08115, section 2.2)."""

Role = Literal["true", "false", "missed", "object"]
"""Role of a shown object: a matched detection, a false detection, a missed object, or a found object."""


@dataclass(frozen=True)
class Curve:
    """Points of a line in a chart.

    Attributes:
        name: name in the legend.
        x: [N], ascending.
        y: [N]; None leaves a gap.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True)
class FieldDifference:
    """Field of the spec that differs from its default, or between experiments.

    Attributes:
        field: path, such as ``dataConfig.imageSize``.
        values: values as JSON text: the default and the value, or the value in each experiment.
    """

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ClassCount:
    """Objects of one class in a data set.

    Attributes:
        category: raw category id.
        name: class name.
        objects: number of objects, without crowds.
        small, medium, large: objects by COCO's area ranges (32**2 and 96**2 pixels); None if not recorded.
    """

    category: int
    name: str
    objects: int
    small: int | None = None
    medium: int | None = None
    large: int | None = None


@dataclass(frozen=True)
class DataSet:
    """One converted data set.

    Attributes:
        name: "training" or "validation".
        images: number of images; None if not recorded.
        classes: objects by class; empty if not recorded.
        identity: digest of its records, which is equal if two experiments use the same; None if not recorded.
    """

    name: str
    images: int | None
    classes: tuple[ClassCount, ...] = ()
    identity: str | None = None


@dataclass(frozen=True)
class TrainingHistory:
    """Curves of one training over its steps.

    Attributes:
        step: name of the step of the experiment, or of the directory.
        losses: total loss and its parts.
        learning_rate: one curve; None if not recorded.
        images_per_second: one curve; None if not recorded.
        evaluations: AP and mask AP of checkpoints.
        loss_fall: share by which the mean total loss in the last tenth of the steps is below that in the tenth before;
            None if it isn't recorded, or didn't clearly fall.
    """

    step: str
    losses: tuple[Curve, ...] = ()
    learning_rate: Curve | None = None
    images_per_second: Curve | None = None
    evaluations: tuple[Curve, ...] = ()
    loss_fall: float | None = None


@dataclass(frozen=True)
class ModelRow:
    """One model of the experiment.

    Attributes:
        step: step that made it.
        kind: such as "trained", "pruned", "retrained", "fp16", "int8".
        path: its file as the task recorded it.
        metrics: ``AP``, ``AP50``, ``mask_AP``, ``mask_AP50`` on the validation set, as fractions; missing if no step
            evaluated it.
        megabytes: size of the file.
        parameters: number of weights.
        images_per_second: of its evaluation.
        evaluation: step that evaluated it, the last one of several; None without any.
    """

    step: str
    kind: str
    path: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    megabytes: float | None = None
    parameters: int | None = None
    images_per_second: float | None = None
    evaluation: str | None = None


@dataclass(frozen=True)
class BetterModel:
    """Model of the experiment with a higher AP than the one that the page is about.

    Attributes:
        step: step that made it.
        path: its file as the task recorded it.
        ap: its mask AP, or its box AP if boxes count, as a fraction.
        gain: how much higher that is, in points (0..100).
        shown_kind: kind of the model that the page is about, as in :class:`ModelRow`.
    """

    step: str
    path: str
    ap: float
    gain: float
    shown_kind: str


@dataclass(frozen=True)
class OperatingPoint:
    """F1 over the score at IoU 0.5, and the score that maximizes it (on this very set).

    Matches follow COCO's rule: detections by descending score within class and image, of which the 100 best count. A
    detection that matches nothing but lies on a crowd counts nowhere.

    Attributes:
        scores: [N] thresholds, ascending: 0, 0.01 .. 1, and the best score; a detection counts from its score on.
        precision, recall, f1: [N].
        best_score: threshold with the highest F1, the highest of equals; None without detections.
        best_f1: F1 there; None without objects and detections.
        equally_good: lowest and highest of the adjacent thresholds around the best score whose F1 is within 0.01 of the
            best; None without a best score.
        recall_interval: Wilson's 95% interval of the recall at the best score; None without it or without objects.
    """

    scores: tuple[float, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    best_score: float | None
    best_f1: float | None
    equally_good: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision at COCO's 101 recalls (0, 0.01 .. 1), as pycocotools interpolates it.

    Attributes:
        iou: threshold, 0.5 or 0.75.
        overall: [101], mean over the classes with objects; None without any.
        by_class: [101] by raw category id, for classes with objects.
    """

    iou: float
    overall: tuple[float, ...] | None
    by_class: Mapping[int, tuple[float, ...]]


@dataclass(frozen=True)
class ClassAnalysis:
    """Numbers of one class.

    Attributes:
        category: raw category id.
        name: class name.
        objects: objects in the evaluated images, without crowds (the support); as in :class:`Evaluation`.
        detections: detections of the class.
        metrics: ``AP``, ``AP50``, ``mask_AP``, ``mask_AP50``, as fractions; -1 without objects, as pycocotools.
        operating_point: of this class alone.
        f1_gain: its own best F1 minus its F1 at the overall best score; None without objects or without that score.
    """

    category: int
    name: str
    objects: int
    detections: int
    metrics: Mapping[str, float]
    operating_point: OperatingPoint
    f1_gain: float | None = None


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix at IoU 0.5 and the overall best score.

    Matching within an image: detections by descending score, each takes the unmatched object with the highest IoU of at
    least 0.5, whatever its class. A detection that matches nothing but lies on a crowd of its class counts nowhere. Of
    each class in each image the 100 best detections count, as in the other numbers.

    Attributes:
        score: threshold of the detections.
        names: of the K classes that have an object, or a detection from the score on; "background" follows as row and
            column K.
        counts: [K + 1, K + 1], rows are the truth, columns the detections. The last row has false detections, the last
            column missed objects; the last entry is 0.
        normalized: each row divided by its sum; None in a row without entries.
        on_taken: false detections with an IoU of at least 0.5 with objects that better detections have.
        misplaced: other false detections with an IoU of at least 0.1 with an object.
        on_nothing: the rest of the false detections.
        found_as_well: objects that are detected as another class, and have a match of their own class too, with a lower
            score: the other numbers, which match within classes, count them as found.
        interval: Wilson's 95% interval of the largest confusion's share of its row; None without confusions.
    """

    score: float
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    normalized: tuple[tuple[float, ...] | None, ...]
    on_taken: int = 0
    misplaced: int = 0
    on_nothing: int = 0
    found_as_well: int = 0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Errors:
    """Errors by TIDE's definitions: IoU 0.5, background 0.1, 100 detections per image, crowds ignored.

    Attributes:
        kind: boxes or masks.
        ap50: AP50 of the 100 best detections of each image, in points (0..100): mean over classes with objects; None
            without any, and then nothing is lost.
        lost: points of AP50 that each type costs (what the AP gains if only that type is corrected).
        false_positives, false_negatives: points that all false detections, and all missed objects, cost.
        by_class: ``lost`` of each class's own AP50 by raw category id, for classes with objects.
        counts: number of errors by type; a detection on a crowd is none.
    """

    kind: Kind
    ap50: float | None
    lost: Mapping[ErrorType, float]
    false_positives: float
    false_negatives: float
    by_class: Mapping[int, Mapping[ErrorType, float]]
    counts: Mapping[ErrorType, int]


@dataclass(frozen=True)
class ReliabilityBin:
    """Detections whose score lies in one of ten equal bins (the last includes 1).

    Attributes:
        low, high: bounds of the scores.
        detections: number of them.
        mean_score: mean of their scores; None without detections.
        precision: share that matches an object of its class at IoU 0.5; None without detections.
    """

    low: float
    high: float
    detections: int
    mean_score: float | None
    precision: float | None


@dataclass(frozen=True)
class ScoreError:
    """Adjacent bins with at least 20 detections each, whose mean scores are all too high or all too low by over 0.1.

    Attributes:
        low, high: bounds of the scores.
        detections: number of them.
        excess: their mean score minus their precision.
    """

    low: float
    high: float
    detections: int
    excess: float


@dataclass(frozen=True)
class ShownObject:
    """Object or detection of a shown image.

    Attributes:
        role: see :data:`Role`.
        category: raw category id.
        name: class name.
        score: 0..1; None for an object.
        box: x, y, width, height in pixels of the original image.
        index: position among the detections (true, false) or annotations (missed, object) of the evaluation, from which
            a picture takes the mask.
        error: type of a false detection's error, without the limit to 100 detections per image; None for others.
        other_class: class name of the object that it overlaps most, where that has another class (Cls, Both).
    """

    role: Role
    category: int
    name: str
    score: float | None
    box: tuple[float, float, float, float]
    index: int
    error: ErrorType | None = None
    other_class: str | None = None


@dataclass(frozen=True)
class ShownImage:
    """Image in one of the four lists.

    Attributes:
        image_id: id in the annotation file.
        f1: of the image at the chosen score; 1 without objects and detections.
        objects: all detections from the chosen score on, and all objects; the one that put the image into its list
            first.
        picture: ``data:`` URL of the drawn image; None if the records are gone or the page's bytes are used up.
    """

    image_id: int | str
    f1: float
    objects: tuple[ShownObject, ...]
    picture: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Analysis of one evaluation, on the images that it saw.

    Attributes:
        step: name of the step, or of the directory.
        model: path of the model.
        kind: comparison that counts where boxes and masks aren't both named: masks, or boxes if there are no masks.
        images, objects, detections: numbers of evaluated images, their objects without crowds, and detections. Objects
            without a usable mask are left out where masks count.
        metrics: box and mask metrics as in metrics.json, as fractions; -1 if undefined.
        ap50: AP50 of the detections, computed again, under the names in metrics.json.
        classes: in the order of their ids.
        precision_recall: at IoU 0.5 and 0.75.
        operating_point: counts pooled over classes.
        confusion: None if nothing was detected and there is no score.
        errors: for boxes, and for masks if there are any.
        reliability: ten bins.
        score_errors: scores that aren't reliable, ascending; None if no bin has 20 detections.
        most_detections: largest number of detections, of any score, in one image.
        images_with_most: number of images that have so many; 0 without detections.
        worst: the twelve images with the lowest F1.
        confident_false: the twelve false detections with the highest scores.
        missed: the twelve largest missed objects.
        random: twelve images with a fixed seed.
        pictures_missing: reason why shown images have no picture, one sentence; None if all have one.
    """

    step: str
    model: str
    kind: Kind
    images: int
    objects: int
    detections: int
    metrics: Mapping[str, float]
    classes: tuple[ClassAnalysis, ...]
    precision_recall: tuple[PrecisionRecall, ...]
    operating_point: OperatingPoint
    confusion: Confusion | None
    errors: tuple[Errors, ...]
    reliability: tuple[ReliabilityBin, ...]
    worst: tuple[ShownImage, ...] = ()
    confident_false: tuple[ShownImage, ...] = ()
    missed: tuple[ShownImage, ...] = ()
    random: tuple[ShownImage, ...] = ()
    pictures_missing: str | None = None
    ap50: Mapping[str, float] = field(default_factory=dict)
    score_errors: tuple[ScoreError, ...] | None = None
    most_detections: int = 0
    images_with_most: int = 0


@dataclass(frozen=True)
class Experiment:
    """One experiment or results directory.

    Attributes:
        name: of the directory.
        differences: fields of the spec that differ from their defaults (default, value); None if not recorded.
        data: data sets.
        facts: texts by label, such as hardware, seed, versions, and duration.
        trainings: in the order of their steps.
        models: every model, side by side.
        evaluation: of the step that the report is about; None if no evaluation can be read.
        notes: what can't be read, one sentence each.
        spec_step: step whose spec the differences are about: the training of the evaluated model, else the last
            training, else the evaluation; None if no spec is recorded.
        better: the best other model, if its AP is at least 1 point higher than that of the evaluated one; else None.
    """

    name: str
    differences: tuple[FieldDifference, ...] | None
    data: tuple[DataSet, ...]
    facts: Mapping[str, str]
    trainings: tuple[TrainingHistory, ...]
    models: tuple[ModelRow, ...]
    evaluation: Evaluation | None
    notes: tuple[str, ...] = ()
    spec_step: str | None = None
    better: BetterModel | None = None


@dataclass(frozen=True)
class Report:
    """One page.

    Attributes:
        title: heading.
        created: time in UTC, ISO 8601.
        version: of this package.
        experiments: one, or several side by side.
        differences: fields of the spec that differ between several experiments, one value for each; empty for one.
        comparable: whether all experiments were evaluated on the same validation set; None if that isn't recorded.
    """

    title: str
    created: str
    version: str
    experiments: tuple[Experiment, ...]
    differences: tuple[FieldDifference, ...] = ()
    comparable: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``; pictures are left out."""
        content: dict[str, Any] = _without_pictures(asdict(self))
        return {"generator": GENERATOR, **content}


def _without_pictures(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _without_pictures(part) for name, part in value.items() if name != "picture"}
    return [_without_pictures(part) for part in value] if isinstance(value, list | tuple) else value
