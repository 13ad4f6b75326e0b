"""Initial model of a training: a checkpoint, a pruned model, pretrained weights, or random values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.data.class_map import ClassMap, class_map_of
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
from maskrcnn_trainer.training.pretrained.start import Start, open_start
from maskrcnn_trainer.training.retraining import check_same_pruning, open_pruned, retraining_advice
from maskrcnn_trainer.training.shared_state import restore_on_all_ranks
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.weights.advice import fine_tuning_advice
from maskrcnn_trainer.weights.opening import DetectorOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialModel:
    """Architecture of a training, and the files that its weights come from.

    Attributes:
        architecture: the same on every rank.
        class_map: of the data.
        spec: of the run.
        checkpoint: the checkpoint that is resumed; None on ranks other than 0, and if there is none.
        pruned: the model of ``prunedModelPath``, on every rank; None if there is none or a checkpoint is resumed.
        start: the file of ``checkpoint``; None on ranks other than 0, if there is none, and if another one is not None.
    """

    architecture: Architecture
    class_map: ClassMap
    spec: ExperimentSpec
    checkpoint: ModelFile | None
    pruned: ModelFile | None
    start: Start | None


def find_initial_model(
    continuation: Continuation, data: TrainingData, context: DistributedContext, *, key: str | None
) -> InitialModel:
    """Open the model that the training starts from, and choose the architecture (collective).

    Absent fields of the spec follow that model.

    Args:
        continuation: of the training.
        data: of the training.
        context: the worker group.
        key: encryption key of the pruned or pretrained model.

    Raises:
        InvalidInput: the model cannot be trained with this spec or data, or isn't the one of the checkpoint.
    """
    spec, checkpoint = continuation.spec, continuation.checkpoint
    if checkpoint is not None:
        check_same_pruning(spec, key, checkpoint.architecture)
    saved: Mapping[str, Any] | None = context.broadcast_object(checkpoint.architecture if checkpoint else None)
    pruned = open_pruned(spec, key) if saved is None else None
    if pruned is not None:
        saved = pruned.architecture
        data.validation.check_model(class_map_of(pruned), str(spec.pruned_model_path))
    start = None
    if context.rank == 0 and saved is None and spec.checkpoint:
        start = open_start(Path(spec.checkpoint), key=key, options=DetectorOptions.from_spec(spec))
        start.check_agrees(spec)
        for line in fine_tuning_advice(start.style, spec, ranks=context.size) if start.style is not None else ():
            log.info("Fine-tuning: %s", line)
    if saved is None:
        saved = context.broadcast_object(start.architecture.to_json() if start and start.architecture else None)
    for line in retraining_advice(spec):
        log.warning("%s", line)
    architecture = Architecture.from_spec(
        spec,
        num_classes=data.class_map.num_classes,
        model=Architecture.from_json(saved) if saved is not None else None,
    )
    return InitialModel(architecture, data.class_map, spec, checkpoint, pruned, start)


def load_initial_state(
    initial: InitialModel,
    network: MaskRCNN,
    step: TrainStep,
    context: DistributedContext,
    reporter: Reporter,
) -> None:
    """Set the network and the optimizer of every rank to the values that the training starts from (collective).

    Args:
        initial: the files of the values.
        network: its variables are set.
        step: the state of its optimizer is set.
        context: the worker group.
        reporter: of the task.

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
    elif initial.start is not None:
        load_checkpoint(
            initial.start,
            network,
            skip=spec.skip_checkpoint_variables,
            class_map=initial.class_map,
            class_mapping=spec.class_mapping,
        )
    context.broadcast_variables(network.variables)
    restore_on_all_ranks(checkpoint.optimizer if checkpoint is not None else None, step, network, context)
