"""Overview of the experiments below a URL: their owners, and the results of each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from maskrcnn_trainer.artifacts.names import printable
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, PublishedFile, PublishedSet

_MB = 1_000_000
_SHOWN_OF_FINGERPRINT = 12


@dataclass(frozen=True)
class SetOverview:
    """Published set of one fingerprint.

    Attributes:
        fingerprint: of the step whose results these are.
        is_complete: whether the step has ended with a result.
        files: number of files.
        size: of all files, in bytes.
        checkpoints: paths of the checkpoints, the newest last.
    """

    fingerprint: str
    is_complete: bool
    files: int
    size: int
    checkpoints: tuple[str, ...] = ()

    @classmethod
    def of(cls, published: PublishedSet) -> SetOverview:
        """Return the overview of a manifest."""
        return cls(
            published.fingerprint,
            published.result is not None,
            len(published.files),
            size_of_files(published.files),
            published.checkpoints,
        )


@dataclass(frozen=True)
class StepOverview:
    """Results of a step.

    Attributes:
        current: set that a reader gets; None: nothing was published.
        previous: set of the fingerprint before; None: there is none.
        problem: reason why the results can't be read; empty: there is none.
    """

    current: SetOverview | None = None
    previous: SetOverview | None = None
    problem: str = ""


@dataclass(frozen=True)
class ExperimentOverview:
    """An experiment.

    Attributes:
        owner: None if the experiment was deleted, or has no readable owner.
        owner_epoch: 0 without a readable owner.
        steps: by name, in order.
        problem: reason why the owner can't be read; empty: there is none.
    """

    owner: OwnerIdentity | None = None
    owner_epoch: int = 0
    steps: dict[str, StepOverview] = field(default_factory=dict)
    problem: str = ""

    @property
    def is_deleted(self) -> bool:
        """Return whether the owner is a tombstone."""
        return self.owner is None and self.owner_epoch > 0


@dataclass(frozen=True)
class Overview:
    """All experiments that were asked for.

    Attributes:
        experiments: by name, in order.
        complete: whether all keys could be listed.
    """

    experiments: dict[str, ExperimentOverview]
    complete: bool = True


def size_of_files(files: tuple[PublishedFile, ...]) -> int:
    """Return the bytes of some files."""
    return sum(file.size for file in files)


def shown_size(size: int) -> str:
    """Return a number of bytes for people."""
    if size >= _MB:
        return f"{size / _MB:,.1f} MB"
    return f"{size / 1000:,.1f} kB"


def overview_document(overview: Overview) -> dict[str, Any]:
    """Return the document of ``list --json``."""
    return {"experiments": {name: _experiment(one) for name, one in overview.experiments.items()}}


def _experiment(one: ExperimentOverview) -> dict[str, Any]:
    owner = one.owner
    document: dict[str, Any] = {
        "owner": None if owner is None else {"id": owner.owner_id, "namespace": owner.namespace, "name": owner.name},
        "ownerEpoch": one.owner_epoch,
        "steps": {name: _step(step) for name, step in one.steps.items()},
    }
    return document | ({"problem": one.problem} if one.problem else {})


def _step(step: StepOverview) -> dict[str, Any]:
    document: dict[str, Any] = {"current": _set(step.current), "previous": _set(step.previous)}
    return document | ({"problem": step.problem} if step.problem else {})


def _set(one: SetOverview | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "fingerprint": one.fingerprint,
        "complete": one.is_complete,
        "files": one.files,
        "bytes": one.size,
        "checkpoints": list(one.checkpoints),
    }


def overview_table(overview: Overview) -> str:
    """Return the table for people; nothing in it can control a terminal."""
    blocks = [_block(name, one) for name, one in overview.experiments.items()]
    return "\n".join(blocks) if blocks else "No results.\n"


def files_table(published: PublishedSet) -> str:
    """Return the list of the files of a set, for people."""
    rows = [[shown_size(file.size), printable(file.path)] for file in published.files]
    return _aligned([["SIZE", "FILE"], *rows], right=(0,))


def _block(name: str, one: ExperimentOverview) -> str:
    rows = [row for step, found in one.steps.items() for row in _rows(step, found)]
    head = ["STEP", "RESULTS", "FILES", "SIZE", "CHECKPOINTS", "FINGERPRINT"]
    problems = [
        f"  {printable(step)}: {printable(found.problem)}\n" for step, found in one.steps.items() if found.problem
    ]
    table = _aligned([head, *rows], right=(2, 3, 4), indent="  ") if rows else ""
    return f"{printable(name)}: {_owner(one)}\n{table}{''.join(problems)}"


def _owner(one: ExperimentOverview) -> str:
    if one.problem:
        return printable(one.problem)
    if one.is_deleted:
        return "deleted"
    if one.owner is None:
        return "no owner"
    where = f", namespace {printable(one.owner.namespace)}" if one.owner.namespace else ""
    return f"owner {printable(one.owner.owner_id)}{where}, epoch {one.owner_epoch}"


def _rows(step: str, found: StepOverview) -> Iterator[list[str]]:
    if found.current is None and not found.problem:
        yield [printable(step), "none", "", "", "", ""]
    for one, which in ((found.current, ""), (found.previous, "previous, ")):
        if one is not None:
            yield [
                printable(step),
                f"{which}{'complete' if one.is_complete else 'incomplete'}",
                f"{one.files:,}",
                shown_size(one.size),
                f"{len(one.checkpoints):,}",
                one.fingerprint[:_SHOWN_OF_FINGERPRINT],
            ]


def _aligned(rows: list[list[str]], *, right: tuple[int, ...], indent: str = "") -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"{indent}{'  '.join(cells)}".rstrip() + "\n")
    return "".join(lines)
