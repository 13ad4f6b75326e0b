"""The operator's table of tasks: all properties of a task that the operator uses, one entry for each task.

Properties that the trainer uses too are in its own table (:mod:`maskrcnn_trainer.spec.task_table`).

A new task is a name (:class:`maskrcnn_trainer.spec.task_name.TaskName`), a running reason, an options class
(:mod:`maskrcnn_operator.api.tasks`), a field of :class:`maskrcnn_operator.api.experiment.Step`, and an entry here. No
other module compares names or types of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Generic, Literal, Protocol, TypeVar

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.tasks import DatasetConvert, Evaluate, Export, Inference, Prune, TaskOptions, Train
from maskrcnn_trainer.spec.data_config import DataConfig
from maskrcnn_trainer.spec.named_files import file_fields
from maskrcnn_trainer.spec.purposes import Purpose, Purposes
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import CALIBRATION_CACHE_FILE, ENCRYPTED_ONNX_FILE, ENGINE_FILE, ONNX_FILE, TASKS

OptionsT = TypeVar("OptionsT", bound=TaskOptions)

TRAINING_RECORDS = "training_file_pattern"
VALIDATION_RECORDS = "validation_file_pattern"
VALIDATION_ANNOTATIONS = "val_json_file"
FILE_FIELDS = file_fields(DataConfig)
"""Fields of ``dataConfig`` that name files."""


class Model(StrEnum):
    """Kinds of model files, by what they can be used for."""

    TRAINED = "trained"
    PRUNED = "pruned"
    """Must be retrained before it is used for detection."""
    EXPORTED = "exported"
    """Made for another runtime; used only if modelFrom or modelPath names it."""


class Shown(StrEnum):
    """Field of the experiment's status that shows the result of the newest finished step of a task."""

    METRICS = "metrics"
    MODEL_PATH = "modelPath"
    EXPORT_PATH = "exportPath"


@dataclass(frozen=True, slots=True)
class Records:
    """TFRecords that a step writes.

    Attributes:
        split: train for training, val for validation.
        prefix: of their file names.
        annotations_file: path of the annotations from which they are made.
    """

    split: Literal["train", "val"]
    prefix: str
    annotations_file: str


class Paths(Protocol):
    """Paths of one attempt, as its process sees them."""

    @property
    def results_dir(self) -> str:
        """Path of the step's results directory."""

    @property
    def encrypted(self) -> bool:
        """True if model files are encrypted with a key."""

    @property
    def path(self) -> Callable[[str], str]:
        """Function that maps a path of the manifest to one that the process can open."""


def _nothing(_: TaskOptions) -> Mapping[str, str | None]:
    return {}


def _no_names(_: TaskOptions) -> tuple[str, ...]:
    return ()


def _no_purposes(_: TaskOptions) -> Purposes:
    return frozenset()


@dataclass(frozen=True)
class TaskKind(Generic[OptionsT]):
    """Entry of one task.

    Attributes:
        options: type of the step's field with the task's name.
        running: reason of a step while it runs the task.
        arguments: words of the command line after the task's name, the spec (-e), and the model (-m).
        reads_spec: whether it reads the merged experiment spec.
        uses_models: kinds of models that the task can use; empty for a task without a model.
        model_in_spec: whether the model is an optional field of the spec; otherwise it is required, with -m.
        makes_model: kind of the model that it writes, encrypted if a key is used; None for a task that writes none.
        shown: field of the experiment's status that shows its result.
        records: TFRecords that it writes; None for a task that writes none.
        files: fields of FILE_FIELDS that it requires; None for a task that reads none.
        reads_by_option: purposes for which it reads the spec with certain options, in addition to ``reads`` of the
            trainer's table, as far as they change its result.
        inputs: options that are paths to read, by their names below the options in the manifest.
        without_effect: options that don't change its result, by their Python names.
    """

    options: type[OptionsT]
    running: Reason
    arguments: Callable[[OptionsT, Paths], list[str]]
    reads_spec: bool
    uses_models: frozenset[Model]
    makes_model: Model | None
    shown: Shown | None
    model_in_spec: bool = False
    records: Callable[[OptionsT], Records] | None = None
    files: Callable[[OptionsT], tuple[str, ...]] | None = None
    reads_by_option: Callable[[OptionsT], Purposes] = _no_purposes
    inputs: Callable[[OptionsT], Mapping[str, str | None]] = _nothing
    without_effect: Callable[[OptionsT], tuple[str, ...]] = _no_names

    @property
    def needs_model_argument(self) -> bool:
        """Return whether the task requires a model, given with -m."""
        return bool(self.uses_models) and not self.model_in_spec

    @property
    def makes_next_model(self) -> bool:
        """Return whether later steps use the task's model by default."""
        return self.makes_model is not None and self.makes_model is not Model.EXPORTED


