"""The page: one HTML text with all sections, without a script and without anything that is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from maskrcnn_trainer.report.content import Experiment, Report
from maskrcnn_trainer.report.page.accuracy import accuracy
from maskrcnn_trainer.report.page.confusion import confusion
from maskrcnn_trainer.report.page.curves import operating_point, precision_recall
from maskrcnn_trainer.report.page.errors import errors
from maskrcnn_trainer.report.page.layout import Nesting, Section
from maskrcnn_trainer.report.page.markup import Markup, element, joined, shortened
from maskrcnn_trainer.report.page.models import models
from maskrcnn_trainer.report.page.pictures import pictures
from maskrcnn_trainer.report.page.reliability import reliability
from maskrcnn_trainer.report.page.setup import setup
from maskrcnn_trainer.report.page.side_by_side import side_by_side
from maskrcnn_trainer.report.page.styles import style_sheet
from maskrcnn_trainer.report.page.summary import summary
from maskrcnn_trainer.report.page.training import training
from maskrcnn_trainer.results.report_files import GENERATOR

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy: a browser loads nothing and runs no script, whatever the page has in it."""

LONGEST_TITLE = 200


def page(report: Report) -> str:
    """Return a report as HTML, which is to be written as UTF-8.

    The page needs nothing else: styles and charts are inline, pictures are ``data:`` URLs of the content. All names and
    values of the content are shown as text. A picture that isn't a PNG, JPEG, or WebP as a ``data:`` URL is left out.
    """
    several = len(report.experiments) > 1
    places = [Nesting(f"e{number}-", 3) if several else Nesting() for number in range(1, len(report.experiments) + 1)]
    drawn = [sections(experiment, place) for experiment, place in zip(report.experiments, places, strict=True)]
    parts: list[Markup] = []
    links: list[Markup] = []
    if several:
        comparison = side_by_side(report, places)
        parts.append(comparison.drawn(Nesting()))
        links.append(element("li", Nesting().link(comparison.name, comparison.title)))
    for experiment, place, found in zip(report.experiments, places, drawn, strict=True):
        contents = [element("li", place.link(section.name, section.title)) for section in found]
        body = joined(section.drawn(place) for section in found)
        if several:
            name = shortened(experiment.name, LONGEST_TITLE)
            links.append(element("li", place.link("experiment", name)))
            contents_here = element("nav", element("ul", *contents), aria_label=f"Contents of {name}")
            body = element("article", element("h2", name), contents_here, body, id=place.anchor("experiment"))
        else:
            links += contents
        parts.append(body)
    return _document(report, links, parts)


def sections(experiment: Experiment, place: Nesting) -> list[Section]:
    """Return the sections of one experiment in their order; those about an evaluation only if there is one."""
    found = [summary(experiment, place)]
    evaluation = experiment.evaluation
    evaluated = None if evaluation is None else evaluation.step
    if evaluation is not None:
        found += [
            errors(evaluation, place),
            confusion(evaluation, place),
            accuracy(experiment, evaluation, place),
            precision_recall(evaluation),
            operating_point(evaluation, place),
            reliability(evaluation),
            pictures(evaluation, place),
        ]
    return [*found, training(experiment, place), setup(experiment, place), models(experiment.models, evaluated)]


def _document(report: Report, links: Iterable[Markup], parts: Iterable[Markup]) -> str:
    title = shortened(report.title, LONGEST_TITLE)
    head = element(
        "head",
        element("meta", name="generator", content=GENERATOR),
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style_sheet())),
    )
    created = element(
        "p", f"Created {report.created} by maskrcnn-operator {report.version}. Every number of this page is in "
        f"the .json file next to it.", class_="created",
    )  # fmt: skip
    header = element("header", element("h1", title), created)
    contents = element("nav", element("ul", *links), aria_label="Contents")
    body = element("body", header, contents, element("main", *parts))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
