"""Transfer of the state of a resumed training from rank 0 to all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.step import TrainStep

UPDATES_OF_STATISTICS = "moving_average_updates"


def training_state(step: TrainStep, network: MaskRCNN) -> dict[str, NDArray[Any]]:
    """Return the values that a checkpoint stores in addition to the network's variables."""
    return {**step.state(), UPDATES_OF_STATISTICS: network.moving_average_updates.numpy()}


def restore_on_all_ranks(
    state: Mapping[str, NDArray[Any]] | None, step: TrainStep, network: MaskRCNN, context: DistributedContext
) -> None:
    """Restore on every rank the state that rank 0 resumes from, if it resumes (collective).

    The state is sent as variables: Horovod would convert an object byte by byte to Python integers, which need fifteen
    times its size.

    Args:
        state: from :func:`training_state`; None on ranks other than 0, and if nothing is resumed.
        step: the state of its optimizer is restored.
        network: its count of updates is restored.
        context: the worker group.

    Raises:
        KeyError: an entry is missing.
        ValueError: a velocity has another shape than its variable.
    """
    if state is not None:
        step.restore(state)
        network.moving_average_updates.assign(state[UPDATES_OF_STATISTICS])
    if context.broadcast_object(state is not None):
        context.broadcast_variables([*step.state_variables, network.moving_average_updates])
