"""First section: the main numbers, and what to do next."""

from __future__ import annotations

from maskrcnn_trainer.report.content import Evaluation, Experiment
from maskrcnn_trainer.report.page.advice import findings
from maskrcnn_trainer.report.page.class_lines import kinds_of
from maskrcnn_trainer.report.page.layout import Nesting, Section, heading, named, note, paragraph, sentence
from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.models import METRICS
from maskrcnn_trainer.report.page.numbers import NOT_RECORDED, count, fraction

IN_WORDS = {"mask_AP": "IoU 0.50 to 0.95", "mask_AP50": "IoU 0.50", "AP": "IoU 0.50 to 0.95", "AP50": "IoU 0.50"}


def summary(experiment: Experiment, place: Nesting) -> Section:
    """Return the section with the main numbers and the findings."""
    evaluation = experiment.evaluation
    if evaluation is None:
        content = [
            note("No evaluation can be read, so there are no metrics."),
            *(note(text) for text in experiment.notes),
            note("AP of the checkpoints is in the ", place.link("training", "training curves"), ".")
            if any(history.evaluations for history in experiment.trainings) else None,
        ]  # fmt: skip
        return Section("summary", "Summary", joined(content))
    notes = [
        note("There are notes on the inputs, such as files that can't be read: see ", place.link("setup", "the notes"),
             ".")
    ] if experiment.notes else []  # fmt: skip
    found = findings(experiment, place)
    parts = [
        paragraph("Evaluation of ", element("code", evaluation.model), " by step ", named(evaluation.step), " on its "
                  "validation images. Metrics go from 0 to 1; one point is 0.01."),
        _other_evaluations(experiment, evaluation, place),
        _tiles(evaluation),
        _uncertainty(evaluation),
        heading(place, "What to do next") if found else None,
        element("ol", *found, class_="next") if found else None,
        *notes,
    ]  # fmt: skip
    return Section("summary", "Summary", joined(parts))


def _other_evaluations(experiment: Experiment, evaluation: Evaluation, place: Nesting) -> Markup | None:
    steps = dict.fromkeys(row.evaluation for row in experiment.models if row.evaluation is not None)
    others = [named(step) for step in steps if step != evaluation.step]
    if not others:
        return None
    return paragraph(
        "The experiment has other evaluations, by ", sentence(others), "; their metrics are in the ",
        place.link("models", "table of models"), ". ", element("code", "maskrcnn report -r DIR"), " with the directory "
        "of one of these steps makes a page about it.",
    )  # fmt: skip


def _tiles(evaluation: Evaluation) -> Markup:
    tiles = [
        (name, _metric(evaluation.metrics.get(key)), IN_WORDS[key])
        for key, name in METRICS if key.startswith("mask_") <= ("segm" in kinds_of(evaluation.metrics))
    ]  # fmt: skip
    point = evaluation.operating_point
    at = "nothing was detected"
    if point.best_score is not None:
        at = f"at score {fraction(point.best_score)}, picked on this set"
    tiles += [
        ("best F1", fraction(point.best_f1), at),
        ("images", count(evaluation.images), "evaluated"),
        ("objects", count(evaluation.objects), "without crowds"),
        ("detections", count(evaluation.detections), _in_images(evaluation)),
    ]
    return element("dl", *(
        element("div", element("dt", name), element("dd", element("b", number), element("small", meaning)))
        for name, number, meaning in tiles
    ), class_="tiles")  # fmt: skip


def _uncertainty(evaluation: Evaluation) -> Markup | None:
    point = evaluation.operating_point
    if point.best_score is None or point.recall_interval is None or point.best_score not in point.scores:
        return None
    low, high = point.recall_interval
    recall = point.recall[point.scores.index(point.best_score)]
    return paragraph(
        f"Recall at the best score is {fraction(recall)}, with a 95% interval from {fraction(low)} to {fraction(high)} "
        f"(Wilson's, of {count(evaluation.objects)} objects as if they were independent): a difference from another "
        "model within it may be chance."
    )


def _in_images(evaluation: Evaluation) -> str:
    most, images = evaluation.most_detections, evaluation.images_with_most
    if not most:
        return "of any score"
    if images == evaluation.images:
        return f"of any score, {count(most)} in each image"
    return f"of any score, at most {count(most)} in an image, so many in {count(images)}"


def _metric(value: float | None) -> str:
    return NOT_RECORDED if value is None else fraction(value)
