"""Findings of an experiment in words, each with what one does about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from maskrcnn_trainer.report.content import Errors, ErrorType, Evaluation, Experiment, TrainingHistory
from maskrcnn_trainer.report.page.class_lines import KIND_NAMES, by_metric, in_words, metric
from maskrcnn_trainer.report.page.confusion import confused_pairs
from maskrcnn_trainer.report.page.errors import errors_of
from maskrcnn_trainer.report.page.layout import Nesting, named, sentence
from maskrcnn_trainer.report.page.line_chart import Point
from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.numbers import count, fraction, percent, points, threshold
from maskrcnn_trainer.report.page.scales import is_drawn
from maskrcnn_trainer.report.page.thresholds import classes_of_their_own, how_exact
from maskrcnn_trainer.report.page.training import checkpoints, curve_points, training_of

COSTS: Mapping[ErrorType, str] = {
    "Cls": "Class confusion costs",
    "Loc": "Bad localization costs",
    "Both": "Wrong class and bad localization at once cost",
    "Dupe": "Duplicate detections cost",
    "Bkg": "Detections on the background cost",
    "Miss": "Missed objects cost",
}
NAMES: Mapping[ErrorType, str] = {
    "Cls": "class confusion",
    "Loc": "localization",
    "Both": "class and localization at once",
    "Dupe": "duplicates",
    "Bkg": "background",
    "Miss": "missed objects",
}
NEXT: Mapping[ErrorType, tuple[str, str, str]] = {
    "Cls": (
        "Objects are found, but named as another class. See which classes in the ", "confusion",
        "; check their labels, then add training images in which they differ.",
    ),
    "Loc": (
        "The class is right, but box or mask covers the object badly. Look at the ", "images",
        "; check that the annotations are tight, then try a larger dataConfig.imageSize or a longer training.",
    ),
    "Both": (
        "Detections have the wrong class and cover an object badly. Look at the ", "images",
        "; check the labels, then train longer or on more images.",
    ),
    "Dupe": (
        "Objects are detected several times. Look at the ", "images",
        "; try a lower maskrcnnConfig.testNms.",
    ),
    "Bkg": (
        "Detections lie where no object is annotated. Look at the most confident false detections in the ", "images",
        "; annotate what was forgotten, or add training images with such backgrounds.",
    ),
    "Miss": (
        "Objects aren't detected. Look at the largest missed objects in the ", "images",
        ", and at AP by size; try a larger dataConfig.imageSize, a smaller maskrcnnConfig.anchorScale, or more images.",
    ),
}  # fmt: skip
"""Meaning of a type of error, the section that shows it, and what one does about it."""

USE_BETTER = "use that one instead of this one, unless this one's size or speed matters more."
SMALLER_MODELS: Mapping[str, str] = {
    "pruned": "retrain this one, or prune less.",
    "retrained": "retrain this one for more steps, or prune less.",
    "trained": USE_BETTER,
    "not recorded": USE_BETTER,
    "": USE_BETTER,
}
EXPORTED_MODEL = (
    "check the export of this one. If the model that it was made of is as low, retrain that one for more steps, or "
    "prune less; else export with a larger data type, or calibrate INT8 on more images."
)
"""What one does if another model is better, by the kind of this one; all other kinds are exports."""

LINKS = {"confusion": "confusion matrix", "images": "images"}
SMALLEST_COST = 0.05
"""Points below which a cost is shown as 0.0."""

FEWEST_EVALUATIONS = 3

SMALLEST_CHANGE = 0.005
"""Difference of AP between two checkpoints from which on it counts as a change."""


def findings(experiment: Experiment, place: Nesting) -> list[Markup]:
    """Return what one should know as entries of a list, in the order in which to look at them.

    Without an evaluation there are none.
    """
    evaluation = experiment.evaluation
    if evaluation is None:
        return []
    key = metric(evaluation.kind, "AP")
    short = [history for history in experiment.trainings if len(_measured(history, key)) < FEWEST_EVALUATIONS]
    long = [history for history in experiment.trainings if history not in short]
    found = [*_nothing_to_measure(evaluation, place)] or [
        *_falling_losses(short, place),
        *_largest_error(evaluation, place),
        *_confusion(evaluation, place),
        *_lowest_class(experiment, evaluation, place),
        *_threshold(evaluation, place),
        *_falling_losses(long, place),
        *_last_checkpoint(experiment, evaluation, place),
    ]
    return [element("li", finding) for finding in (*_better_model(experiment, evaluation, place), *found)]


def ranked_types(found: Errors | None) -> list[ErrorType]:
    """Return the types of errors that cost something, the most costly first."""
    if found is None:
        return []
    return sorted(
        (kind for kind, cost in found.lost.items() if cost >= SMALLEST_COST), key=lambda kind: -found.lost[kind]
    )


def _better_model(experiment: Experiment, evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    better = experiment.better
    if better is None:
        return
    model = ["step ", named(better.step)] if better.step else [element("code", better.path)]
    yield joined([
        element("b", "The model of ", *model,
                f" is {points(better.gain)} points of {KIND_NAMES[evaluation.kind]} AP better ({fraction(better.ap)})"),
        ": ", SMALLER_MODELS.get(better.shown_kind.partition(",")[0], EXPORTED_MODEL), " See ",
        place.link("models", "all models"), ".",
    ])  # fmt: skip


def _nothing_to_measure(evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    if evaluation.objects == 0:
        yield Markup("The evaluated images have no objects, so nothing can be measured. Check the annotation file.")
    elif evaluation.detections == 0:
        link = place.link("training", "training curves")
        yield joined([
            element("b", "Nothing was detected."), " Check in the ", link, " that the loss fell, and that the model "
            "has these classes.",
        ])  # fmt: skip


def _largest_error(evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    found = errors_of(evaluation, evaluation.kind)
    ranked = ranked_types(found)
    if found is None or not ranked:
        return
    first = ranked[0]
    before, target, after = NEXT[first]
    ap50 = f"{KIND_NAMES[evaluation.kind]} AP50"
    yield joined([
        element("b", f"{COSTS[first]} {points(found.lost[first])} points of {ap50}"),
        f" ({ap50} is {points(found.ap50)} points of 100). ", before, place.link(target, LINKS[target]), after,
        *_others(found, ranked[1:], place),
    ])  # fmt: skip


def _others(found: Errors, others: Sequence[ErrorType], place: Nesting) -> list[str]:
    if not others:
        return []
    costs = sentence([f"{NAMES[kind]} {points(found.lost[kind])}" for kind in others])
    return [" The ", place.link("errors", "other errors"), " and their cost: ", costs, "."]


def _confusion(evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    pairs = confused_pairs(evaluation.confusion) if evaluation.confusion else []
    if not pairs:
        return
    first = pairs[0]
    interval = evaluation.confusion.interval if evaluation.confusion else None
    parts = (f"{count(first.objects)} × ", named(first.truth), " was detected as ", named(first.detected))
    yield joined([
        "The most frequent confusion: ", element("b", *parts), f", {percent(first.share)} of its objects",
        None if interval is None else f" (95% interval {percent(interval[0])} to {percent(interval[1])})",
        ". The other pairs are below the ", place.link("confusion", "confusion matrix"), ".",
    ])  # fmt: skip


def _lowest_class(experiment: Experiment, evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    ranked = by_metric(evaluation)
    if len(ranked) < 2:
        return
    lowest, highest = ranked[-1], ranked[0]
    key = metric(evaluation.kind, "AP50")
    classes = (row for data in experiment.data if data.name == "training" for row in data.classes)
    trained = next((row.objects for row in classes if row.category == lowest.category), None)
    yield joined([
        element("b", "The class ", named(lowest.name), f" has the lowest {in_words(key)}: ",
                fraction(lowest.metrics[key])),
        f", with {count(lowest.objects)} objects here",
        None if trained is None else f" and {count(trained)} in the training set",
        ". The highest has ", named(highest.name), f" with {fraction(highest.metrics[key])}. See ",
        place.link("metrics", "all classes"), ".",
    ])  # fmt: skip


def _threshold(evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    point = evaluation.operating_point
    if point.best_score is None or not point.best_f1:
        return
    at = point.scores.index(point.best_score) if point.best_score in point.scores else None
    parts = "" if at is None else f" (precision {fraction(point.precision[at])}, recall {fraction(point.recall[at])})"
    classes = classes_of_their_own(evaluation)
    yield joined([
        element("b", f"F1 is highest from a score of {fraction(point.best_score)} on: {fraction(point.best_f1)}"),
        parts, ". The score was picked on this very set. ", how_exact(point), " Use it as the threshold of an "
        "inference (",
        element("code", f"threshold: {threshold(point.best_score)}"), " in a step, ",
        element("code", f"-t {threshold(point.best_score)}"), " in a command); see ",
        place.link("f1", "F1 over the score"), ".", *([" ", classes] if classes else []),
    ])  # fmt: skip


def _falling_losses(trainings: Sequence[TrainingHistory], place: Nesting) -> Iterator[Markup]:
    for history in trainings:
        if history.loss_fall is not None:
            yield joined([
                element("b", "The loss of step ", named(history.step), " still fell by ", percent(history.loss_fall),
                        " in the last fifth of its steps"),
                ": train for more steps. See the ",
                place.link("training", "training curves"), ".",
            ])  # fmt: skip


def _measured(history: TrainingHistory, key: str) -> list[Point]:
    """Return the values of a metric over the checkpoints as (value, step)."""
    return [(y, x) for curve in checkpoints(history, key) for x, y in curve_points(curve) if is_drawn(y)]


def _last_checkpoint(experiment: Experiment, evaluation: Evaluation, place: Nesting) -> Iterator[Markup]:
    history = training_of(experiment)
    key = metric(evaluation.kind, "AP")
    values = _measured(history, key) if history else []
    if history is None or not values:
        return
    best, last = max(values), values[-1]
    name = in_words(key).capitalize().replace("ap", "AP")
    link = place.link("training", "training curves")
    if len(values) < FEWEST_EVALUATIONS:
        measured = "once" if len(values) == 1 else "twice"
        yield joined([
            f"{name} was measured only {measured} during step ", named(history.step), ", so it isn't known whether a "
            "longer training improves it. Set numStepsPerEval to a fifth of the training steps, and see the ", link,
            ".",
        ])  # fmt: skip
    elif best[0] - last[0] < SMALLEST_CHANGE and last[0] - values[-2][0] < SMALLEST_CHANGE:
        yield joined([
            f"{name} no longer rose at the end of step ", named(history.step), f" ({fraction(last[0])} at training "
            f"step {last[1]:,.0f}): more steps alone are unlikely to improve it. See the ", link, ".",
        ])  # fmt: skip
    elif best == last:
        yield joined([
            element("b", f"{name} was still rising at the end of step ", named(history.step)),
            f" ({fraction(last[0])} at training step {last[1]:,.0f}): a longer training may improve it. See the ",
            link, ".",
        ])  # fmt: skip
    else:
        yield joined([
            f"{name} of the checkpoints of step ", named(history.step), f" was highest at training step {best[1]:,.0f} "
            f"({fraction(best[0])}); at the last one it is {fraction(last[0])}. To keep the best one, set ",
            element("code", "train: {output: best}"), ". See the ", link, ".",
        ])  # fmt: skip
