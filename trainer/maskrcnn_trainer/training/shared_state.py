"""The state of a resumed training, from rank 0 to all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.step import TrainStep

UPDATES_OF_STATISTICS = "moving_average_updates"


def training_state(step: TrainStep, network: MaskRCNN) -> dict[str, NDArray[Any]]:
    """Return what a checkpoint keeps in addition to the network's variables."""
    return {**step.state(), UPDATES_OF_STATISTICS: network.moving_average_updates.numpy()}


def restore_on_all_ranks(
    state: Mapping[str, NDArray[Any]] | None, step: TrainStep, network: MaskRCNN, context: DistributedContext
) -> None:
    """Give every rank the state that rank 0 resumes from; nothing where it resumes from none.

    It is sent as variables: Horovod would turn an object byte by byte into Python integers, which takes fifteen times
    its size.

    Args:
        state: what :func:`training_state` gave; None on ranks other than 0, and where nothing is resumed.

    Raises:
        KeyError: an entry is missing.
        ValueError: a velocity has another shape than its variable.
    """
    if state is not None:
        step.restore(state)
        network.moving_average_updates.assign(state[UPDATES_OF_STATISTICS])
    if context.broadcast_object(state is not None):
        context.broadcast_variables([*step.state_variables, network.moving_average_updates])
