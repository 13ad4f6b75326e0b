"""``maskrcnn import``: a model file from a detector of torchvision, Detectron2, or MMDetection."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.shared.files import decoding_fault, read_text
from maskrcnn_trainer.spec.base import CheckpointStyle
from maskrcnn_trainer.spelling import use_names
from maskrcnn_trainer.task.arguments import add_key, key_of
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import make_directory

if TYPE_CHECKING:
    from maskrcnn_trainer.weights.opening import DetectorOptions, OpenedDetector

log = logging.getLogger(__name__)

_FLAG_OF = {
    "checkpoint": "-c",
    "checkpointStyle": "--style",
    "checkpointConfig": "--config",
    "checkpointBnEpsilon": "--bn-epsilon",
    "checkpointClassNames": "--class-names",
}
"""Flags for fields of the spec, which messages about weight files name."""

_NO_CLASS = "N/A"
_FIRST_LINES = ("BG", "__background__")
"""Names of the background in DeepStream's and torchvision's lists."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "-c",
        "--checkpoint",
        required=True,
        metavar="FILE",
        help="the detector: a .safetensors, .npz, .pth, or .pkl file; no code in it is executed",
    )
    parser.add_argument(
        "--style",
        choices=get_args(CheckpointStyle),
        help="project and variant of the detector; required unless the file or --config names what its weights don't "
        "show",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the detector's own config: Detectron2's YAML, or MMDetection's config or .pth file; it is read, never "
        "executed",
    )
    parser.add_argument(
        "--bn-epsilon",
        type=_epsilon,
        metavar="X",
        help="number that its batch normalization adds to the variance; torchvision's own COCO weights (COCO_V1) need "
        "0, other files of torchvision 1e-5 (default: that of the style)",
    )
    parser.add_argument(
        "--class-names",
        nargs="+",
        default=(),
        metavar="NAME",
        help="names of its classes without the background, in the order of its rows, or a file with one name a line; "
        "N/A for a row without a class (default: those in the file, else COCO's)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="the .tlt to write; must not exist")
    add_key(parser)


def run(arguments: argparse.Namespace) -> int:
    """Import a detector.

    Returns:
        0.

    Raises:
        InvalidInput: the file has no Mask R-CNN that can be used, a flag contradicts it, or the output exists already;
            nothing was written then.
        WorkspaceFull: no space is left.
    """
    use_names(_FLAG_OF)
    source, output = Path(arguments.checkpoint), Path(arguments.output)
    if arguments.output.endswith("/"):
        raise InvalidInput(f"-o {arguments.output} is a directory; give the path of a file")
    if output.exists() or output.is_symlink():
        raise InvalidInput(f"-o {output} exists already; give the path of a new file", reason="OutputExists")
    key = key_of(arguments, TaskEnvironment.from_environ())
    names = class_names_given(arguments.class_names)
    # NumPy, which a mistake in the command line doesn't need
    from maskrcnn_trainer.importing.imported_model import imported_model
    from maskrcnn_trainer.model_files.model_file import write_model_file
    from maskrcnn_trainer.weights.opening import DetectorOptions

    options = DetectorOptions(
        style=arguments.style,
        config=Path(arguments.config) if arguments.config else None,
        bn_epsilon=arguments.bn_epsilon,
        class_names=names,
    )
    try:
        detector, form = _opened(source, options)
        model = imported_model(detector)
        make_directory(output.parent, flag="-o: the directory of")
        write_model_file(output, model, key)
    except MemoryError:
        raise InvalidInput(
            f"the memory is too small for the weights of {source}; import it where more is left", reason="OutOfMemory"
        ) from None
    for note in detector.notes:
        log.warning("%s", note)
    if detector.class_names is None:
        log.warning(
            "The names of its classes are unknown, so detections have numbers only; give them with --class-names"
        )
    log.info(
        "Imported %s (%s): Mask R-CNN of %s, style %s, %s-%d, %d classes with the background, to %s (%.1f MB)",
        source,
        form,
        detector.style.project,
        detector.style.name,
        detector.architecture.backbone.title,
        detector.architecture.nlayers,
        detector.architecture.num_classes,
        output,
        output.stat().st_size / 1e6,
    )
    return EXIT_OK


def _opened(source: Path, options: DetectorOptions) -> tuple[OpenedDetector, str]:
    """Return the detector in a file, and the form of the file."""
    from maskrcnn_trainer.model_files.model_file import is_model_file
    from maskrcnn_trainer.weights.file import read_weight_file
    from maskrcnn_trainer.weights.opening import open_detector
    from maskrcnn_trainer.weights.project import project_of

    if not source.is_file():
        problem = "is not a plain file; give the file of the detector" if source.exists() else "does not exist"
        raise InvalidInput(f"checkpoint: {source} {problem}", reason="ModelNotFound")
    if is_model_file(source):
        raise InvalidInput(f"checkpoint: {source} is a model file already, which all tasks take as it is")
    file = read_weight_file(source)
    project = project_of(file)
    if not project.is_detector:
        raise InvalidInput(
            f"checkpoint: {source} holds no detector, only a backbone: train a model from it, with this file as "
            "'checkpoint' in the spec of train"
        )
    return open_detector(file, project, options), str(file.form)


def class_names_given(values: Sequence[str]) -> tuple[str, ...]:
    """Return the values of ``--class-names``, or the lines of the file that a single value names.

    The background in the first line of a file is left out, and an empty line is a row without a class.

    Raises:
        InvalidInput: the file is missing, empty, or isn't UTF-8 text.
    """
    path = Path(values[0]) if len(values) == 1 else None
    if path is None or not path.is_file():
        if path is not None and (len(path.parts) > 1 or path.suffix == ".txt"):
            raise InvalidInput(f"--class-names {path}: no such file")
        return tuple(values)
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"--class-names {path} {decoding_fault(error)}") from error
    while lines and not lines[-1]:
        lines.pop()
    if lines[:1] and lines[0] in _FIRST_LINES:
        del lines[0]
    if not lines:
        raise InvalidInput(f"--class-names {path}: empty; expected one class name per line")
    return tuple(line or _NO_CLASS for line in lines)


def _epsilon(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
