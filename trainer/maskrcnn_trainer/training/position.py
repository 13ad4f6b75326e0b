"""Position of a training in the stream of its records, and the order in which it reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn_trainer.data.order import ORDER_VERSION, DataOrder
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.spec import ExperimentSpec

_WINDOW_ORDER = 1


@dataclass(frozen=True)
class DataPosition:
    """A position in the global stream of images.

    The stream is the same for any number of ranks and any batch size, so a training that continues with others of them
    continues at the same image.

    Attributes:
        step: training steps done.
        images: images that those steps trained on, over all ranks: the position of the next one.
        window: None in the current order; the window of version 1 in records.
    """

    step: int = 0
    images: int = 0
    window: int | None = None

    def after(self, step: int, images_per_step: int) -> DataPosition:
        """Return the position after ``step`` (at least ``self.step``) with this many images a step from here on."""
        return DataPosition(step, self.images + (step - self.step) * images_per_step, self.window)

    def order(self, num_records: int, seed: int) -> DataOrder:
        """Return the order that the training reads its records in."""
        return DataOrder(num_records, seed, self.window)

    def state(self) -> dict[str, int]:
        """Return the entries of a checkpoint's state from which :func:`resumed_position` makes this position."""
        return {"order": ORDER_VERSION if self.window is None else _WINDOW_ORDER, "position": self.images}


@dataclass(frozen=True)
class DataProgress:
    """The positions that a training passes, by its number of steps.

    Attributes:
        start: where this process starts or continues.
        images_per_step: over all ranks.
    """

    start: DataPosition
    images_per_step: int

    def after(self, step: int) -> DataPosition:
        """Return the position after ``step`` steps (at least ``start.step``)."""
        return self.start.after(step, self.images_per_step)


def resumed_position(checkpoint: ModelFile, spec: ExperimentSpec, *, num_records: int) -> DataPosition:
    """Return where a training that resumes from ``checkpoint`` continues in its data.

    A checkpoint of an earlier release names neither order nor position: its order is that of the window, and each of
    its steps had the ranks of its state and the batch size of its spec.

    Args:
        checkpoint: of this training.
        spec: of this run.
        num_records: training records.

    Raises:
        InvalidInput: the order is of a newer release, or is that of the window and ``shuffleBufferSize`` changed.
    """
    state, saved = checkpoint.state, checkpoint.experiment
    version = state.get("order", _WINDOW_ORDER)
    if version not in (_WINDOW_ORDER, ORDER_VERSION):
        raise InvalidInput(
            f"the checkpoint of step {checkpoint.step} in the results directory reads its records in order {version}; "
            f"this release knows {_WINDOW_ORDER} and {ORDER_VERSION}: continue with the release that wrote it, or give "
            "another results directory",
            reason="OtherExperiment",
        )
    images = int(state.get("position", checkpoint.step * int(state.get("ranks", 1)) * int(saved["trainBatchSize"])))
    window = _same_window(saved, spec, num_records) if version == _WINDOW_ORDER else None
    return DataPosition(checkpoint.step, images, window)


def _same_window(saved: Mapping[str, Any], spec: ExperimentSpec, num_records: int) -> int:
    began, now = int(saved["dataConfig"]["shuffleBufferSize"]), spec.data_config.shuffle_buffer_size
    # Every window that holds all records gives the same order.
    if min(began, num_records) != min(now, num_records):
        raise InvalidInput(
            f"dataConfig.shuffleBufferSize was {began}, now {now}: this training began with a release that shuffled "
            f"within a window, and reads its records in that order to its end. Give {began}, or another results "
            "directory",
            reason="OtherExperiment",
        )
    return began
