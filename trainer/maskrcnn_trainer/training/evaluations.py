"""Evaluations of a training: metrics with the checkpoint file and the validation data that they belong to.

``evaluations.json`` maps a step to its metrics and two texts next to them: ``checkpoint``, the SHA-256 of the file that
was evaluated, and ``evaluatedOn``, the identity of the validation data and of the inference settings. An earlier
release reads only the metrics and writes no texts. An entry without texts applies to the checkpoint with its step.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import read_text
from maskrcnn_trainer.spec.task_table import EVALUATIONS_FILE
from maskrcnn_trainer.task.files import write_json_atomically

log = logging.getLogger(__name__)

BEST_BY = "mask_AP"
_LARGEST = 1e300
"""Limit of a metric that is read back, since a larger integer may not be representable as a float."""

_STEP = re.compile(r"[0-9]{1,18}")

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one checkpoint.

    Attributes:
        metrics: by name.
        checkpoint: SHA-256 of the file that was evaluated, hexadecimal; None from an earlier release.
        evaluated_on: identity of the validation data
            (:func:`maskrcnn_trainer.data.identity.validation_identity`); None from an earlier release.
    """

    metrics: Metrics
    checkpoint: str | None = None
    evaluated_on: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the file."""
        texts = {"checkpoint": self.checkpoint, "evaluatedOn": self.evaluated_on}
        return {**self.metrics, **{name: text for name, text in texts.items() if text is not None}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """Create an evaluation from the result of :meth:`to_json`; values of other types are ignored."""
        checkpoint, evaluated_on = value.get("checkpoint"), value.get("evaluatedOn")
        return cls(
            {
                name: number
                for name, number in value.items()
                if isinstance(number, int | float) and -_LARGEST < number < _LARGEST
            },
            checkpoint if isinstance(checkpoint, str) else None,
            evaluated_on if isinstance(evaluated_on, str) else None,
        )


def best_step(metrics: Mapping[int, Metrics]) -> int | None:
    """Return the step with the highest mask AP, the earliest of equals; None if no step has a mask AP.

    A metric of -1 (no ground truth) or NaN is ignored.
    """
    scored = {
        step: one[BEST_BY]
        for step, one in metrics.items()
        if BEST_BY in one and math.isfinite(one[BEST_BY]) and one[BEST_BY] >= 0
    }
    return min(scored, key=lambda step: (-scored[step], step)) if scored else None


class Evaluations:
    """File ``evaluations.json`` of a results directory.

    Args:
        directory: the results directory.

    Raises:
        InvalidInput: the file may not be read.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / EVALUATIONS_FILE
        self._entries = _read(self._file)
        self._evaluated_on: str | None = None

    def take_up(self, step: int | None, evaluated_on: str) -> bool:
        """Drop evaluations of steps after the resumed one, since those steps will be trained again.

        Args:
            step: of the checkpoint that is resumed; None if the training starts at step 0.
            evaluated_on: identity of the validation data of this run.

        Returns:
            Whether an entry was dropped.
        """
        self._evaluated_on = evaluated_on
        later = [entry for entry in self._entries if entry > (step or 0)]
        for entry in later:
            del self._entries[entry]
        others = sum(not self._is_comparable(entry) for entry in self._entries.values())
        if others:
            log.warning(
                "%s: %d evaluations used other validation data or other inference settings; they are not compared with "
                "those of this run",
                self._file,
                others,
            )
        return bool(later)

    def metrics_of(self, step: int, checkpoint: str | None) -> Metrics | None:
        """Return the metrics of a checkpoint on the validation data of this run, None if it has none.

        Args:
            step: of the checkpoint.
            checkpoint: SHA-256 of the file; None if there is no file.
        """
        entry = self._entries.get(step)
        if entry is None or checkpoint is None or not self._is_comparable(entry):
            return None
        return entry.metrics if entry.checkpoint in (None, checkpoint) else None

    def comparable(self) -> dict[int, Metrics]:
        """Return the metrics on the validation data of this run, by step."""
        return {step: entry.metrics for step, entry in self._entries.items() if self._is_comparable(entry)}

    def add(self, step: int, metrics: Metrics, checkpoint: str | None) -> None:
        """Add the metrics of a checkpoint; ``checkpoint`` is the SHA-256 of its file."""
        self._entries[step] = Evaluation(dict(metrics), checkpoint, self._evaluated_on)

    def write(self) -> None:
        """Write the file atomically."""
        write_json_atomically(self._file, {str(step): self._entries[step].to_json() for step in sorted(self._entries)})

    def _is_comparable(self, entry: Evaluation) -> bool:
        return None in (entry.evaluated_on, self._evaluated_on) or entry.evaluated_on == self._evaluated_on


def _read(file: Path) -> dict[int, Evaluation]:
    try:
        content = json.loads(read_text(file))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}); correct its mode, or move it away") from error
    except (ValueError, RecursionError) as error:
        log.warning("%s is not valid (%s); checkpoints are evaluated again", file, error)
        return {}
    return {
        int(step): Evaluation.from_json(entry)
        for step, entry in (content.items() if isinstance(content, dict) else ())
        if _STEP.fullmatch(step) and isinstance(entry, dict)
    }
