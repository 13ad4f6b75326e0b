"""Initial model of a training: a checkpoint, a pruned model, pretrained weights, or random values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import assign_variables
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.training.continuation import Continuation
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.preparation import TrainingData
from maskrcnn_trainer.training.pretrained import load_checkpoint
from maskrcnn_trainer.training.retraining import check_same_pruning, open_pruned, retraining_advice
from maskrcnn_trainer.training.shared_state import restore_on_all_ranks
from maskrcnn_trainer.training.step import TrainStep

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialModel:
    """Architecture of a training, and the files that its weights come from.

    Attributes:
        architecture: the same on every rank.
        spec: of the run.
        checkpoint: the checkpoint that is resumed; None on ranks other than 0, and if there is none.
        pruned: the model of ``prunedModelPath``, on every rank; None if there is none or a checkpoint is resumed.
    """

    architecture: Architecture
    spec: ExperimentSpec
    checkpoint: ModelFile | None
    pruned: ModelFile | None


def find_initial_model(
    continuation: Continuation, data: TrainingData, context: DistributedContext, *, key: str | None
) -> InitialModel:
    """Open the pruned model, if the training starts from one, and choose the architecture (collective).

    Args:
        continuation: of the training.
        data: of the training.
        context: the worker group.
        key: encryption key of the pruned model.

    Raises:
        InvalidInput: the pruned model cannot be trained with this spec or data, or isn't the one of the checkpoint.
    """
    spec, checkpoint = continuation.spec, continuation.checkpoint
    if checkpoint is not None:
        check_same_pruning(spec, key, checkpoint.architecture)
    saved: Mapping[str, Any] | None = context.broadcast_object(checkpoint.architecture if checkpoint else None)
    pruned = open_pruned(spec, key) if saved is None else None
    if pruned is not None:
        saved = pruned.architecture
        data.validation.check_model(class_map_of(pruned), str(spec.pruned_model_path))
    for line in retraining_advice(spec):
        log.warning("%s", line)
    if saved is not None and spec.pruned_model_path is not None:
        architecture = Architecture.from_json(saved)
    else:
        architecture = Architecture.from_spec(spec, num_classes=data.class_map.num_classes)
    return InitialModel(architecture, spec, checkpoint, pruned)


def load_initial_state(
    initial: InitialModel,
    network: MaskRCNN,
    step: TrainStep,
    context: DistributedContext,
    reporter: Reporter,
    *,
    key: str | None,
) -> None:
    """Set the network and the optimizer of every rank to the values that the training starts from (collective).

    Args:
        initial: the files of the values.
        network: its variables are set.
        step: the state of its optimizer is set.
        context: the worker group.
        reporter: of the task.
        key: encryption key of a model file with pretrained weights.

    Raises:
        InvalidInput: a file does not match the network, or cannot be read.
    """
    checkpoint, spec = initial.checkpoint, initial.spec
    if checkpoint is not None:
        log.info("Resuming from step %d", checkpoint.step)
        reporter.running(
            f"Resuming from step {checkpoint.step}.", step=checkpoint.step, checkpoint_step=checkpoint.step
        )
        assign_variables(network, checkpoint)
    elif initial.pruned is not None:
        assign_variables(network, initial.pruned)
    elif context.rank == 0 and spec.checkpoint:
        load_checkpoint(spec.checkpoint, network, skip=spec.skip_checkpoint_variables, key=key)
    context.broadcast_variables(network.variables)
    restore_on_all_ranks(checkpoint.optimizer if checkpoint is not None else None, step, network, context)
