"""Content of one experiment from its directory, with what its pictures need."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.evaluation.coco_results import CocoResult
from maskrcnn_trainer.report.analysis import analyze, contradiction
from maskrcnn_trainer.report.better_model import better_model
from maskrcnn_trainer.report.content import DataSet, Evaluation, Experiment, TrainingHistory
from maskrcnn_trainer.report.data_sets import TRAINING, VALIDATION, conversion_by_tag, conversion_of, counted, data_set
from maskrcnn_trainer.report.facts import facts_of
from maskrcnn_trainer.report.inputs.detections import Metrics, read_detections, read_metrics
from maskrcnn_trainer.report.inputs.experiment_directory import ExperimentDirectory
from maskrcnn_trainer.report.inputs.files import Unreadable, text, whole
from maskrcnn_trainer.report.inputs.history import history_of
from maskrcnn_trainer.report.inputs.spec import ModelDescription, description_of_model, spec_in, spec_of_attempt
from maskrcnn_trainer.report.inputs.step import Step
from maskrcnn_trainer.report.inputs.validation import Validation, open_validation, recorded_identity
from maskrcnn_trainer.report.models import model_rows
from maskrcnn_trainer.report.spec_differences import differences_from_defaults, values_of
from maskrcnn_trainer.report.trainings import training_history
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.task_name import TaskName

log = logging.getLogger(__name__)

NO_EVALUATION = "No evaluate step has finished. Add one to the experiment: {name: evaluate, evaluate: {}}."
UNFINISHED_TRAINING = "Step {} hasn't finished; its curves end where it was last recorded."
RECORDS_DIGEST, RECORDS = "recordsDigest", "records"


@dataclass(frozen=True)
class Analyzed:
    """An evaluation with the inputs from which its pictures are drawn.

    Attributes:
        evaluation: the analysis, without pictures.
        results: its detections.
        validation: its images and annotations.
    """

    evaluation: Evaluation
    results: Sequence[CocoResult]
    validation: Validation


@dataclass(frozen=True)
class ReadExperiment:
    """Content of one experiment, and what a comparison with others and the pictures need.

    Attributes:
        experiment: the content, without pictures.
        directory: its steps.
        spec: value of each field as JSON text; None if it isn't recorded.
        validation: digest of the validation images and annotations; None if they can't be read.
        recorded_validation: identity that the evaluation recorded; None from an earlier release.
        analyzed: the evaluation; None if it can't be read.
    """

    experiment: Experiment
    directory: ExperimentDirectory
    spec: Mapping[str, str] | None
    validation: str | None
    recorded_validation: str | None
    analyzed: Analyzed | None


def read_experiment(directory: ExperimentDirectory) -> ReadExperiment:
    """Return the content of an experiment; what can't be read becomes a note."""
    reader = _Reader(directory)
    specs = reader.specs()
    metrics = reader.metrics()
    evaluation, analyzed = reader.evaluation(metrics, specs)
    directory = replace(directory, evaluation=evaluation)
    training, with_spec = reader.training(evaluation), reader.step_with_spec(evaluation, specs)
    spec = specs.of(with_spec)
    values = None if spec is None else values_of(spec, directory.paths)
    if values is None:
        reader.notes.append("The spec isn't recorded, or its model is encrypted.")
    identity = None if analyzed is None else analyzed.validation.identity
    recorded = None if evaluation is None else recorded_identity(evaluation.directory)
    models = model_rows(directory, metrics, retrained=specs.retrained())
    experiment = Experiment(
        name=directory.name,
        differences=None if values is None else differences_from_defaults(values),
        data=reader.data(spec, training, specs, analyzed, recorded),
        facts=facts_of(directory.steps, spec),
        trainings=reader.trainings(),
        models=models,
        evaluation=None if analyzed is None else analyzed.evaluation,
        notes=tuple(dict.fromkeys((*directory.notes, *reader.notes))),
        spec_step=None if with_spec is None else with_spec.name,
        better=None if analyzed is None else better_model(models, analyzed.evaluation),
    )
    return ReadExperiment(experiment, directory, values, identity, recorded, analyzed)


class _Specs:
    """Specs of the steps, each read once."""

    def __init__(self, directory: ExperimentDirectory, notes: list[str]) -> None:
        self._directory = directory
        self._notes = notes
        self._of_step: dict[Step, ExperimentSpec | None] = {}
        self._described: dict[Path, ModelDescription | None] = {}

    def of(self, step: Step | None) -> ExperimentSpec | None:
        """Return the spec that a step read; for one without a file of it, that of its model."""
        if step is None:
            return None
        if step not in self._of_step:
            self._of_step[step] = self._read(step)
        return self._of_step[step]

    def description(self, step: Step | None) -> ModelDescription | None:
        """Return the description of the model that a step made or evaluated; None if it can't be read."""
        if step is None or step.model_path is None or not step.model_path.endswith(".tlt"):
            return None
        file = self._directory.paths.present(step.model_path)
        if file not in self._described:
            try:
                self._described[file] = description_of_model(file)
            except Unreadable:
                self._described[file] = None
        return self._described[file]

    def retrained(self) -> frozenset[str]:
        """Return the names of the train steps that started from a pruned model."""
        return frozenset(step.name for step in self._directory.of(TaskName.TRAIN) if self._starts_from_pruned(step))

    def _starts_from_pruned(self, step: Step) -> bool:
        if step.in_part:
            makers = (self._directory.maker(one) for one in step.inputs)
            return any(maker is not None and maker.task is TaskName.PRUNE for maker in makers)
        spec = self.of(step)
        return spec is not None and bool(spec.pruned_model_path)

    def _read(self, step: Step) -> ExperimentSpec | None:
        try:
            spec = spec_of_attempt(step.directory)
            description = self.description(step) if spec is None else None
            if description is None or step.model_path is None:
                return spec
            return spec_in(description, self._directory.paths.present(step.model_path))
        except Unreadable as error:
            self._notes.append(str(error))
            return None


