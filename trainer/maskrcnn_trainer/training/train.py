"""One training: from its data, its network and what it resumes to its last checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.identity import records_digest
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.errors import InvalidInput, Stopped
from maskrcnn_trainer.evaluation.validation import Validation
from maskrcnn_trainer.files import make_directory
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.listing import variable_listing
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import assign_variables
from maskrcnn_trainer.modelfile import ModelFile
from maskrcnn_trainer.progress import ProgressMeter, progress_bar
from maskrcnn_trainer.report import Reporter
from maskrcnn_trainer.runtime import compute_dtype, describe_runtime
from maskrcnn_trainer.shared.fingerprints import as_members, fingerprint_of
from maskrcnn_trainer.spec import ExperimentSpec, plan_steps
from maskrcnn_trainer.stopping import StopRequest
from maskrcnn_trainer.training.agreement import check_same_on_all_ranks
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.distributed import Ranks
from maskrcnn_trainer.training.evaluations import validation_identity
from maskrcnn_trainer.training.not_finite import not_finite
from maskrcnn_trainer.training.position import DataPosition, resumed_position
from maskrcnn_trainer.training.preparation import TrainingData, prepare_data
from maskrcnn_trainer.training.pretrained import load_checkpoint
from maskrcnn_trainer.training.resume import (
    absent_values,
    changed_ranks,
    check_resumable,
    check_same_classes,
    check_same_records,
    has_same_records,
)
from maskrcnn_trainer.training.retraining import check_same_pruning, open_pruned, retraining_advice
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.shared_state import restore_on_all_ranks, training_state
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.telemetry import Telemetry
from maskrcnn_trainer.workspace import manifest_paths

log = logging.getLogger(__name__)


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
        self.ranks = ranks
        self.data: TrainingData = prepare_data(spec, ranks=ranks.size)
        self._records_digest = records_digest(self.data.records)
        check_same_on_all_ranks(self.data.records, "trainingFilePattern", ranks)
        self._store = store
        self._reporter = reporter
        self._stop = stop
        self._fingerprint = fingerprint
        self._fingerprints = (*older_fingerprints, fingerprint) if fingerprint else ()
        stop.check()

        # a directory that an operator's run has claimed holds nothing foreign
        resumed = store.newest(refuse_unreadable=fingerprint is None) if store is not None else None
        self.spec = spec = self._with_absent_values(spec, resumed)
        self._experiment: dict[str, Any] = manifest_paths(
            spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
        began = self._check_resumable(resumed) if resumed is not None else DataPosition()
        self._began: DataPosition = ranks.share(began)
        self.data = self._continued(self._began)
        if resumed is not None:
            check_same_pruning(spec, key, resumed.architecture)
        built: Mapping[str, Any] | None = ranks.share(resumed.architecture if resumed is not None else None)
        pruned = open_pruned(spec, key) if built is None else None
        if pruned is not None:
            built = pruned.architecture
            self.data.validation.check_model(class_map_of(pruned), str(spec.pruned_model_path))
        for line in retraining_advice(spec):
            log.warning("%s", line)
        architecture = (
            Architecture.from_json(built)
            if built is not None and spec.pruned_model_path is not None
            else Architecture.from_spec(spec, num_classes=self.data.class_map.num_classes)
        )
        dtype = compute_dtype(spec.use_amp)
        log.info("%s", describe_runtime(dtype, processes=ranks.size, threads=ranks.threads))
        self.network = MaskRCNN(
            architecture,
            freeze_bn=spec.maskrcnn_config.freeze_bn,
            freeze_blocks=spec.maskrcnn_config.freeze_blocks,
            dtype=dtype,
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
        self._validation = Validation(
            spec, self.network, self.data.class_map, self.data.validation, threads=ranks.threads, group=ranks
        )
        # the annotations of other ranks' images, hundreds of megabytes in a large set, are not needed again
        own = replace(self.data.validation, ground_truth=self._validation.ground_truth)
        self.data = replace(self.data, validation=own)
        if store is not None:
            step = resumed.step if resumed is not None else None
            store.take_up(step, validation_identity(spec, self.data.validation.records))
        check_same_on_all_ranks(self.data.validation.records, "validationFilePattern", ranks)

    @property
    def images_per_step(self) -> int:
        return self.spec.train_batch_size * self.ranks.size

    def _images_after(self, step: int) -> int:
        """Return the number of images that all ranks have trained on after ``step`` steps."""
        return self._began.after(step, self.images_per_step).images

    def run(self) -> None:
        """Trains to the last step; every ``num_steps_per_eval`` steps a checkpoint, then its evaluation.

        Raises:
            Stopped: on request, after a checkpoint of the step reached.
            InvalidInput: the loss or the gradients are not finite any more.
        """
        plan, done = self.data.plan, int(self._step.step.numpy())
        events = make_directory(self._store.directory / "logs" / "tensorboard") if self._store is not None else None
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
                batches = self._batches() if done < plan.total_steps else iter(())
                while done < plan.total_steps:
                    done = self._train_one_step(done, batches, telemetry, meter)
                    if plan.is_evaluated_at(done):
                        self._write_checkpoint(done)
                        self._evaluate(done, telemetry)
        finally:
            telemetry.close()

    def _batches(self) -> Iterator[Any]:
        """The batches of this rank, from where the training began or resumed."""
        data, ranks, began = self.data, self.ranks, self._began
        order = began.order(len(data.records), self.spec.seed)

        def records_of(element: int) -> Iterable[int]:
            start = self._images_after(began.step + element)
            batch = order.batch(start, ranks.rank, ranks.size, self.spec.train_batch_size)
            return [int(record) for record in batch.records]

        return named_faults(
            training_dataset(
                data.records,
                self.spec,
                data.class_map,
                self._anchors,
                start=began.images,
                rank=ranks.rank,
                ranks=ranks.size,
                order=order,
            ),
            data.records,
            records_of,
            data.class_map,
        )

    def _train_one_step(self, done: int, batches: Iterator[Any], telemetry: Telemetry, meter: ProgressMeter) -> int:
        started = time.monotonic()
        # The request to stop travels with the gradients: all ranks see it after the same step.
        flags = tf.constant([1.0 if self._stop.asked else 0.0])
        measured = self._step(next(batches), flags)
        if not bool(measured["finite"]):
            raise InvalidInput(not_finite(done + 1, measured, self._step), reason="LossNotFinite")
        done += 1
        plan, images = self.data.plan, self._images_after(done)
        telemetry.step(done, plan.epoch_of(images), measured, time.monotonic() - started, meter)
        finished = plan.epochs_finished(images)
        if finished > plan.epochs_finished(self._images_after(done - 1)):
            telemetry.epoch_finished(finished, done)
        if float(measured["flags"][0]) > 0 and done < self.data.plan.total_steps:
            self._write_checkpoint(done)
            self.ranks.leave_together()
            raise Stopped(f"Training was stopped on request after step {done}; run it again to resume from there")
        return done

    def _evaluate(self, step: int, telemetry: Telemetry) -> None:
        known = self.ranks.share(self._store.metrics(step) if self._store is not None else None)
        if known is not None:
            return
        previews = self.spec.visualize_images_summary
        evaluated = self._validation.run(check_stop=self._stop.check, previews=previews)
        if evaluated is None or self._store is None:
            return
        self._store.record_evaluation(step, evaluated.metrics)
        telemetry.evaluated(step, self.data.plan.epoch_of(self._images_after(step)), evaluated.metrics)
        if previews:
            telemetry.images(step, self._validation.preview_pictures(evaluated))

    def _write_checkpoint(self, step: int) -> None:
        if self._store is None:
            return
        path = self._store.write(
            ModelFile(
                architecture=self.network.architecture.to_json(),
                experiment=self._experiment,
                class_map=self.data.class_map.to_json(),
                step=step,
                variables={name: variable.numpy() for name, variable in self.network.named_variables.items()},
                optimizer=training_state(self._step, self.network),
                state={
                    "fingerprint": self._fingerprint,
                    "ranks": self.ranks.size,
                    "records": len(self.data.records),
                    "recordsDigest": self._records_digest,
                    **as_members(self._fingerprints),
                    **self._began.after(step, self.images_per_step).state(),
                },
            )
        )
        self._reporter.running(f"Checkpoint {path.name} written.", step=step, checkpoint_step=step)
        log.info("Checkpoint %s written", path)

    def _with_absent_values(self, spec: ExperimentSpec, resumed: ModelFile | None) -> ExperimentSpec:
        """Return the spec with the checkpoint's values for what it leaves out, the same on every rank."""
        values = self.ranks.share(absent_values(spec, resumed.experiment) if resumed is not None else None)
        if not values:
            return spec
        config = spec.maskrcnn_config.model_copy(update=values)
        if resumed is not None:
            log.warning(
                "maskrcnnConfig.freezeBlocks is absent: it stays %s, as in the checkpoint of step %d; a new training "
                "would take %s",
                list(config.freeze_blocks),
                resumed.step,
                list(spec.maskrcnn_config.freeze_blocks),
            )
        return spec.model_copy(update={"maskrcnn_config": config})

    def _check_resumable(self, model: ModelFile) -> DataPosition:
        """Return where a checkpoint continues; log what differs between it and this run (rank 0).

        Raises:
            InvalidInput: another experiment, other classes, other records, or another order of them.
        """
        records = len(self.data.records)
        for note in check_resumable(
            model.experiment,
            self._experiment,
            saved_fingerprint=fingerprint_of(model.state, self._fingerprints),
            fingerprint=self._fingerprint,
            same_records=has_same_records(model.state, records, self._records_digest) is True,
        ):
            log.warning("Resuming with another schedule: %s", note)
        check_same_classes(class_map_of(model), self.data.class_map)
        other_data = check_same_records(
            model.state,
            step=model.step,
            pattern=str(self.spec.data_config.training_file_pattern),
            records=records,
            digest=self._records_digest,
            refuse=self._fingerprint is None,
        )
        if other_data:
            log.warning("Resuming on other data: %s", other_data)
        position = resumed_position(model, self.spec, num_records=records)
        other_ranks = changed_ranks(model.state, self.ranks.size, self.spec.train_batch_size, position.images)
        if other_ranks:
            log.warning("Resuming with another number of processes: %s", other_ranks)
        return position

    def _continued(self, began: DataPosition) -> TrainingData:
        """Return the data with a plan from ``began`` on: the epochs left take other steps with other ranks."""
        records, processes = self.data.records, self.ranks.size
        plan = plan_steps(
            self.spec, num_records=len(records), ranks=processes, steps_done=began.step, images_done=began.images
        )
        if began.step > plan.total_steps:
            field = "totalSteps" if self.spec.num_epochs is None else "numEpochs"
            raise InvalidInput(
                f"the results directory holds a checkpoint of step {began.step}, past the {plan.total_steps} steps of "
                f"{field}; give another results directory or a larger {field}"
            )
        if plan.total_steps != self.data.plan.total_steps:
            log.info("%d steps in all, with the images of the %d steps done", plan.total_steps, began.step)
        return replace(self.data, plan=plan)

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
        state = resumed.optimizer if resumed is not None else None
        restore_on_all_ranks(state, self._step, self.network, self.ranks)