def _convert_arguments(options: DatasetConvert, paths: Paths) -> list[str]:
    words = ["-i", paths.path(options.image_dir), "-a", paths.path(options.annotations_file), "-o", paths.results_dir]
    words += ["-t", options.tag] if options.tag else []
    words += ["-s", str(options.num_shards)]
    words += ["--include_mask" if options.include_mask else "--no-include_mask"]
    words += ["--skip_bad_images"] if options.skip_bad_images else []
    words += ["--crowd_as_objects"] if options.crowd_as_objects else []
    return words


def _default_prefix(options: DatasetConvert) -> str:
    return PurePosixPath(options.annotations_file).stem


def _converted(options: DatasetConvert) -> Records:
    return Records(options.split, options.tag or _default_prefix(options), options.annotations_file)


def _convert_without_effect(options: DatasetConvert) -> tuple[str, ...]:
    # the split changes the steps that read the set, not the set itself; a tag equal to the default is the default
    return ("split", "tag") if options.tag == _default_prefix(options) else ("split",)


def _train_arguments(options: Train, paths: Paths) -> list[str]:
    return ["-d", paths.results_dir, *(["--output", options.output] if options.output != "last" else [])]


def _train_reads(options: Train) -> Purposes:
    evaluations = frozenset({Purpose.DETECTION, Purpose.VALIDATION, Purpose.BEST_CHECKPOINT})
    return evaluations if options.output == "best" else frozenset()


def _evaluate_arguments(_: Evaluate, paths: Paths) -> list[str]:
    return ["-r", paths.results_dir]


def _prune_arguments(options: Prune, paths: Paths) -> list[str]:
    words = ["-o", paths.results_dir, "-n", options.normalizer, "-eq", options.equalization_criterion]
    words += ["-pg", str(options.pruning_granularity), "-pth", str(options.pruning_threshold)]
    words += ["-nf", str(options.min_num_filters)]
    return words + (["-el", *options.excluded_layers] if options.excluded_layers else [])


def _inference_arguments(options: Inference, paths: Paths) -> list[str]:
    words = ["-i", paths.path(options.image_dir), "-r", paths.results_dir, "-t", str(options.threshold)]
    words += ["-c", paths.path(options.class_map)] if options.class_map else []
    words += ["--include_mask"] if options.include_mask else []
    words += ["--exif"] if options.exif else []
    return words


def _export_arguments(options: Export, paths: Paths) -> list[str]:
    results = paths.results_dir
    output = f"{results}/{ENCRYPTED_ONNX_FILE if paths.encrypted else ONNX_FILE}"
    words = ["-o", output, "--data_type", options.data_type, "--batch_size", str(options.batch_size)]
    words += ["--max_batch_size", str(options.max_batch_size), "--max_workspace_size", str(options.max_workspace_size)]
    if options.calibrates:
        words += [
            "--batches",
            str(options.calibration.batches),
            "--cal_cache_file",
            f"{results}/{CALIBRATION_CACHE_FILE}",
        ]
        if options.calibration.image_dir:
            words += ["--cal_image_dir", paths.path(options.calibration.image_dir)]
    words += ["--engine_file", f"{results}/{ENGINE_FILE}"] if options.engine.build else []
    words += ["--gen_ds_config"] if options.gen_ds_config else []
    words += ["--preprocessing"] if options.preprocessing else []
    return words


def _export_reads(options: Export) -> Purposes:
    if options.calibrates_on_records:
        return frozenset({Purpose.CALIBRATION, Purpose.CALIBRATION_RECORDS})
    return frozenset({Purpose.CALIBRATION}) if options.calibrates else frozenset()