class _Reader:
    """Reader of the parts of one experiment, which collects notes about what can't be read."""

    def __init__(self, directory: ExperimentDirectory) -> None:
        self.notes: list[str] = []
        self._directory = directory

    def specs(self) -> _Specs:
        """Return the specs of the steps."""
        return _Specs(self._directory, self.notes)

    def metrics(self) -> dict[Step, Metrics]:
        """Return the metrics of each evaluate step in their order."""
        found = {}
        for step in self._directory.of(TaskName.EVALUATE):
            try:
                found[step] = read_metrics(step.directory)
            except Unreadable as error:
                self.notes.append(str(error))
        return found

    def evaluation(self, metrics: Mapping[Step, Metrics], specs: _Specs) -> tuple[Step | None, Analyzed | None]:
        """Return the evaluation to show, the first that can be analyzed; without one, the first, and no analysis."""
        first = self._directory.evaluation
        if first is None:
            self.notes.append(NO_EVALUATION)
            return None, None
        for step in (first, *self._directory.other_evaluations):
            spec = specs.of(step) or specs.of(self.step_with_spec(step, specs))
            if step in metrics and (analyzed := self.analyzed(step, metrics[step], spec)) is not None:
                if step != first:
                    self.notes.append(f"Step {step.name} is shown, because step {first.name} can't be analyzed.")
                return step, analyzed
        return first, None

    def training(self, evaluation: Step | None) -> Step | None:
        """Return the training of the evaluated model, else the last training, one that has finished if there is any."""
        maker = self._directory.maker(None if evaluation is None else evaluation.model_path)
        if maker is not None and maker.task is TaskName.TRAIN:
            return maker
        return max(self._directory.of(TaskName.TRAIN)[::-1], key=lambda step: step.finished, default=None)

    def step_with_spec(self, evaluation: Step | None, specs: _Specs) -> Step | None:
        """Return the first of the training and the evaluation whose spec can be read."""
        return next(
            (step for step in (self.training(evaluation), evaluation) if step is not None and specs.of(step)), None
        )

    def trainings(self) -> tuple[TrainingHistory, ...]:
        """Return the curves of each train step."""
        found = []
        for step in self._directory.of(TaskName.TRAIN):
            if step.in_part:
                continue
            if not step.finished:
                self.notes.append(UNFINISHED_TRAINING.format(step.name))
            history = history_of(step.directory, self.notes)
            if history is not None:
                found.append(training_history(step.name, history))
        return tuple(found)

    def analyzed(self, step: Step, metrics: Metrics, spec: ExperimentSpec | None) -> Analyzed | None:
        """Return the analysis of an evaluation; None if one of its inputs can't be read."""
        try:
            log.info("Reading the detections and annotations of %s", step.name)
            validation = open_validation(step.directory, spec, self._directory.paths, evaluated=metrics.images)
            truth = validation.ground_truth
            sizes = {image_id: (one["height"], one["width"]) for image_id, one in truth.images.items()}
            results = read_detections(step.directory, sizes)
            log.info("Analyzing %d detections in %d images", len(results), len(validation.images))
            evaluation = analyze(
                results,
                truth,
                validation.images,
                metrics=metrics.values,
                class_metrics=metrics.by_class,
                step=step.name,
                model=step.model_path or "",
            )
        except (Unreadable, TaskError) as error:
            self.notes.append(str(error))
            return None
        self.notes += filter(None, (validation.note, contradiction(evaluation)))
        return Analyzed(evaluation, results, validation)

    def data(
        self,
        spec: ExperimentSpec | None,
        training: Step | None,
        specs: _Specs,
        analyzed: Analyzed | None,
        recorded: str | None,
    ) -> tuple[DataSet, ...]:
        """Return what is known of the training and the validation set."""
        files = None if spec is None else spec.data_config
        description = specs.description(training)
        state = {} if description is None else description.state
        of_training = data_set(
            TRAINING,
            conversion_of(self._directory, files.training_file_pattern)
            if files
            else conversion_by_tag(self._directory, TRAINING),
            images=whole(state.get(RECORDS)),
            identity=text(state.get(RECORDS_DIGEST)),
        )
        conversion = (
            conversion_of(self._directory, files.validation_file_pattern)
            if files
            else conversion_by_tag(self._directory, VALIDATION)
        )
        validation = None if analyzed is None else analyzed.validation
        of_validation = data_set(
            VALIDATION,
            conversion,
            images=None if validation is None else len(validation.images),
            identity=recorded if validation is None else validation.identity,
        )
        if of_validation is not None and validation is not None and not of_validation.classes:
            classes = counted(validation.ground_truth, validation.images)
            of_validation = DataSet(VALIDATION, of_validation.images, classes, of_validation.identity)
        return tuple(one for one in (of_training, of_validation) if one is not None)
