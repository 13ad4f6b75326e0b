"""Writing and evaluating the checkpoints of one training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_trainer.evaluation.validation import Validation
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.shared.fingerprints import FINGERPRINT, as_members
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.continuation import saved_experiment
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.position import DataProgress
from maskrcnn_trainer.training.preparation import TrainingData
from maskrcnn_trainer.training.shared_state import training_state
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.telemetry import Telemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointWriter:
    """Writer of a training's checkpoints on rank 0; it does nothing on the other ranks.

    Attributes:
        store: of rank 0; None on the others.
        spec: of the run.
        data: of the run.
        network: the network that is trained.
        step: its training step, with the state of the optimizer.
        progress: positions in the data.
        ranks: number of processes.
        fingerprints: of the step of the experiment, the recorded one last; empty for a run without an operator.
        reporter: of the task.
    """

    store: CheckpointStore | None
    spec: ExperimentSpec
    data: TrainingData
    network: MaskRCNN
    step: TrainStep
    progress: DataProgress
    ranks: int
    fingerprints: Sequence[str]
    reporter: Reporter

    def write(self, done: int) -> None:
        """Write the checkpoint after ``done`` steps.

        Raises:
            TryAgain: another run owns the directory now.
            WorkspaceFull: there is no space left.
        """
        if self.store is None:
            return
        path = self.store.write(self._content(done))
        self.reporter.running(f"Checkpoint {path.name} written.", step=done, checkpoint_step=done)
        log.info("Checkpoint %s written", path)

    def _content(self, done: int) -> ModelFile:
        return ModelFile(
            architecture=self.network.architecture.to_json(),
            experiment=saved_experiment(self.spec),
            class_map=self.data.class_map.to_json(),
            step=done,
            variables={name: variable.numpy() for name, variable in self.network.named_variables.items()},
            optimizer=training_state(self.step, self.network),
            state={
                FINGERPRINT: None,
                "ranks": self.ranks,
                "records": len(self.data.records),
                "recordsDigest": self.data.records_digest,
                **as_members(self.fingerprints),
                **self.progress.after(done).state(),
            },
        )


@dataclass(frozen=True)
class CheckpointEvaluator:
    """Evaluator of a training's checkpoints, on all ranks.

    Attributes:
        store: of rank 0; None on the others.
        data: of the run.
        validation: evaluates the network.
        progress: positions in the data.
        context: the worker group.
        stop: request to stop.
        telemetry: receives the metrics.
        previews: whether pictures of the first images are written to TensorBoard.
    """

    store: CheckpointStore | None
    data: TrainingData
    validation: Validation
    progress: DataProgress
    context: DistributedContext
    stop: StopRequest
    telemetry: Telemetry
    previews: bool

    def evaluate(self, done: int) -> None:
        """Evaluate the checkpoint after ``done`` steps, unless it already has metrics (collective).

        Raises:
            Stopped: a stop was requested.
        """
        known = self.context.broadcast_object(self.store.metrics(done) if self.store is not None else None)
        if known is not None:
            return
        evaluated = self.validation.run(check_stop=self.stop.check, previews=self.previews)
        if evaluated is None or self.store is None:
            return
        self.store.record_evaluation(done, evaluated.metrics)
        epoch = self.data.plan.epoch_of(self.progress.after(done).images)
        self.telemetry.evaluated(done, epoch, evaluated.metrics)
        if self.previews:
            self.telemetry.images(done, self.validation.preview_pictures(evaluated))
