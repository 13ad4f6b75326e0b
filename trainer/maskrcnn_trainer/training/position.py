"""Position of a training in its stream of records, and the order in which it reads them."""

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
    """Position in the global stream of images.

    The stream is the same for any number of ranks and any batch size, so a training that continues with another number
    or size continues at the same image.

    Attributes:
        step: training steps done.
        images: images read in those steps, over all ranks, which is the position of the next image.
        window: None for the current order; the window of version 1, in records.
    """

    step: int = 0
    images: int = 0
    window: int | None = None

    def after(self, step: int, images_per_step: int) -> DataPosition:
        """Return the position after ``step`` steps.

        Args:
            step: at least ``self.step``.
            images_per_step: images of each step after this position, over all ranks.
        """
        return DataPosition(step, self.images + (step - self.step) * images_per_step, self.window)

    def order(self, num_records: int, seed: int) -> DataOrder:
        """Return the order in which the training reads its records."""
        return DataOrder(num_records, seed, self.window)

    def state(self) -> dict[str, int]:
        """Return the entries of a checkpoint's state, from which :func:`resumed_position` restores this position."""
        return {"order": ORDER_VERSION if self.window is None else _WINDOW_ORDER, "position": self.images}


@dataclass(frozen=True)
class DataProgress:
    """Positions of a training by its number of steps.

    Attributes:
        start: position at which this process starts or continues.
        images_per_step: over all ranks.
    """

    start: DataPosition
    images_per_step: int

    def after(self, step: int) -> DataPosition:
        """Return the position after ``step`` steps (at least ``start.step``)."""
        return self.start.after(step, self.images_per_step)


def resumed_position(checkpoint: ModelFile, spec: ExperimentSpec, *, num_records: int) -> DataPosition:
    """Return the position at which a training that resumes from ``checkpoint`` continues.

    A checkpoint of an earlier release has neither order nor position: its order is version 1, and all its steps had the
    ranks in its state and the batch size in its spec.

    Args:
        checkpoint: of this training.
        spec: of this run.
        num_records: number of training records.

    Raises:
        InvalidInput: the order is of a newer release, or it is version 1 and ``shuffleBufferSize`` changed.
    """
    state, saved = checkpoint.state, checkpoint.experiment
    version = state.get("order", _WINDOW_ORDER)
    if version not in (_WINDOW_ORDER, ORDER_VERSION):
        raise InvalidInput(
            f"the checkpoint of step {checkpoint.step} in the results directory uses version {version} of the order of "
            f"records; this release supports {_WINDOW_ORDER} and {ORDER_VERSION}: continue with the release that wrote "
            "it, or give another results directory",
            reason="OtherExperiment",
        )
    images = int(state.get("position", checkpoint.step * int(state.get("ranks", 1)) * int(saved["trainBatchSize"])))
    window = _same_window(saved, spec, num_records) if version == _WINDOW_ORDER else None
    return DataPosition(checkpoint.step, images, window)


def _same_window(saved: Mapping[str, Any], spec: ExperimentSpec, num_records: int) -> int:
    began, now = int(saved["dataConfig"]["shuffleBufferSize"]), spec.data_config.shuffle_buffer_size
    # All windows that hold all records give the same order.
    if min(began, num_records) != min(now, num_records):
        raise InvalidInput(
            f"dataConfig.shuffleBufferSize was {began}, now {now}: this training began with a release that shuffled "
            f"within a window, and keeps that order until it ends. Set it to {began}, or give another results "
            "directory",
            reason="OtherExperiment",
        )
    return began
