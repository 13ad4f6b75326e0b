"""``maskrcnn inference``: detections in a directory of images, as annotated images and labels."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.images.names import is_visible_image_name
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.task_inputs import Argument, CommandInputs, model_companions
from maskrcnn_trainer.task.arguments import (
    IgnoredFlag,
    add_gpu_index,
    add_key,
    add_spec,
    key_of,
    results_dir_of,
    use_gpu,
)
from maskrcnn_trainer.task.environment import TaskEnvironment

DEFAULT_THRESHOLD = 0.6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the task."""
    parser.add_argument(
        "-i",
        "--image-dir",
        required=True,
        metavar="DIR",
        help="the images (jpg, png, bmp, webp, tiff; subdirectories too), or one file",
    )
    parser.add_argument(
        "-m",
        "--model-path",
        "--model",
        required=True,
        metavar="MODEL",
        help="the model: a .tlt, .onnx, or .etlt, or a TensorRT engine",
    )
    add_spec(parser)
    parser.add_argument(
        "-r",
        "--results-dir",
        metavar="DIR",
        help="directory for images_annotated, labels, and predictions.json; must not contain any of them yet",
    )
    parser.add_argument(
        "-t",
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="T",
        help="minimum score of detections that are drawn and listed",
    )
    parser.add_argument(
        "-c",
        "--class-map",
        metavar="FILE",
        help="text file with one class name per line, line n for id n (default: the model's names)",
    )
    parser.add_argument("--include-mask", "--include-masks", action="store_true", help="draw and write masks")
    parser.add_argument("--exif", action="store_true", help="rotate images by their EXIF orientation")
    add_key(parser)
    add_gpu_index(parser)
    parser.add_argument("--log-file", action=IgnoredFlag, metavar="X")
    parser.add_argument(
        "--gpus", type=int, default=1, help="accepted for compatibility, must be 1; inference uses one process"
    )


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage the spec, the model, the class map, and the images."""
    inputs.spec(arguments)
    inputs.replace(
        arguments,
        Argument("model_path", InputKind.FILE, "-m", companions=model_companions),
        Argument("class_map", InputKind.FILE, "-c"),
        Argument("image_dir", InputKind.FILE_OR_DIRECTORY, "-i", is_read=is_visible_image_name),
    )


def run(arguments: argparse.Namespace) -> int:
    """Detect in all images and report the results.

    Returns:
        0. A failure raises SystemExit with the exit code, after the termination message was written.

    Raises:
        InvalidInput: a flag has an invalid value, or the results directory has results already (only a run of the
            operator replaces them).
    """
    if arguments.gpus != 1:
        raise InvalidInput(f"--gpus {arguments.gpus}: inference runs as one process; only train takes several")
    if not 0.0 < arguments.threshold < 1.0:
        raise InvalidInput(f"--threshold {arguments.threshold:g}: must be greater than 0 and less than 1")
    use_gpu(arguments)
    environment = TaskEnvironment.from_environ()
    results_dir = Path(results_dir_of(arguments.results_dir, environment, flag="-r"))

    from maskrcnn_trainer.inference.task import OUTPUTS, inference_task

    existing = [name for name in OUTPUTS if (results_dir / name).exists()]
    if existing and environment.fingerprint is None:
        raise InvalidInput(
            f"{results_dir} contains {', '.join(existing)} already; give another -r, or remove them",
            reason="OutputExists",
        )
    inference_task(
        image_dir=Path(arguments.image_dir),
        model_path=Path(arguments.model_path),
        spec_path=arguments.experiment_spec,
        results_dir=results_dir,
        threshold=arguments.threshold,
        class_map=Path(arguments.class_map) if arguments.class_map else None,
        include_mask=arguments.include_mask,
        exif=arguments.exif,
        key=key_of(arguments, environment),
        environment=environment,
        token=os.environ.get(TOKEN_VARIABLE),
    )
    return EXIT_OK
