"""Task table of the trainer, for the command line, ``launch``, the spec, and the operator.

A file in a results directory is assigned to a task by its path. Files that a release has once written stay in the
table, because ``launch`` refuses a directory with an unknown file and old directories remain in use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from maskrcnn_trainer.spec.purposes import Purpose, Purposes
from maskrcnn_trainer.spec.task_name import TaskName

WARNINGS_SUFFIX = "_warnings.json"
TRAINING_LOCK, EVALUATIONS_FILE, HISTORY_FILE = ".train.lock", "evaluations.json", "history.jsonl"
METRICS_FILE, DETECTIONS_FILE, EVALUATED_FILE = "metrics.json", "detections.json", "images.json"
PRUNED_MODEL_FILE = "model.tlt"
IMAGES_DIR, LABELS_DIR, PREDICTIONS_FILE = "images_annotated", "labels", "predictions.json"
ONNX_FILE, ENCRYPTED_ONNX_FILE = "model.onnx", "model.etlt"
CALIBRATION_CACHE_FILE, ENGINE_FILE = "cal.bin", "model.engine"
DEEPSTREAM_CONFIG_FILE, DEEPSTREAM_LABELS_FILE = "nvinfer_config.txt", "labels.txt"

CHECKPOINT = re.compile(r"model\.step-(?P<step>\d+)\.tlt")

_NAME = r"[^/.][^/]*"
"""A file name that is not hidden."""

_BELOW = rf"(?:{_NAME}/)*"
"""Any number of directories: results of an inference have the same directories as its images."""

_PICTURES = "jpg|jpeg|jpe|jp2|png|bmp|dib|webp|avif|tif|tiff|pbm|pgm|ppm|pxm|pnm|pfm|sr|ras|exr|hdr|pic|gif"
"""Suffixes of image files that OpenCV writes."""


@dataclass(frozen=True)
class TaskEntry:
    """Properties of one task.

    Attributes:
        module: module of the command, with ``add_arguments(parser)`` and ``run(arguments) -> int``; with
            ``check(arguments, node_rank)`` too where ``several_processes``.
        help, description: texts of the command's help.
        files: files that it writes into its results directory, as regular expressions over paths relative to it.
        early: those of ``files`` that a run writes before it has a result; they alone aren't a result.
        appended: names of those of ``files`` to which it appends lines; it replaces all others by a rename.
        checkpoint: those of ``files`` from which it resumes, with their step; None: it has none.
        evaluations: name of the one of ``files`` that has the metrics of its checkpoints; empty: it has none.
        unfinished: files that a killed run leaves there, in addition to temporaries of ``files``.
        locks: files that it locks; they may exist before the directory is claimed and after the task has finished.
        reads: purposes for which it reads the spec with any options; those fields determine its result.
        reads_by_option: further purposes for which it reads the spec with some options.
        several_processes: whether it can run as a worker group of several processes.
        uses_gpus: whether it computes on a GPU where there is one.
        input_flags: flags whose value is a path that it reads, in every spelling; -e is in ``task.arguments``.
        output_flags: flags whose value is a path that it writes, in every spelling.
    """

    module: str
    help: str
    description: str
    files: tuple[str, ...]
    early: tuple[str, ...] = ()
    appended: tuple[str, ...] = ()
    checkpoint: re.Pattern[str] | None = None
    evaluations: str = ""
    unfinished: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    reads: Purposes = frozenset()
    reads_by_option: Purposes = frozenset()
    several_processes: bool = False
    uses_gpus: bool = True
    input_flags: tuple[str, ...] = ()
    output_flags: tuple[str, ...] = ()

    @property
    def all_reads(self) -> Purposes:
        """All purposes for which it reads the spec, with whatever options."""
        return self.reads | self.reads_by_option


TASKS: Mapping[TaskName, TaskEntry] = MappingProxyType(
    {
        TaskName.DATASET_CONVERT: TaskEntry(
            module="maskrcnn_trainer.conversion.command",
            help="convert COCO images and annotations to TFRecords",
            description="Convert a COCO data set (images and instance annotations) to the TFRecords that train and "
            "evaluate read.",
            files=(rf"{_NAME}-\d{{5}}-of-\d{{5}}\.tfrecord", rf"{_NAME}{re.escape(WARNINGS_SUFFIX)}"),
            unfinished=(
                r"\.(?P<tag>[^/]+)\.convert-[^/.]+/"
                rf"(?:lock|(?P=tag)(?:{re.escape(WARNINGS_SUFFIX)}|-\d{{5}}-of-\d{{5}}\.tfrecord))",
            ),
            uses_gpus=False,
            input_flags=("-i", "--image-dir", "-a", "--annotations-file"),
            output_flags=("-o", "--output-dir", "-r", "--results-dir"),
        ),
        TaskName.TRAIN: TaskEntry(
            module="maskrcnn_trainer.training.command",
            help="train a model with one or more processes",
            description="Train a model on TFRecords, with one process or one per GPU. A training that was stopped "
            "resumes from its newest checkpoint.",
            files=(r"model\.step-\d+\.tlt", re.escape(EVALUATIONS_FILE), re.escape(HISTORY_FILE)),
            early=(re.escape(HISTORY_FILE),),
            appended=(HISTORY_FILE,),
            checkpoint=CHECKPOINT,
            evaluations=EVALUATIONS_FILE,
            locks=(TRAINING_LOCK,),
            reads=frozenset({Purpose.STRUCTURE, Purpose.INPUT_SIZE, Purpose.PRECISION, Purpose.TRAINING}),
            # it always evaluates its checkpoints; the metrics determine the result only with --output best
            reads_by_option=frozenset({Purpose.DETECTION, Purpose.VALIDATION, Purpose.BEST_CHECKPOINT}),
            several_processes=True,
            output_flags=("-d", "--results-dir", "--model-dir", "-r"),
        ),
        TaskName.EVALUATE: TaskEntry(
            module="maskrcnn_trainer.evaluation.command",
            help="compute the COCO metrics of a model",
            description="Compute the COCO metrics (boxes and masks) of a model on the validation records of the spec.",
            # the demo of an earlier release wrote detections.png
            files=(
                re.escape(METRICS_FILE),
                re.escape(DETECTIONS_FILE),
                re.escape(EVALUATED_FILE),
                r"detections\.png",
            ),
            reads=frozenset(
                {Purpose.STRUCTURE, Purpose.INPUT_SIZE, Purpose.PRECISION, Purpose.DETECTION, Purpose.VALIDATION}
            ),
            input_flags=("-m", "--model", "--model-path"),
            output_flags=("-r", "--results-dir"),
        ),
        TaskName.PRUNE: TaskEntry(
            module="maskrcnn_trainer.pruning.command",
            help="remove the weakest filters of a trained model, before it is retrained",
            description="Remove the filters with the smallest weights from a trained model. Retrain the result before "
            "you use it: set prunedModelPath in the spec of train.",
            files=(re.escape(PRUNED_MODEL_FILE),),
            uses_gpus=False,
            input_flags=("-m", "--model", "--model-path"),
            output_flags=("-o", "--output-dir", "-r", "--results-dir"),
        ),
        TaskName.INFERENCE: TaskEntry(
            module="maskrcnn_trainer.inference.command",
            help="detect objects in a directory of images",
            description="Detect objects in a directory of images, and write the images with boxes drawn, a label file "
            "for each, and all detections in COCO format.",
            files=(
                rf"{IMAGES_DIR}/{_BELOW}{_NAME}\.(?i:{_PICTURES})",
                rf"{LABELS_DIR}/{_BELOW}{_NAME}\.json",
                re.escape(PREDICTIONS_FILE),
            ),
            reads=frozenset({Purpose.STRUCTURE, Purpose.INPUT_SIZE, Purpose.PRECISION, Purpose.DETECTION}),
            input_flags=("-i", "--image-dir", "-m", "--model", "--model-path", "-c", "--class-map"),
            output_flags=("-r", "--results-dir"),
        ),
        TaskName.EXPORT: TaskEntry(
            module="maskrcnn_trainer.export.command",
            help="export a trained model as ONNX for TensorRT, DeepStream, and ONNX Runtime",
            description="Export a trained model as ONNX in float32, float16, or INT8, with the files that TensorRT and "
            "DeepStream need.",
            files=(
                rf"(?:{re.escape(ONNX_FILE)}|{re.escape(ENCRYPTED_ONNX_FILE)})",
                re.escape(CALIBRATION_CACHE_FILE),
                rf"{re.escape(ENGINE_FILE)}(?:\.json)?",
                re.escape(DEEPSTREAM_CONFIG_FILE),
                re.escape(DEEPSTREAM_LABELS_FILE),
            ),
            reads=frozenset({Purpose.STRUCTURE, Purpose.INPUT_SIZE, Purpose.DETECTION}),
            # only for int8; the second one only without a directory of images
            reads_by_option=frozenset({Purpose.CALIBRATION, Purpose.CALIBRATION_RECORDS}),
            input_flags=("-m", "--model", "--model-path", "--cal-image-dir"),
            output_flags=(
                *("-o", "--output-file", "--output", "-r", "--results-dir"),
                # a tensor file is read too where it exists
                *("--cal-cache-file", "--cal-data-file", "--engine-file"),
            ),
        ),
    }
)
