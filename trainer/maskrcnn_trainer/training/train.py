"""A whole training, from its data to its last checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from maskrcnn_trainer.data.identity import validation_identity
from maskrcnn_trainer.evaluation.validation import Validation
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN, variable_listing
from maskrcnn_trainer.results.history import HistoryWriter
from maskrcnn_trainer.spec import ExperimentSpec, StepPlan
from maskrcnn_trainer.task.files import make_directory
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.task.runtime import compute_dtype, describe_runtime
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training.agreement import check_same_on_all_ranks
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.checkpointing import CheckpointEvaluator, CheckpointWriter
from maskrcnn_trainer.training.continuation import find_continuation
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.initial_model import find_initial_model, load_initial_state
from maskrcnn_trainer.training.loop import TrainingLoop, training_batches
from maskrcnn_trainer.training.position import DataProgress
from maskrcnn_trainer.training.preparation import prepare_data
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.telemetry import Telemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes:
        steps: of the whole training.
        parameters: of the network, including moving statistics.
    """

    steps: int
    parameters: int


def train(
    spec: ExperimentSpec,
    context: DistributedContext,
    store: CheckpointStore | None,
    reporter: Reporter,
    stop: StopRequest,
    *,
    key: str | None,
    fingerprints: Sequence[str],
) -> Trained:
    """Train to the last step; every ``num_steps_per_eval`` steps write a checkpoint and evaluate it.

    The training continues from the newest checkpoint if there is one. All ranks call this function together, since it
    uses collective operations in the same order on each.

    Args:
        spec: of the run.
        context: the worker group.
        store: of rank 0; None on the others.
        reporter: of the task.
        stop: request to stop.
        key: encryption key of a pruned or pretrained model.
        fingerprints: of the step of the experiment, the recorded one last; empty for a run without an operator.

    Raises:
        Stopped: a stop was requested; the checkpoint of the last step done was written.
        InvalidInput: the data, the checkpoint, or the model is invalid, or the loss or gradients are no longer finite.
        TryAgain: ranks found different records, or another run owns the results directory.
    """
    # data
    data = prepare_data(spec, ranks=context.size)
    check_same_on_all_ranks(data.records, "trainingFilePattern", context)
    stop.check()

    # checkpoint to continue from
    continuation = find_continuation(spec, data, context, store, fingerprints)
    spec, plan = continuation.spec, continuation.plan
    data = replace(data, plan=plan)
    progress = DataProgress(continuation.position, images_per_step=spec.train_batch_size * context.size)

    # model
    initial = find_initial_model(continuation, data, context, key=key)
    network = _build_network(spec, initial.architecture, context)

    # optimizer
    image_size = spec.data_config.image_size
    anchors = generate_anchors(initial.architecture, image_size)
    settings = TrainSettings.from_spec(spec, architecture=initial.architecture, ranks=context.size)
    step = TrainStep(network, settings, anchors, image_size, average=context.reduce_gradients, jit_compile=spec.xla)

    # weights and state of the optimizer
    load_initial_state(initial, network, step, context, reporter)
    del continuation, initial  # free the contents of files, which network and optimizer have copied

    # validation
    validation = Validation(spec, network, data.class_map, data.validation, threads=context.threads, group=context)
    # free the annotations of the other ranks' images, hundreds of megabytes in a large set
    data = replace(data, validation=replace(data.validation, ground_truth=validation.ground_truth))
    if store is not None:
        store.take_up(progress.start.step, validation_identity(spec, data.validation.records))
    check_same_on_all_ranks(data.validation.records, "validationFilePattern", context)
    reporter.accepted()

    # loop
    telemetry = _telemetry(spec, store, reporter, plan, progress)
    loop = TrainingLoop(
        step,
        plan,
        progress,
        context,
        stop,
        telemetry,
        CheckpointWriter(store, spec, data, network, step, progress, context.size, fingerprints, reporter),
        CheckpointEvaluator(
            store, data, validation, progress, context, stop, telemetry, previews=spec.visualize_images_summary
        ),
    )
    with closing(telemetry):
        loop.run(partial(training_batches, spec, data, anchors, context, progress))
    return Trained(plan.total_steps, network.parameter_count)


def _telemetry(
    spec: ExperimentSpec, store: CheckpointStore | None, reporter: Reporter, plan: StepPlan, progress: DataProgress
) -> Telemetry:
    return Telemetry(
        make_directory(store.directory / "logs" / "tensorboard") if store is not None else None,
        reporter,
        plan,
        images_per_step=progress.images_per_step,
        logging_frequency=spec.logging_frequency,
        history=_history(store, progress.start.step) if store is not None else None,
    )


def _history(store: CheckpointStore, resumed: int) -> HistoryWriter:
    history = HistoryWriter(store.directory, before_write=store.guard)
    history.take_up(resumed, store.metrics(resumed) if resumed else None)
    return history


def _build_network(spec: ExperimentSpec, architecture: Architecture, context: DistributedContext) -> MaskRCNN:
    dtype = compute_dtype(spec.use_amp)
    log.info("%s", describe_runtime(dtype, processes=context.size, threads=context.threads))
    network = MaskRCNN(
        architecture,
        freeze_bn=spec.maskrcnn_config.freeze_bn,
        freeze_bn_affine=spec.maskrcnn_config.freeze_bn_affine,
        freeze_blocks=spec.maskrcnn_config.freeze_blocks,
        dtype=dtype,
        sync_moments=context.sync_moments if spec.maskrcnn_config.sync_bn else None,
        seed=spec.seed,
    )
    for line in ("================ TRAINABLE VARIABLES ==================", *variable_listing(network)):
        log.info("%s", line)
    return network
