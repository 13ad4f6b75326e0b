"""Cleaning of steps whose attempts may run: garbage is listed now, and deleted by a call an hour later."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from maskrcnn_trainer.artifacts.listing import NOTHING_BELOW
from maskrcnn_trainer.artifacts.names import ArtifactName, printable
from maskrcnn_trainer.artifacts.reading import ResultsSource, steps_below
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.exchange_types import run_decision
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.outside_cleaning import OutsideCleaned, OutsideTerms, clean_outside


@dataclass(frozen=True)
class CleanedResults:
    """Outcome of a cleaning.

    Attributes:
        steps: what became of each step, by EXPERIMENT/STEP.
        problems: steps that are damaged, and why.
        complete: whether all keys could be listed.
    """

    steps: dict[str, OutsideCleaned] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    complete: bool = True


def clean_results(store: ResultsSource, name: ArtifactName | None) -> CleanedResults:
    """Clean an experiment, a step, or all experiments.

    Raises:
        InvalidInput: there are no results, or the store refuses.
        TryAgain: the store is unavailable.
    """
    below = steps_below(store, name)
    if not below.steps and below.complete:
        what = f"URL: {NOTHING_BELOW}" if name is None else f"NAME: {name} has no results"
        raise InvalidInput(what, reason="NotPublished")
    send = store.sender()
    steps: dict[str, OutsideCleaned] = {}
    problems: dict[str, str] = {}
    for keys in below.steps:
        shown = keys.prefix.rstrip("/")
        try:
            outcome = run_decision(clean_outside(OutsideTerms(keys, secrets.token_hex(16))), send)
        except InvalidInput as error:
            problems[shown] = str(error)
            continue
        if isinstance(outcome, OutsideCleaned):
            steps[shown] = outcome
        else:
            problems[shown] = _problem(outcome, keys)
    complete = below.complete and not any(one.incomplete for one in steps.values())
    return CleanedResults(steps, problems, complete)


def cleaning_lines(cleaned: CleanedResults) -> str:
    """Return the report for people, without the steps that have no garbage."""
    lines = [f"{step}: {line}\n" for step, one in cleaned.steps.items() if (line := _line(one))]
    return "".join(lines) or "Nothing to clean.\n"


def _line(one: OutsideCleaned) -> str:
    parts = [
        (one.deleted, "deleted"),
        (one.listed, "to be deleted by another clean in an hour"),
        (one.waiting, "not deleted: permission was refused" if one.forbidden else "listed less than an hour ago"),
        (
            one.left,
            "left, as an attempt has just written"
            if one.busy
            else "left: clean again an hour after the step's last publish; those of an attempt that ended without a "
            "result go with the next attempt, or with delete",
        ),
    ]
    return "; ".join(f"{number:,} object{'' if number == 1 else 's'} {what}" for number, what in parts if number)


def _problem(outcome: object, keys: StepKeys) -> str:
    problem = getattr(outcome, "problem", "")
    return printable(f"{getattr(outcome, 'key', keys.pointer)} {problem}")