TASK_KINDS: Mapping[TaskName, TaskKind[Any]] = {
    TaskName.DATASET_CONVERT: TaskKind(
        options=DatasetConvert,
        running=Reason.CONVERTING,
        arguments=_convert_arguments,
        reads_spec=False,
        uses_models=frozenset(),
        makes_model=None,
        shown=None,
        records=_converted,
        inputs=lambda options: {"imageDir": options.image_dir, "annotationsFile": options.annotations_file},
        without_effect=_convert_without_effect,
    ),
    TaskName.TRAIN: TaskKind(
        options=Train,
        running=Reason.TRAINING,
        arguments=_train_arguments,
        reads_spec=True,
        uses_models=frozenset({Model.TRAINED, Model.PRUNED}),
        model_in_spec=True,
        makes_model=Model.TRAINED,
        shown=Shown.MODEL_PATH,
        files=lambda _: FILE_FIELDS,
        reads_by_option=_train_reads,
    ),
    TaskName.EVALUATE: TaskKind(
        options=Evaluate,
        running=Reason.EVALUATING,
        arguments=_evaluate_arguments,
        reads_spec=True,
        uses_models=frozenset({Model.TRAINED, Model.EXPORTED}),
        makes_model=None,
        shown=Shown.METRICS,
        files=lambda _: (VALIDATION_RECORDS, VALIDATION_ANNOTATIONS),
    ),
    TaskName.PRUNE: TaskKind(
        options=Prune,
        running=Reason.PRUNING,
        arguments=_prune_arguments,
        reads_spec=False,
        uses_models=frozenset({Model.TRAINED, Model.PRUNED}),
        makes_model=Model.PRUNED,
        shown=None,
    ),
    TaskName.INFERENCE: TaskKind(
        options=Inference,
        running=Reason.INFERRING,
        arguments=_inference_arguments,
        reads_spec=True,
        uses_models=frozenset({Model.TRAINED, Model.EXPORTED}),
        makes_model=None,
        shown=None,
        inputs=lambda options: {"imageDir": options.image_dir, "classMap": options.class_map},
    ),
    TaskName.EXPORT: TaskKind(
        options=Export,
        running=Reason.EXPORTING,
        arguments=_export_arguments,
        reads_spec=True,
        uses_models=frozenset({Model.TRAINED}),
        makes_model=Model.EXPORTED,
        shown=Shown.EXPORT_PATH,
        files=lambda options: (TRAINING_RECORDS,) if options.calibrates_on_records else (),
        reads_by_option=_export_reads,
        inputs=lambda options: {"calibration.imageDir": options.calibration.image_dir} if options.calibrates else {},
        without_effect=lambda options: () if options.calibrates else ("calibration",),
    ),
}


def tasks_where(holds: Callable[[TaskKind[Any]], bool]) -> tuple[TaskName, ...]:
    """Return the tasks whose entry satisfies a condition, in the order of the table."""
    return tuple(name for name, kind in TASK_KINDS.items() if holds(kind))


def in_words(tasks: Iterable[TaskName], conjunction: str = "or") -> str:
    """Return names of tasks as a list for a sentence, such as ``train, prune, or export``."""
    *first, last = tasks
    comma = "," if len(first) > 1 else ""
    return f"{', '.join(first)}{comma} {conjunction} {last}" if first else last.value


def a_step_of(tasks: Iterable[TaskName]) -> str:
    """Return a phrase for a step of one of several tasks, such as ``a train or prune step``."""
    words = in_words(tasks)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} step"


FILE_READERS = tasks_where(lambda kind: kind.files is not None)
RECORD_MAKERS = tasks_where(lambda kind: kind.records is not None)
MODEL_MAKERS = tasks_where(lambda kind: kind.makes_model is not None)
NEXT_MODEL_MAKERS = tasks_where(lambda kind: kind.makes_next_model)
TRAINED_MODEL_MAKERS = tasks_where(lambda kind: kind.makes_model is Model.TRAINED)
SEVERAL_PROCESSES = tuple(name for name, entry in TASKS.items() if entry.several_processes)
ON_GPUS = tuple(name for name, entry in TASKS.items() if entry.uses_gpus)
