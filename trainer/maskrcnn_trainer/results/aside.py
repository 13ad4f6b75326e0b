"""Clearing a results directory for another fingerprint: what it holds is moved aside, never lost.

Results of another fingerprint move to ``<step>.<8 digits of it>``. One such directory is kept, beside one of an attempt
that left no results; results of the expected fingerprint that stand aside are moved back. Only what is ours is moved or
deleted (see ``contents``); everything is decided before anything is touched.

A finished result that the user has changed, such as a corrected label, is never deleted. Where it has to be made again
it moves to ``<step>.changed-<number>``.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.results.contents import (
    first_changed,
    first_foreign,
    first_link,
    first_unexpected,
    holds_results,
    printable,
    remove_ours,
    shown,
    unfinished_fingerprints,
)
from maskrcnn_trainer.results.inputs import TaskInput, holds, inputs_of, lies_in
from maskrcnn_trainer.results.run_file import Kind, Mark, read_mark
from maskrcnn_trainer.shared.messages import RUN_FILE
from maskrcnn_trainer.task.artifacts import read_result

log = logging.getLogger(__name__)

REASON = "ForeignFiles"
_OTHER = "results of another fingerprint"
_MOVES_NOT = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.EROFS)


@dataclass(frozen=True)
class Moves:
    """Moves and deletions that clear a results directory, or bring back what it should hold, before it is claimed.

    Attributes:
        moved_to: where what stands there goes; None where it stays, or where nothing stands there.
        deleted: older directories of ours that go then.
        moved_back: the directory that takes its place.
    """

    moved_to: Path | None = None
    deleted: tuple[Path, ...] = ()
    moved_back: Path | None = None


def clear_results_dir(results_dir: Path, *fingerprints: str, task: Sequence[str] = (), key: str | None = None) -> None:
    """Make the results directory free for the results of a step, or leave it where it holds such already.

    Args:
        fingerprints: of the step, oldest first; results of any of them are its results.
        task: the command line of the task, whose inputs may not move.
        key: opens encrypted checkpoints.

    Raises:
        InvalidInput: something there is not ours, or the task reads it; nothing was touched.
        TryAgain: the file system does not let us look or move.
    """
    while True:
        moves = plan_moves(results_dir, *fingerprints, task=task, key=key)
        _carry_out(moves, results_dir)
        if moves.moved_back is None:
            return
        # it may have been changed by hand since


def _carry_out(moves: Moves, results_dir: Path) -> None:
    if moves.moved_to is not None:
        _rename(results_dir, moves.moved_to)
        log.info("%s holds other results; moved to %s", results_dir, moves.moved_to.name)
    for old in moves.deleted:
        left = remove_ours(old)
        if left:
            log.warning("%s is not deleted whole; it still holds %s", old, shown(left))
        else:
            log.info("%s, older results of this step, was deleted", old)
    if moves.moved_back is not None:
        _rename(moves.moved_back, results_dir)
        log.info("%s holds results of this fingerprint; moved back", moves.moved_back)


def plan_moves(results_dir: Path, *fingerprints: str, task: Sequence[str] = (), key: str | None = None) -> Moves:
    """Decide what :func:`clear_results_dir` does, without doing it; raises what it raises."""
    expected = frozenset(fingerprints)
    aside = _asides(results_dir, expected)
    back = next((path for path, mark in aside.items() if not expected.isdisjoint(mark.fingerprints)), None)
    inputs = inputs_of(task)
    found = _mode(results_dir)
    if found is None:
        _require_elsewhere(inputs, results_dir)
        if back is not None:
            _require_movable(back, aside[back], inputs)
        return Moves(moved_back=back)
    _require_directory_without_links(results_dir, found)
    mark = read_mark(results_dir)
    stays = _is_claimed_in_place(results_dir, mark, expected, key)
    changed = _changed_result(results_dir, mark, expected) if stays else None
    if stays and changed is None:
        _require_elsewhere(inputs, results_dir)
        return Moves()
    _require_movable(
        results_dir, mark, inputs, what=_OTHER if changed is None else f"{printable(changed)}, changed by hand"
    )
    _require_elsewhere(inputs, results_dir)
    if back is not None:
        _require_movable(back, aside[back], inputs)
    moved_to = _name_aside(results_dir, mark, changed)
    if changed is not None:
        return Moves(moved_to, moved_back=back)
    # an attempt that left nothing, such as at a mistyped path, takes the place of no results
    spared = not holds_results(results_dir)
    old = [
        path
        for path in aside
        if path != back and _is_deletable(path, aside[path], inputs) and not (spared and holds_results(path))
    ]
    return Moves(moved_to, tuple(old), back)


def _name_aside(results_dir: Path, mark: Mark, changed: str | None) -> Path:
    """Return where the results directory moves to; log a warning where that is never deleted.

    Args:
        changed: the first file of a finished result that was changed by hand.
    """
    if changed is not None:
        moved_to = _free(results_dir, "changed-{number}")
        log.warning(
            "%s: %s was changed after the task had finished, and the results are incomplete or of another size; all "
            "goes to %s, which is never deleted, and the results are made again",
            results_dir,
            printable(changed),
            moved_to.name,
        )
    elif mark.run is Kind.DAMAGED:
        moved_to = _free(results_dir, "damaged-{number}")
        log.warning("%s: run.json is damaged; all goes to %s, which is never deleted", results_dir, moved_to.name)
    else:
        moved_to = _free(results_dir, digits(mark.fingerprints[0]), digits(mark.fingerprints[0]) + ".{number}")
    return moved_to


def _require_directory_without_links(results_dir: Path, mode: int) -> None:
    """Raise InvalidInput unless a results directory is a directory, or leads to one, and no link is in it."""
    if not (stat.S_ISDIR(mode) or results_dir.is_dir()):
        raise InvalidInput(
            f"{results_dir} is the results directory of this step, but a file or a broken link is there: move it "
            "elsewhere, or rename the step",
            reason=REASON,
        )
    link = first_link(results_dir)
    if link is not None:
        raise _refusal(results_dir, link)


def digits(fingerprint: str) -> str:
    """Return the first 8 of the 32 hexadecimal digits of a fingerprint, ``<digits>-<version>``."""
    return fingerprint[:8]


def _is_claimed_in_place(results_dir: Path, mark: Mark, expected: frozenset[str], key: str | None) -> bool:
    """Return whether nothing has to move: the directory is free, or what it holds is of an expected fingerprint.

    Raises:
        InvalidInput: neither run.json nor result.json says that the directory is ours.
    """
    if mark.run is Kind.OURS:
        return not expected.isdisjoint(mark.run_fingerprints)
    if mark.run is Kind.FOREIGN:
        raise _refusal(results_dir, RUN_FILE)
    finished = not expected.isdisjoint(mark.result_fingerprints)
    if mark.result is Kind.OURS and (mark.run is Kind.ABSENT or finished):
        return finished
    unexpected = first_unexpected(results_dir) if mark.run is Kind.ABSENT else None
    if mark.run is Kind.ABSENT and unexpected is None:
        return True
    try:
        found = unfinished_fingerprints(results_dir, key)
    except InvalidInput as error:
        if unexpected is None:
            raise
        raise _refusal(results_dir, unexpected) from error
    if not expected.isdisjoint(found):
        log.warning("%s: run.json is lost or damaged; its checkpoints are of this fingerprint and stay", results_dir)
        return True
    if unexpected is not None:
        raise _refusal(results_dir, unexpected)
    return False


def _changed_result(results_dir: Path, mark: Mark, expected: frozenset[str]) -> str | None:
    """Return the first file changed by hand of a finished result that would be made again in place, None for none."""
    if mark.result is not Kind.OURS or expected.isdisjoint(mark.result_fingerprints):
        return None
    return first_changed(results_dir) if read_result(results_dir, *expected) is None else None


def _require_elsewhere(inputs: Sequence[TaskInput], results_dir: Path) -> None:
    """Raise InvalidInput where the task reads what it writes: an input in its results directory or above it."""
    for given in inputs:
        relation = "lies in" if lies_in(given, results_dir) else "contains" if holds(given, results_dir) else ""
        if relation:
            raise InvalidInput(
                f"{given.name} {given.path} {relation} {results_dir}, the results directory of this step: name another "
                "path, or rename the step",
                reason=REASON,
            )


def _require_movable(directory: Path, mark: Mark, inputs: Sequence[TaskInput], *, what: str = _OTHER) -> None:
    """Raise InvalidInput unless a directory is ours whole and the task reads nothing in it.

    Args:
        what: what the directory holds, for the message.
    """
    if directory.is_symlink():
        raise InvalidInput(
            f"{directory} is a link and holds {what}, which would have to move: move them or the link away yourself",
            reason=REASON,
        )
    foreign = first_foreign(directory, mark)
    if foreign is not None:
        raise _refusal(directory, foreign)
    for given in inputs:
        if lies_in(given, directory):
            raise InvalidInput(
                f"{given.name} {given.path} lies in {directory}, which holds {what} and would have to move: copy what "
                "is read elsewhere, or rename the step",
                reason=REASON,
            )


def _refusal(directory: Path, name: str) -> InvalidInput:
    return InvalidInput(
        f"{directory} holds {printable(name)}, which no step of an experiment has written: move it elsewhere, or "
        "rename the step or the experiment; nothing was changed",
        reason=REASON,
    )


def _asides(results_dir: Path, expected: frozenset[str]) -> Mapping[Path, Mark]:
    """Return the directories of other fingerprints beside a results directory, told by their names and content.

    A directory that the user has called like one, such as by a date, is none: its files name another fingerprint.
    """
    found: dict[Path, Mark] = {}
    pattern = re.compile(re.escape(results_dir.name) + r"\.(?P<digits>[0-9a-f]{8})(?:\.\d+)?")
    try:
        paths = sorted(results_dir.parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise _not_seen(results_dir.parent, error) from error
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match is None or not stat.S_ISDIR(_mode(path) or 0):
            continue
        try:
            mark = read_mark(path)
        except InvalidInput as error:
            if match["digits"] in map(digits, expected):
                raise  # it may hold what would be made again
            log.warning("%s is left alone: %s", path, error)
            continue
        if match["digits"] in map(digits, mark.fingerprints):
            found[path] = mark
    return found


def _mode(path: Path) -> int | None:
    """Return the mode of a file or link, None where nothing is there.

    Raises:
        InvalidInput: it may not be told: what is there would be overwritten, or results that stand aside made again.
        TryAgain: it cannot be told at the moment.
    """
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _not_seen(path, error) from error


def _not_seen(path: Path, error: OSError) -> TaskError:
    if isinstance(error, PermissionError):
        return InvalidInput(
            f"{path} may not be looked at ({error.strerror}); give this user the right to read it and its directory"
        )
    return TryAgain(f"{path} cannot be looked at: {error.strerror}")


def _is_deletable(directory: Path, mark: Mark, inputs: Sequence[TaskInput]) -> bool:
    try:
        _require_movable(directory, mark, inputs)
        changed = first_changed(directory)
    except TaskError as error:
        log.warning("%s, older results of this step, is kept: %s", directory, error)
        return False
    if changed is not None:
        log.warning(
            "%s, older results of this step, is kept: %s was changed after the task had finished",
            directory,
            printable(changed),
        )
    return changed is None


def _free(results_dir: Path, *forms: str) -> Path:
    """Return a name beside the directory that nothing has, the first of ``forms`` that is free."""
    number = 1
    while True:
        for form in forms:
            path = results_dir.with_name(f"{results_dir.name}.{form.format(number=number)}")
            if not os.path.lexists(path):
                return path
        number += 1


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        text = f"{old} cannot be moved to {new}: {error.strerror}"
        if error.errno in _MOVES_NOT:
            raise InvalidInput(f"{text}; move it yourself, or rename the step", reason=REASON) from error
        raise TryAgain(text) from error
