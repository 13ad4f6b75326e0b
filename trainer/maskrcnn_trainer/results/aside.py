"""Clearing of a results directory for another fingerprint: its content is moved aside, not lost.

Results of another fingerprint are moved to ``<step>.<first 8 digits of it>``. One such directory is kept, and one more
from an attempt without results. Results of the expected fingerprint that were moved aside are moved back. Only files
of tasks are moved or deleted (see ``contents``), and all decisions are made before the first change.

A finished result that the user has changed, such as a corrected label, is never deleted. If it has to be produced
again, the directory is moved to ``<step>.changed-<number>``.
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
    joined_names,
    printable,
    remove_ours,
    unfinished_fingerprints,
)
from maskrcnn_trainer.results.inputs import TaskInput, holds, inputs_of, lies_in
from maskrcnn_trainer.results.run_file import Mark, MarkState, read_mark
from maskrcnn_trainer.shared.messages import RUN_FILE
from maskrcnn_trainer.task.artifacts import read_result

log = logging.getLogger(__name__)

REASON = "ForeignFiles"
_OTHER = "results of another fingerprint"
_MOVES_NOT = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.EROFS)


@dataclass(frozen=True)
class Moves:
    """Moves and deletions that clear a results directory, or restore its earlier results, before it is claimed.

    Attributes:
        moved_to: new path of the directory; None if it stays or doesn't exist.
        deleted: directories with older results, to be deleted after the move.
        moved_back: directory to be moved to the path of the results directory.
    """

    moved_to: Path | None = None
    deleted: tuple[Path, ...] = ()
    moved_back: Path | None = None


def clear_results_dir(results_dir: Path, *fingerprints: str, task: Sequence[str] = (), key: str | None = None) -> None:
    """Clear the results directory for the results of a step, unless it already has results of that step.

    Args:
        results_dir: the results directory.
        fingerprints: fingerprints of the step, oldest first; results with any of them belong to the step.
        task: command line of the task, whose inputs must not be moved.
        key: key of encrypted checkpoints.

    Raises:
        InvalidInput: the directory has files that no task wrote or that the task reads; nothing was changed.
        TryAgain: the file system fails to read or move a directory.
    """
    while True:
        moves = plan_moves(results_dir, *fingerprints, task=task, key=key)
        _carry_out(moves, results_dir)
        if moves.moved_back is None:
            return
        # the restored results may have been changed by hand, so plan again


def _carry_out(moves: Moves, results_dir: Path) -> None:
    if moves.moved_to is not None:
        _rename(results_dir, moves.moved_to)
        log.info("%s has other results; moved to %s", results_dir, moves.moved_to.name)
    for old in moves.deleted:
        left = remove_ours(old)
        if left:
            log.warning("%s could only be deleted in part; it still contains %s", old, joined_names(left))
        else:
            log.info("%s, older results of this step, was deleted", old)
    if moves.moved_back is not None:
        _rename(moves.moved_back, results_dir)
        log.info("%s has results of this fingerprint; moved back", moves.moved_back)


def plan_moves(results_dir: Path, *fingerprints: str, task: Sequence[str] = (), key: str | None = None) -> Moves:
    """Return what :func:`clear_results_dir` would do, without changing anything; same arguments and errors."""
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
    # an attempt without results, such as one with a mistyped path, must not replace older results
    spared = not holds_results(results_dir)
    old = [
        path
        for path in aside
        if path != back and _is_deletable(path, aside[path], inputs) and not (spared and holds_results(path))
    ]
    return Moves(moved_to, tuple(old), back)


def _name_aside(results_dir: Path, mark: Mark, changed: str | None) -> Path:
    """Return the path to which the results directory is moved; log a warning if that will never be deleted.

    Args:
        results_dir: the results directory.
        mark: owner of the directory.
        changed: the first file of a finished result that was changed by hand, or None.
    """
    if changed is not None:
        moved_to = _free(results_dir, "changed-{number}")
        log.warning(
            "%s: %s was changed after the task had finished, and the results are incomplete or have another size; they "
            "are moved to %s, which is never deleted, and the task runs again",
            results_dir,
            printable(changed),
            moved_to.name,
        )
    elif mark.run is MarkState.DAMAGED:
        moved_to = _free(results_dir, "damaged-{number}")
        log.warning("%s: run.json is damaged; moved to %s, which is never deleted", results_dir, moved_to.name)
    else:
        moved_to = _free(results_dir, digits(mark.fingerprints[0]), digits(mark.fingerprints[0]) + ".{number}")
    return moved_to


def _require_directory_without_links(results_dir: Path, mode: int) -> None:
    """Raise InvalidInput unless a results directory is a directory, or a link to one, without links in it."""
    if not (stat.S_ISDIR(mode) or results_dir.is_dir()):
        raise InvalidInput(
            f"{results_dir} is the results directory of this step, but it is a file or a broken link: move it "
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
    """Return whether the directory can be claimed as it is: it is empty, or its results have an expected fingerprint.

    Raises:
        InvalidInput: neither run.json nor result.json shows that the directory belongs to an experiment.
    """
    if mark.run is MarkState.OURS:
        return not expected.isdisjoint(mark.run_fingerprints)
    if mark.run is MarkState.FOREIGN:
        raise _refusal(results_dir, RUN_FILE)
    finished = not expected.isdisjoint(mark.result_fingerprints)
    if mark.result is MarkState.OURS and (mark.run is MarkState.ABSENT or finished):
        return finished
    unexpected = first_unexpected(results_dir) if mark.run is MarkState.ABSENT else None
    if mark.run is MarkState.ABSENT and unexpected is None:
        return True
    try:
        found = unfinished_fingerprints(results_dir, key)
    except InvalidInput as error:
        if unexpected is None:
            raise
        raise _refusal(results_dir, unexpected) from error
    if not expected.isdisjoint(found):
        log.warning(
            "%s: run.json is missing or damaged; its checkpoints have this fingerprint and are kept", results_dir
        )
        return True
    if unexpected is not None:
        raise _refusal(results_dir, unexpected)
    return False


def _changed_result(results_dir: Path, mark: Mark, expected: frozenset[str]) -> str | None:
    """Return the first file changed by hand in a finished result that would be overwritten by a new run, or None."""
    if mark.result is not MarkState.OURS or expected.isdisjoint(mark.result_fingerprints):
        return None
    return first_changed(results_dir) if read_result(results_dir, *expected) is None else None


def _require_elsewhere(inputs: Sequence[TaskInput], results_dir: Path) -> None:
    """Raise InvalidInput if an input of the task is in its results directory, or is a directory above it."""
    for given in inputs:
        relation = "lies in" if lies_in(given, results_dir) else "contains" if holds(given, results_dir) else ""
        if relation:
            raise InvalidInput(
                f"{given.name} {given.path} {relation} {results_dir}, the results directory of this step: give another "
                "path, or rename the step",
                reason=REASON,
            )


def _require_movable(directory: Path, mark: Mark, inputs: Sequence[TaskInput], *, what: str = _OTHER) -> None:
    """Raise InvalidInput unless all files of a directory were written by tasks and this task reads none of them.

    Args:
        directory: the directory.
        mark: owner of the directory.
        inputs: inputs of the task.
        what: content of the directory, for messages.
    """
    if directory.is_symlink():
        raise InvalidInput(
            f"{directory} is a link and has {what}, which would have to be moved: move them or the link yourself",
            reason=REASON,
        )
    foreign = first_foreign(directory, mark)
    if foreign is not None:
        raise _refusal(directory, foreign)
    for given in inputs:
        if lies_in(given, directory):
            raise InvalidInput(
                f"{given.name} {given.path} lies in {directory}, which has {what} and would have to be moved: copy the "
                "input elsewhere, or rename the step",
                reason=REASON,
            )


def _refusal(directory: Path, name: str) -> InvalidInput:
    return InvalidInput(
        f"{directory} contains {printable(name)}, which wasn't written by a step of an experiment: move it elsewhere, "
        "or rename the step or the experiment; nothing was changed",
        reason=REASON,
    )


def _asides(results_dir: Path, expected: frozenset[str]) -> Mapping[Path, Mark]:
    """Return the directories with moved-aside results of a results directory, recognized by name and content.

    A directory whose name only looks like one, such as a date, isn't included, since its files have no fingerprint with
    the digits of its name.
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
                raise  # it may have the results that the step would produce again
            log.warning("%s is ignored: %s", path, error)
            continue
        if match["digits"] in map(digits, mark.fingerprints):
            found[path] = mark
    return found


def _mode(path: Path) -> int | None:
    """Return the mode of a file or link, or None if there is none.

    Raises:
        InvalidInput: reading it isn't permitted. Without the mode, files might be overwritten or results repeated.
        TryAgain: it cannot be read at the moment.
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
            f"{path} cannot be read ({error.strerror}); give this user permission to read it and its directory"
        )
    return TryAgain(f"{path} cannot be read: {error.strerror}")


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
    """Return an unused path next to the directory, with the first of the suffixes ``forms`` that is free."""
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
