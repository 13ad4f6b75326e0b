"""Command line of ``maskrcnn dataset_convert``: COCO images and annotations to TFRecords."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maskrcnn_trainer.conversion.dataset import MAX_SHARDS
from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.url_fields import InputKind, output_problem
from maskrcnn_trainer.staging.task_inputs import Argument, CommandInputs
from maskrcnn_trainer.task.arguments import IgnoredFlag
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.workspace import is_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of TAO Toolkit."""
    parser.add_argument(
        "-i",
        "--image-dir",
        required=True,
        type=_path,
        metavar="DIR",
        help="images; joined with each file_name",
    )
    parser.add_argument(
        "-a",
        "--annotations-file",
        required=True,
        type=_path,
        metavar="FILE",
        help="annotations: COCO instances JSON",
    )
    parser.add_argument(
        "-o",
        "--output-dir",
        required=True,
        type=_directory_of_records,
        metavar="DIR",
        help="directory for the TFRecords; created if missing",
    )
    parser.add_argument(
        "-r",
        "--results-dir",
        type=_path,
        metavar="DIR",
        help="directory for status.json and result.json (default: output_dir)",
    )
    parser.add_argument(
        "-t", "--tag", help="prefix of the files (default: name of the annotation file without its extension)"
    )
    parser.add_argument(
        "-s", "--num-shards", type=int, default=256, metavar="N", help=f"files to write, 1 to {MAX_SHARDS}"
    )
    masks = parser.add_mutually_exclusive_group()
    masks.add_argument(
        "--include-mask",
        "--include-masks",
        dest="include_mask",
        action="store_true",
        default=True,
        help="write segmentation masks",
    )
    masks.add_argument(
        "--no-include-mask",
        "--no-include-masks",
        dest="include_mask",
        action="store_false",
        default=argparse.SUPPRESS,
        help="write boxes and classes only (such records cannot train Mask R-CNN)",
    )
    parser.add_argument(
        "--skip-bad-images",
        action="store_true",
        help="leave out images that cannot be used, with their objects; <tag>_warnings.json names them",
    )
    parser.add_argument(
        "--crowd-as-objects", action="store_true", help="write iscrowd 1 as 0, so that training learns these objects"
    )
    parser.add_argument("--gpus", "--gpu-index", "--num-processes", "--log-file", action=IgnoredFlag, metavar="X")


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage the annotations, and of the images those that they name."""
    inputs.replace(arguments, Argument("annotations_file", InputKind.FILE, "-a"))
    if not is_path(arguments.image_dir):
        from maskrcnn_trainer.data.coco import file_names

        named = file_names(arguments.annotations_file)
        inputs.replace(arguments, Argument("image_dir", InputKind.DIRECTORY, "-i", is_read=named.__contains__))


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; is a shell variable not set?")
    return text


def _directory_of_records(text: str) -> str:
    if problem := output_problem(text, of_task=True):
        raise argparse.ArgumentTypeError(problem)
    if found := sorted(set(text) & set("*?[],")):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a path without * ? [ ] , but found {' '.join(found)}: training finds the records with "
            "a pattern, in which these characters are special"
        )
    return _path(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the task.

    Returns:
        0. A failure raises SystemExit with the exit code, after the termination message was written.
    """
    from maskrcnn_trainer.conversion.task import convert_task

    convert_task(
        image_dir=arguments.image_dir,
        annotations_file=arguments.annotations_file,
        output_dir=Path(arguments.output_dir),
        results_dir=Path(arguments.results_dir or arguments.output_dir),
        tag=arguments.tag,
        num_shards=arguments.num_shards,
        include_mask=arguments.include_mask,
        skip_bad_images=arguments.skip_bad_images,
        crowd_as_objects=arguments.crowd_as_objects,
        environment=TaskEnvironment.from_environ(),
        token=os.environ.get(TOKEN_VARIABLE),
    )
    return EXIT_OK
