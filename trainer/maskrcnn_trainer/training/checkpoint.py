"""The checkpoints of a results directory: which there are, which is resumed, which are kept."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from maskrcnn_trainer.artifacts import write_json_atomically
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.modelfile import ModelFile, is_encrypted, read_model_file, write_model_file

log = logging.getLogger(__name__)

EVALUATIONS_FILE = "evaluations.json"
BEST_BY = "mask_AP"
_LARGEST = 1e300
"""Of a metric that is read back: a larger integer would be no float."""

Metrics = Mapping[str, float]


def checkpoint_name(step: int) -> str:
    """``model.step-<N>.tlt``."""
    return f"model.step-{step}.tlt"


def steps_to_remove(steps: Sequence[int], *, keep: int, best: int | None) -> list[int]:
    """The checkpoints that are neither among the ``keep`` newest nor the best one; ``keep`` 0 keeps all."""
    if keep == 0:
        return []
    newest = set(sorted(steps)[-keep:])
    return [step for step in sorted(steps) if step not in newest and step != best]


def best_step(evaluations: Mapping[int, Metrics], steps: Sequence[int]) -> int | None:
    """The step with the highest mask AP among ``steps``, the earlier one of equals; None where none was evaluated.

    A metric of -1 (nothing to measure on) or NaN is no candidate.
    """
    scored = {
        step: metrics[BEST_BY]
        for step, metrics in evaluations.items()
        if step in steps and BEST_BY in metrics and math.isfinite(metrics[BEST_BY]) and metrics[BEST_BY] >= 0
    }
    return min(scored, key=lambda step: (-scored[step], step)) if scored else None


class CheckpointStore:
    """Reads and writes the checkpoints of one results directory (rank 0 only).

    Args:
        directory: made when absent.
        key: encrypts and opens the files when given.
        keep: newest checkpoints to keep, 0 = all.
        guard: called before each rename into place; raises when another run owns the directory.
    """

    def __init__(self, directory: Path, *, key: str | None, keep: int, guard: Callable[[], None]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._key = key
        self._keep = keep
        self._guard = guard
        self.evaluations: dict[int, dict[str, float]] = self._read_evaluations()

    def path(self, step: int) -> Path:
        return self.directory / checkpoint_name(step)

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, rising."""
        found = (re.fullmatch(r"model\.step-(\d+)\.tlt", entry.name) for entry in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def newest(self, *, refuse_unreadable: bool = False) -> ModelFile | None:
        """The newest checkpoint that opens.

        A damaged one (a disk that lost what it had confirmed) is told of and passed over for the one before. An
        encrypted one that does not open is damaged where the key opens one before it.

        Args:
            refuse_unreadable: raise where there are checkpoints and none opens. They may be of the original toolkit,
                which has the same names, and would be replaced.

        Raises:
            InvalidInput: the key does not open it, or none opens.
        """
        locked: InvalidInput | None = None
        for step in reversed(self.steps()):
            path = self.path(step)
            try:
                found = read_model_file(path, self._key)
            except InvalidInput as error:
                if error.reason == "WrongKey":
                    locked = locked or error
                log.warning("%s; trying the checkpoint before it", error)
                continue
            if locked is not None and not is_encrypted(path):
                break  # a plain file says nothing about the key
            return found
        if locked is not None:
            raise locked
        if refuse_unreadable and (steps := self.steps()):
            raise InvalidInput(
                f"{self.path(steps[-1])} is damaged or was not written by this trainer, and would be replaced or "
                "removed: give another results directory, or move it",
                reason="ForeignFiles",
            )
        return None

    def write(self, model: ModelFile) -> Path:
        """Writes one checkpoint, then removes those that are no longer to be kept.

        Raises:
            TryAgain: another run owns the directory now.
            WorkspaceFull: no space is left.
        """
        path = self.path(model.step)
        write_model_file(path, model, self._key, before_rename=self._guard)
        self._remove_old(model.step)
        return path

    def record_evaluation(self, step: int, metrics: Metrics) -> None:
        """Keeps the metrics of a checkpoint, so that a resumed run knows what it need not evaluate again."""
        self.evaluations[step] = dict(metrics)
        self._guard()
        write_json_atomically(
            self.directory / EVALUATIONS_FILE, {str(key): self.evaluations[key] for key in sorted(self.evaluations)}
        )
        self._remove_old(step)

    def best(self) -> int | None:
        """The step of the best checkpoint that is there, by mask AP."""
        return best_step(self.evaluations, self.steps())

    def _remove_old(self, reached: int) -> None:
        # those of later steps did not open, or the training would have resumed from them: they stand for no other
        steps = [step for step in self.steps() if step <= reached]
        for step in steps_to_remove(steps, keep=self._keep, best=best_step(self.evaluations, steps)):
            self._guard()
            self.path(step).unlink(missing_ok=True)

    def _read_evaluations(self) -> dict[int, dict[str, float]]:
        try:
            content = json.loads((self.directory / EVALUATIONS_FILE).read_text())
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError) as error:
            log.warning("%s is unreadable (%s); evaluations start again", self.directory / EVALUATIONS_FILE, error)
            return {}
        return {
            int(step): {
                name: value
                for name, value in metrics.items()
                if isinstance(value, int | float) and -_LARGEST < value < _LARGEST
            }
            for step, metrics in (content.items() if isinstance(content, dict) else ())
            if step.isdecimal() and isinstance(metrics, dict)
        }
