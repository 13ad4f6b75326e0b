"""A report from directories: its content, and the two files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.report.content import Experiment, Report
from maskrcnn_trainer.report.experiment import ReadExperiment, read_experiment
from maskrcnn_trainer.report.inputs.experiment_directory import ExperimentDirectory
from maskrcnn_trainer.report.page.page import page
from maskrcnn_trainer.report.pictures import PictureSource, with_pictures, without_pictures
from maskrcnn_trainer.report.spec_differences import differences_between
from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.task.files import compact_json, write_atomically

log = logging.getLogger(__name__)

LARGEST_REPORT = 8_000_000
"""Bytes of the page: it is still opened at once, and can be sent by mail."""

TEXT_OF_EXPERIMENT = 750_000
"""Bytes that are kept free for the text and charts of one experiment: 484,617 with 80 classes."""

MOST_PARTS = 10
"""Parts of a path in the name of an experiment."""

TOO_LARGE_WITH_PICTURES = f"with them the page would exceed {LARGEST_REPORT // 1_000_000} MB"


def make_report(directories: Sequence[ExperimentDirectory]) -> tuple[Report, str]:
    """Return the report about one experiment, or about several side by side, and its page.

    The experiments are read one after the other, so that only the detections of one are in memory.

    Raises:
        InvalidInput: the page would be too large.
    """
    budget = max(0, LARGEST_REPORT - TEXT_OF_EXPERIMENT * (len(directories) + 1)) // len(directories)
    read = []
    for directory in directories:
        log.info("Reading %s", directory.path)
        read.append(_without_inputs(read_experiment(directory), budget))
    names = _distinct([one.experiment.name for one in read], [one.directory.path for one in read])
    experiments = [replace(one.experiment, name=name) for one, name in zip(read, names, strict=True)]
    report = Report(
        title=", ".join(names),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=version(),
        experiments=tuple(experiments),
        differences=differences_between([one.spec for one in read]) if len(read) > 1 else (),
        comparable=comparable(read) if len(read) > 1 else None,
    )
    text = page(report)
    if len(text.encode()) > LARGEST_REPORT:
        report = replace(report, experiments=tuple(_without(experiment) for experiment in experiments))
        text = page(report)
    if len(text.encode()) > LARGEST_REPORT:
        raise InvalidInput(
            f"the page would have {len(text.encode()) / 1e6:.1f} MB, more than {LARGEST_REPORT // 1_000_000}; give "
            "fewer directories"
        )
    return report, text


def comparable(read: Sequence[ReadExperiment]) -> bool | None:
    """Return whether experiments were evaluated on the same images and annotations; None if that isn't recorded.

    The digest of images and annotations is compared where all can be read, else the recorded identity. That also covers
    the inference settings, so it may differ for the same validation set; then the answer is None.
    """
    digests = {one.validation for one in read}
    if None not in digests:
        return len(digests) == 1
    recorded = {one.recorded_validation for one in read}
    return True if len(recorded) == 1 and None not in recorded else None


def write_report(report: Report, text: str, file: Path) -> None:
    """Write the page, and ``.json`` with all its numbers next to it, each atomically; neither if one can't be written.

    Raises:
        OSError: one can't be written.
        WorkspaceFull: no space is left.
    """
    numbers = compact_json(report.to_json()) + b"\n"
    content = text.encode()
    write_atomically(file.with_suffix(".json"), numbers)
    try:
        write_atomically(file, content)
    except BaseException:
        file.with_suffix(".json").unlink(missing_ok=True)
        raise


def _without_inputs(read: ReadExperiment, budget: int) -> ReadExperiment:
    """Return the experiment with its pictures, and without the detections that they were drawn from."""
    if read.analyzed is None:
        return read
    source = PictureSource(read.analyzed.results, read.analyzed.validation, read.directory.paths)
    evaluation = with_pictures(read.analyzed.evaluation, source, budget)
    return replace(read, experiment=replace(read.experiment, evaluation=evaluation), analyzed=None)


def _without(experiment: Experiment) -> Experiment:
    if experiment.evaluation is None:
        return experiment
    return replace(experiment, evaluation=without_pictures(experiment.evaluation, TOO_LARGE_WITH_PICTURES))


def _distinct(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Return the names, or the shortest ends of the paths, equally many parts of each, that distinguish them."""
    different = len(set(paths))
    longer = (["/".join(path.parts[1:][-parts:]) for path in paths] for parts in range(2, MOST_PARTS))
    return next((list(found) for found in (names, *longer) if len(set(found)) == different), list(map(str, paths)))
