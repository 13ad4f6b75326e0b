"""Checkpoints of a results directory: finding the one to resume, writing, and removing old ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.model_files.newest_checkpoint import newest_that_opens
from maskrcnn_trainer.task.artifacts import file_sha256
from maskrcnn_trainer.task.scratch import ScratchLimit
from maskrcnn_trainer.training.evaluations import Evaluations, Metrics, best_step

log = logging.getLogger(__name__)

_NAME = re.compile(r"model\.step-(0|[1-9][0-9]{0,17})\.tlt")


def checkpoint_name(step: int) -> str:
    """Return the file name of a checkpoint, ``model.step-<N>.tlt``."""
    return f"model.step-{step}.tlt"


def steps_to_remove(steps: Sequence[int], *, keep: int, best: int | None) -> list[int]:
    """Return the checkpoints that are neither among the ``keep`` newest nor the best; none if ``keep`` is 0."""
    if keep == 0:
        return []
    newest = set(sorted(steps)[-keep:])
    return [step for step in sorted(steps) if step not in newest and step != best]


class CheckpointStore:
    """Checkpoints of one results directory (rank 0 only).

    Args:
        directory: created if missing.
        key: encryption key of the files; None for no encryption.
        keep: number of newest checkpoints to keep; 0 for all.
        guard: called before each change of the directory; raises if another run owns it.
        scratch: size limit of the directory and others; None: the disk is the limit.

    Attributes:
        directory, guard: as given.
    """

    def __init__(
        self,
        directory: Path,
        *,
        key: str | None,
        keep: int,
        guard: Callable[[], None],
        scratch: ScratchLimit | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._key = key
        self._keep = keep
        self.guard = guard
        self._scratch = scratch
        self._evaluations = Evaluations(directory)
        self._hashes: dict[int, str] = {}

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint of ``step``, which may not exist."""
        return self.directory / checkpoint_name(step)

    def steps(self) -> list[int]:
        """Return the steps of the existing checkpoints, ascending."""
        found = (_NAME.fullmatch(entry.name) for entry in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def newest(self, *, refuse_unreadable: bool = False) -> ModelFile | None:
        """Return the newest checkpoint that can be opened, None if there is none.

        A damaged checkpoint (for example after a disk lost confirmed writes) is logged, and the previous one is used
        (:func:`newest_that_opens`).

        Args:
            refuse_unreadable: raise if there are checkpoints but none can be opened. They may belong to TAO
                Toolkit, which uses the same names, and would be replaced.

        Raises:
            InvalidInput: the key is wrong, the checkpoint may not be read, or none can be opened.
            TryAgain: the checkpoint cannot be read at the moment.
        """
        steps = self.steps()
        newest = newest_that_opens([self.path(step) for step in reversed(steps)], self._read)
        if newest.problem is None:
            return newest.content
        if refuse_unreadable:
            raise InvalidInput(
                f"{newest.problem}. No checkpoint in {self.directory} can be opened ({len(steps)} damaged, or not "
                "written by this trainer), and the training would replace or remove them: give another results "
                "directory, or move them",
                reason="ForeignFiles",
            )
        log.warning(
            "%s: no checkpoint can be opened (%d damaged): the training restarts from step 0. The oldest: %s",
            self.directory,
            len(steps),
            newest.problem,
        )
        return None

    def _read(self, path: Path) -> ModelFile:
        found = read_model_file(path, self._key)
        _require_checkpoint(found, path)
        return found

    def take_up(self, step: int | None, evaluated_on: str) -> None:
        """Prepare for a training: drop evaluations of later steps than the resumed one.

        Args:
            step: of the checkpoint that is resumed; None if the training starts at step 0.
            evaluated_on: identity of the validation data (:func:`validation_identity`).
        """
        if self._evaluations.take_up(step, evaluated_on):
            self.guard()
            self._evaluations.write()

    def write(self, model: ModelFile) -> Path:
        """Write a checkpoint, then remove the checkpoints that need not be kept.

        Returns:
            Path of the checkpoint.

        Raises:
            TryAgain: another run owns the directory now.
            WorkspaceFull: the disk is full, or the limit leaves no room for the file.
        """
        path = self.path(model.step)
        self._hashes.pop(model.step, None)
        refuse = self._scratch.refuse_checkpoint if self._scratch is not None else None
        write_model_file(path, model, self._key, before_write=refuse, before_rename=self.guard)
        self._remove_old(model.step)
        return path

    def metrics(self, step: int) -> Metrics | None:
        """Return the metrics of exactly this checkpoint file on the validation data of this run, None if it has none.

        Args:
            step: of the checkpoint.
        """
        return self._evaluations.metrics_of(step, self._hash(step))

    def record_evaluation(self, step: int, metrics: Metrics) -> None:
        """Store the metrics of a checkpoint, so that a resumed run does not evaluate it again.

        Args:
            step: of the checkpoint.
            metrics: by name.

        Raises:
            TryAgain: another run owns the directory now.
            WorkspaceFull: there is no space left.
        """
        self._evaluations.add(step, metrics, self._hash(step))
        self.guard()
        self._evaluations.write()
        self._remove_old(step)

    def best(self) -> int | None:
        """Return the step of the existing checkpoint with the highest mask AP, None if none has a mask AP."""
        return self._best(self.steps())

    def _best(self, steps: Sequence[int]) -> int | None:
        # Hashing reads the whole file, so only candidates for the best are hashed.
        candidates = {step: one for step, one in self._evaluations.comparable().items() if step in steps}
        while (step := best_step(candidates)) is not None and self.metrics(step) is None:
            del candidates[step]
        return step

    def _hash(self, step: int) -> str | None:
        if step not in self._hashes:
            try:
                self._hashes[step] = file_sha256(self.path(step))
            except OSError:
                return None
        return self._hashes[step]

    def _remove_old(self, reached: int) -> None:
        # Checkpoints of later steps could not be opened, or the training would have resumed from them: don't count them
        # among the newest, and don't remove them.
        steps = [step for step in self.steps() if step <= reached]
        for step in steps_to_remove(steps, keep=self._keep, best=self._best(steps)):
            self.guard()
            self.path(step).unlink(missing_ok=True)


def _require_checkpoint(model: ModelFile, path: Path) -> None:
    """Raise InvalidInput unless a model file is a checkpoint of a training at the step in its name."""
    if path.name != checkpoint_name(model.step):
        raise InvalidInput(f"{path}: holds step {model.step}, not the step in its name", reason="InvalidModel")
    if not model.optimizer:
        raise InvalidInput(f"{path}: a model without the state of a training", reason="InvalidModel")
    for name, least in (("position", 0), ("ranks", 1), ("records", 0)):
        value = model.state.get(name, least)
        if type(value) is not int or value < least:
            raise InvalidInput(
                f"{path}: {name} of its state should be a whole number of at least {least}", reason="InvalidModel"
            )
