"""One training: from its data, its network and what it resumes to its last checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.order import DataOrder
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.errors import InvalidInput, Stopped
from maskrcnn_trainer.evaluation.validation import Validation
from maskrcnn_trainer.fingerprints import as_members, fingerprint_of
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.listing import variable_listing
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import assign_variables
from maskrcnn_trainer.modelfile import ModelFile
from maskrcnn_trainer.progress import ProgressMeter, progress_bar
from maskrcnn_trainer.report import Reporter
from maskrcnn_trainer.runtime import compute_dtype
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.stopping import StopRequest
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.distributed import Ranks
from maskrcnn_trainer.training.preparation import TrainingData, prepare_data
from maskrcnn_trainer.training.pretrained import load_checkpoint
from maskrcnn_trainer.training.resume import check_resumable
from maskrcnn_trainer.training.retraining import check_same_pruning, open_pruned, retraining_advice
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.telemetry import Telemetry
from maskrcnn_trainer.workspace import manifest_paths

log = logging.getLogger(__name__)

UPDATES_OF_STATISTICS = "moving_average_updates"


class Training:
    """One training, resumed where its results directory left off.

    Attributes:
        data: records, classes, plan.
        network: the network being trained.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        ranks: Ranks,
        store: CheckpointStore | None,
        reporter: Reporter,
        stop: StopRequest,
        *,
        key: str | None,
        fingerprint: str | None,
        older_fingerprints: tuple[str, ...] = (),
    ) -> None:
        self.spec = spec
        self.ranks = ranks
        self.data: TrainingData = prepare_data(spec, ranks=ranks.size)
        self._store = store
        self._reporter = reporter
        self._stop = stop
        self._fingerprint = fingerprint
        self._fingerprints = (*older_fingerprints, fingerprint) if fingerprint else ()
        self._experiment: dict[str, Any] = manifest_paths(
            spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
        stop.check()

        resumed = self._find_checkpoint()
        if resumed is not None:
            check_same_pruning(spec, key, resumed.architecture)
        built: Mapping[str, Any] | None = ranks.share(resumed.architecture if resumed is not None else None)
        pruned = open_pruned(spec, key) if built is None else None
        if pruned is not None:
            built = pruned.architecture
        for line in retraining_advice(spec):
            log.warning("%s", line)
        architecture = (
            Architecture.from_json(built)
            if built is not None and spec.pruned_model_path is not None
            else Architecture.from_spec(spec, num_classes=self.data.class_map.num_classes)
        )
        self.network = MaskRCNN(
            architecture,
            freeze_bn=spec.maskrcnn_config.freeze_bn,
            freeze_blocks=spec.maskrcnn_config.freeze_blocks,
            dtype=compute_dtype(spec.use_amp),
            reduce_moments=ranks.reduce_moments,
            seed=spec.seed,
        )
        self._canvas = spec.data_config.image_size
        self._anchors = generate_anchors(architecture, self._canvas)
        self._step = TrainStep(
            self.network,
            TrainSettings.from_spec(spec, ranks=ranks.size),
            self._anchors,
            self._canvas,
            average=ranks.reduce_gradients,
        )
        for line in ("================ TRAINABLE VARIABLES ==================", *variable_listing(self.network)):
            log.info("%s", line)
        self._load_weights(resumed, pruned, key)
        self._validation = Validation(spec, self.network, self.data.class_map, ranks)

    @property
    def images_per_step(self) -> int:
        return self.spec.train_batch_size * self.ranks.size

    def run(self) -> None:
        """Trains to the last step; every ``num_steps_per_eval`` steps a checkpoint, then its evaluation.

        Raises:
            Stopped: on request, after a checkpoint of the step reached.
            InvalidInput: the loss is no number any more.
        """
        plan, done = self.data.plan, int(self._step.step.numpy())
        events = self._store.directory / "logs" / "tensorboard" if self._store is not None else None
        telemetry = Telemetry(
            events,
            self._reporter,
            plan,
            images_per_step=self.images_per_step,
            logging_frequency=self.spec.logging_frequency,
        )
        try:
            # A run that was cut off between a checkpoint and its evaluation makes up for it.
            if done and plan.is_evaluated_at(done):
                self._evaluate(done, telemetry)
            with progress_bar("Training", plan.total_steps, "steps", initial=done, log=log) as meter:
                batches = self._batches(done) if done < plan.total_steps else iter(())
                while done < plan.total_steps:
                    done = self._train_one_step(done, batches, telemetry, meter)
                    if plan.is_evaluated_at(done):
                        self._write_checkpoint(done)
                        self._evaluate(done, telemetry)
        finally:
            telemetry.close()

    def _batches(self, start_step: int) -> Iterator[Any]:
        data, ranks = self.data, self.ranks
        order = DataOrder(len(data.records), self.spec.data_config.shuffle_buffer_size, self.spec.seed)
        return named_faults(
            training_dataset(
                data.records,
                self.spec,
                data.class_map,
                self._anchors,
                start_step=start_step,
                rank=ranks.rank,
                ranks=ranks.size,
            ),
            data.records,
            lambda k: order.batch(start_step + k, ranks.rank, ranks.size, self.spec.train_batch_size).records,
            data.class_map,
        )

    def _train_one_step(self, done: int, batches: Iterator[Any], telemetry: Telemetry, meter: ProgressMeter) -> int:
        started = time.monotonic()
        # The request to stop travels with the gradients: all ranks see it after the same step.
        flags = tf.constant([1.0 if self._stop.asked else 0.0])
        measured = self._step(next(batches), flags)
        if not bool(measured["finite"]):
            raise InvalidInput(
                f"The loss is not a number at step {done + 1} (total {float(measured['total_loss'])}); lower "
                "initLearningRate, lengthen the warm-up, or set globalGradientClipRatio",
                reason="LossNotFinite",
            )
        done += 1
        epoch = self.data.epoch_of(done, self.images_per_step)
        telemetry.step(done, epoch, measured, time.monotonic() - started, meter)
        if self.data.epoch_of(done + 1, self.images_per_step) != epoch:
            telemetry.epoch_finished(epoch, done)
        if float(measured["flags"][0]) > 0 and done < self.data.plan.total_steps:
            self._write_checkpoint(done)
            self.ranks.leave_together()
            raise Stopped(f"Training was stopped on request after step {done}; it goes on from there")
        return done

    def _evaluate(self, step: int, telemetry: Telemetry) -> None:
        known = self.ranks.share(self._store.evaluations.get(step) if self._store is not None else None)
        if known is not None:
            return
        previews = self.spec.visualize_images_summary
        evaluated = self._validation.run(check_stop=self._stop.check, previews=previews)
        if evaluated is None or self._store is None:
            return
        self._store.record_evaluation(step, evaluated.metrics)
        telemetry.evaluated(step, self.data.epoch_of(step, self.images_per_step), evaluated.metrics)
        if previews:
            telemetry.images(step, self._validation.preview_pictures(evaluated))

    def _write_checkpoint(self, step: int) -> None:
        if self._store is None:
            return
        state = self._step.state()
        path = self._store.write(
            ModelFile(
                architecture=self.network.architecture.to_json(),
                experiment=self._experiment,
                class_map=self.data.class_map.to_json(),
                step=step,
                variables={name: variable.numpy() for name, variable in self.network.named_variables.items()},
                optimizer={**state, UPDATES_OF_STATISTICS: self.network.moving_average_updates.numpy()},
                state={"fingerprint": self._fingerprint, "ranks": self.ranks.size, "records": len(self.data.records)}
                | as_members(self._fingerprints),
            )
        )
        self._reporter.running(f"Checkpoint {path.name} written.", step=step, checkpoint_step=step)
        log.info("Checkpoint %s written", path)

    def _find_checkpoint(self) -> ModelFile | None:
        """The checkpoint to go on from (rank 0; the others get its content by broadcast)."""
        if self._store is None:
            return None
        # a directory that an operator's run has claimed holds nothing foreign
        model = self._store.newest(refuse_unreadable=self._fingerprint is None)
        if model is None:
            return None
        for note in check_resumable(
            model.experiment,
            self._experiment,
            saved_fingerprint=fingerprint_of(model.state, self._fingerprints),
            fingerprint=self._fingerprint,
        ):
            log.warning("Resuming with another schedule: %s", note)
        if model.step > self.data.plan.total_steps:
            raise InvalidInput(
                f"the results directory holds a checkpoint of step {model.step}, past totalSteps "
                f"{self.data.plan.total_steps}; give another results directory or a larger totalSteps"
            )
        return model

    def _load_weights(self, resumed: ModelFile | None, pruned: ModelFile | None, key: str | None) -> None:
        if resumed is not None:
            step = resumed.step
            log.info("Going on from step %d", step)
            self._reporter.running(f"Going on from step {step}.", step=step, checkpoint_step=step)
            assign_variables(self.network, resumed)
        elif pruned is not None:
            assign_variables(self.network, pruned)
        elif self.ranks.rank == 0 and self.spec.checkpoint:
            load_checkpoint(self.spec.checkpoint, self.network, skip=self.spec.skip_checkpoint_variables, key=key)
        self.ranks.broadcast(self.network.variables)
        state: Mapping[str, Any] | None = self.ranks.share(dict(resumed.optimizer) if resumed is not None else None)
        if state is not None:
            self._step.restore(state)
            self.network.moving_average_updates.assign(state[UPDATES_OF_STATISTICS])
