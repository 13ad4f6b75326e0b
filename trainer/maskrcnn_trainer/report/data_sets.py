"""Counts of the training and the validation set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.coco_results import ImageId
from maskrcnn_trainer.report.content import ClassCount, DataSet
from maskrcnn_trainer.report.inputs.experiment_directory import ExperimentDirectory
from maskrcnn_trainer.report.inputs.files import whole
from maskrcnn_trainer.report.inputs.step import Step
from maskrcnn_trainer.results.facts import ConversionFacts, read_conversion_facts
from maskrcnn_trainer.shared.messages import RECORDS_ARTIFACT
from maskrcnn_trainer.spec.task_name import TaskName

SMALL_AREA, LARGE_AREA = 32**2, 96**2
"""COCO's bounds of the areas in pixels (https://cocodataset.org/#detection-eval)."""

TRAINING, VALIDATION = "training", "validation"
_WORDS = {TRAINING: "train", VALIDATION: "val"}
"""Words in the names of their files; "trainval" is a training set."""

IMAGES = "images"
"""Metric of a conversion, for results of earlier releases, which have no facts."""


def conversion_of(found: ExperimentDirectory, patterns: str | None) -> Step | None:
    """Return the conversion whose records a file pattern of the spec names; None if there is none.

    Args:
        found: steps of the experiment.
        patterns: ``trainingFilePattern`` or ``validationFilePattern``.
    """
    wanted = [str(found.paths.present(part.strip())) for part in (patterns or "").split(",") if part.strip()]
    for step in found.of(TaskName.DATASET_CONVERT):
        records = step.artifacts.get(RECORDS_ARTIFACT)
        if records is None:
            continue
        shard = str(found.paths.present(records.path)).replace("-*-of-", "-00000-of-")
        if any(fnmatchcase(shard, pattern) for pattern in wanted):
            return step
    return None


def conversion_by_tag(found: ExperimentDirectory, name: str) -> Step | None:
    """Return the conversion of a data set by the prefix of its records, for a spec that isn't recorded.

    The prefix is the option -t, or the name of the annotation file, such as ``instances_train2017``.

    Args:
        found: steps of the experiment.
        name: "training" or "validation".

    Returns:
        None if no conversion has such a prefix, or several have. The only conversion is that of the training set,
        unless its prefix is that of a validation set.
    """
    conversions = found.of(TaskName.DATASET_CONVERT)
    of_set = [step for step in conversions if _set_of(step) == name]
    if len(of_set) == 1:
        return of_set[0]
    alone = name == TRAINING and len(conversions) == 1 and _set_of(conversions[0]) is None
    return conversions[0] if alone else None


def _set_of(conversion: Step) -> str | None:
    records = conversion.artifacts.get(RECORDS_ARTIFACT)
    tag = "" if records is None else PurePosixPath(records.path).name.partition("-*-of-")[0].lower()
    return next((name for name, word in _WORDS.items() if word in tag), None)


def data_set(name: str, conversion: Step | None, *, images: int | None, identity: str | None) -> DataSet | None:
    """Return what is recorded of a data set; None if nothing is.

    Args:
        name: "training" or "validation".
        conversion: the step that converted it.
        images: number of images that another step recorded, for a conversion that isn't there.
        identity: digest of its content.
    """
    classes: tuple[ClassCount, ...] = ()
    if conversion is not None:
        facts = read_conversion_facts(conversion.directory)
        if isinstance(facts, ConversionFacts):
            images = facts.images
            classes = tuple(
                ClassCount(one.id, one.name, one.objects, one.small, one.medium, one.large)
                for one in facts.classes or ()
            )
        else:
            recorded = whole(conversion.metrics.get(IMAGES))
            images = images if recorded is None else recorded
    if images is None and identity is None:
        return None
    return DataSet(name, images, classes, identity)


def counted(ground_truth: GroundTruth, image_ids: Iterable[ImageId]) -> tuple[ClassCount, ...]:
    """Return the objects of some images by class and by COCO's areas, without crowds; every class has an entry."""
    totals: Counter[int] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    for image_id in image_ids:
        for annotation in ground_truth.of_image(image_id):
            if not annotation["iscrowd"]:
                category, area = annotation["category_id"], annotation["area"]
                totals[category] += 1
                sizes[category, (area >= SMALL_AREA) + (area >= LARGE_AREA)] += 1
    return tuple(
        ClassCount(category, name or str(category), totals[category], *(sizes[category, size] for size in range(3)))
        for category, name in sorted(ground_truth.category_names.items())
    )
