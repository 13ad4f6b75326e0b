"""Section with the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.report.content import Confusion, Evaluation
from maskrcnn_trainer.report.page.class_lines import KIND_NAMES
from maskrcnn_trainer.report.page.heat_map import LARGEST_WITH_NUMBERS, heat_legend, heat_map
from maskrcnn_trainer.report.page.layout import Nesting, Section, figure, heading, long_table, note, paragraph, table
from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.numbers import DASH, count, fraction, percent

BACKGROUND = "background"
MOST_DRAWN = 100
MOST_CONFUSIONS = 20


@dataclass(frozen=True)
class ConfusedPair:
    """Objects of one class that were detected as another.

    Attributes:
        truth, detected: class names.
        objects: number of them.
        share: of the entries of the class in the matrix; None if undefined.
    """

    truth: str
    detected: str
    objects: int
    share: float | None


def confusion(evaluation: Evaluation, place: Nesting) -> Section:
    """Return the section with counts and normalized counts, and the largest confusions."""
    matrix = evaluation.confusion
    title = "Confusion matrix"
    if matrix is None:
        return Section(
            "confusion", title, note("Nothing was detected, so there is no score from which detections count.")
        )
    kind = KIND_NAMES[evaluation.kind]
    lead = (
        f"Rows are the truth, columns the detections with a score of at least {fraction(matrix.score)} (the best "
        f"score). Within an image the detections are matched by descending score: each takes the unmatched object with "
        f"the highest {kind} IoU of at least 0.5, whatever its class. The column “background” has missed objects, the "
        f"row “background” has detections that match no object. A detection that matches nothing but lies on a crowd "
        f"of its class counts nowhere. Of each class in each image the 100 best detections count."
    )
    advice = (
        "Counts off the diagonal are mistakes. Where two classes are confused, check their labels first, then add "
        "training images in which they differ."
    )
    parts = [
        paragraph(lead),
        paragraph(advice),
        *_remarks(matrix),
        *_maps(matrix),
        heading(place, "Largest confusions"),
        _largest(matrix),
    ]
    if len(matrix.names) + 1 > LARGEST_WITH_NUMBERS:
        parts += [
            heading(place, "Found, missed, and false by class"),
            paragraph("The class with the smallest share found first."),
            _by_class(matrix),
        ]
    return Section("confusion", title, joined(parts))


def _remarks(matrix: Confusion) -> list[Markup]:
    """Return what the matrix doesn't show: where false detections are, and which confused objects are found as well."""
    size = len(matrix.names)
    false = sum(matrix.counts[size])
    confused = sum(matrix.counts[row][column] for row in range(size) for column in range(size) if row != column)
    remarks = []
    if confused:
        remarks.append(
            f"Of the {count(confused)} objects that are detected as another class, {count(matrix.found_as_well)} also "
            "have a right detection with a lower score. F1, precision, and recall match within each class, so they "
            "count these objects as found, and their recall is higher than the diagonal."
        )
    if false:
        remarks.append(
            f"Of the {count(false)} false detections, {count(matrix.on_taken)} lie on an object that a detection with "
            f"a higher score has taken, {count(matrix.misplaced)} are badly placed (IoU 0.1 to 0.5), and "
            f"{count(matrix.on_nothing)} are where nothing is annotated."
        )
    return [paragraph(remark) for remark in remarks]


def confused_pairs(matrix: Confusion) -> list[ConfusedPair]:
    """Return all pairs of different classes with a count, the largest first; of equals that with the larger share."""
    pairs = [
        ConfusedPair(truth, detected, matrix.counts[row][column], _share(matrix, row, column))
        for row, truth in enumerate(matrix.names)
        for column, detected in enumerate(matrix.names)
        if row != column and matrix.counts[row][column] > 0
    ]
    return sorted(pairs, key=lambda pair: (-pair.objects, -(pair.share or 0.0)))


def _maps(matrix: Confusion) -> list[Markup]:
    names = (*matrix.names, BACKGROUND)
    if len(matrix.names) > MOST_DRAWN:
        return [
            note(f"The matrix is not drawn, because there are more than {MOST_DRAWN} classes; it is in report.json.")
        ]
    size = range(len(names))
    shares = [[_share(matrix, row, column) for column in size] for row in size]
    counts = [[count(matrix.counts[row][column]) for column in size] for row in size]
    percents = [[DASH if share is None else percent(share) for share in row] for row in shares]
    if matrix.counts:
        counts[-1][-1] = percents[-1][-1] = ""

    def describe(row: int, column: int) -> str:
        return f"{names[row]} detected as {names[column]}: {counts[row][column]} ({percents[row][column]} of the row)"

    if len(names) > LARGEST_WITH_NUMBERS:
        drawn = heat_map("Confusion matrix", names, shares, counts, describe)
        caption = "Each row is divided by its sum. Numbers are in the tables below, and where the pointer is on a cell."
        return [figure("Normalized", joined([drawn, heat_legend()]), caption, wide=True)]
    drawn = heat_map("Confusion matrix, counts", names, shares, counts, describe)
    normalized = heat_map("Confusion matrix, normalized", names, shares, percents, describe)
    counted = figure("Counts", joined([drawn, heat_legend()]), "Objects; false detections in the last row.", wide=True)
    shared = figure("Normalized", joined([normalized, heat_legend()]), "Each row is divided by its sum.", wide=True)
    return [element("div", counted, shared, class_="maps")]


def _largest(matrix: Confusion) -> Markup:
    pairs = confused_pairs(matrix)
    if not pairs:
        return paragraph("No object was detected as another class.")
    rows = [(pair.truth, pair.detected, count(pair.objects), percent(pair.share)) for pair in pairs[:MOST_CONFUSIONS]]
    headers = ("truth", "detected as", "objects", "share of the row")
    return table(headers, rows, label="Largest confusions", texts=2)


def _by_class(matrix: Confusion) -> Markup:
    headers = ("class", "found", "share found", "missed", "share missed", "false detections")
    last = len(matrix.names)
    rows = [
        (name, count(matrix.counts[row][row]), percent(_share(matrix, row, row)),
         count(matrix.counts[row][last]), percent(_share(matrix, row, last)), count(matrix.counts[last][row]))
        for row, name in sorted(enumerate(matrix.names), key=lambda item: _found_share(matrix, item[0]))
    ]  # fmt: skip
    return long_table(headers, rows, label="Found, missed, and false by class")


def _found_share(matrix: Confusion, row: int) -> float:
    """Return the share of a class that is found, 2 without objects: such a class comes last."""
    share = _share(matrix, row, row)
    return 2.0 if share is None else share


def _share(matrix: Confusion, row: int, column: int) -> float | None:
    shares = matrix.normalized[row]
    return None if shares is None else shares[column]
