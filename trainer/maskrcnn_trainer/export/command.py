"""``maskrcnn export``: a trained model as ONNX in float32, float16, or INT8, with files for TensorRT and DeepStream."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.images.names import is_image_name
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.task_table import CALIBRATION_CACHE_FILE
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.task_inputs import (
    TRAINING_PATTERN,
    Argument,
    CommandInputs,
    inputs_of_spec,
    model_companions,
)
from maskrcnn_trainer.task.arguments import IgnoredFlag, add_gpu_index, add_key, add_spec, key_of, use_gpu
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.workspace import is_path

log = logging.getLogger(__name__)

DATA_TYPES = ("fp32", "fp16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the task."""
    add_spec(parser)
    parser.add_argument("-m", "--model", "--model-path", required=True, metavar="MODEL", help="the trained model")
    parser.add_argument(
        "-o",
        "--output-file",
        "--output",
        metavar="FILE",
        help="the .onnx file, or with a key the encrypted .etlt; must not exist (default: the model's name)",
    )
    add_key(parser)
    parser.add_argument("--data-type", choices=DATA_TYPES, default="fp32", help="numeric precision of the layers")
    parser.add_argument(
        "--preprocessing", action="store_true", help="normalize in the graph, whose input is then RGB values 0..255"
    )
    parser.add_argument(
        "--gen-ds-config", action="store_true", help="write nvinfer_config.txt and labels.txt next to the output"
    )
    parser.add_argument(
        "-r", "--results-dir", metavar="DIR", help="directory for status.json (default: next to the output)"
    )
    _add_calibration(parser)
    _add_engine(parser)
    add_gpu_index(parser)
    parser.add_argument("--log-file", action=IgnoredFlag, metavar="X")
    parser.add_argument(
        "--gpus", type=int, default=1, help="accepted for compatibility, must be 1; export uses one process"
    )
    for flag in ("--cal-json-file", "--static-batch-size", "--target-opset"):
        parser.add_argument(flag, action=IgnoredFlag, metavar="X")
    parser.add_argument("--force-ptq", "-v", "--verbose", action=IgnoredFlag, nargs=0)


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("calibration, with --data_type int8")
    group.add_argument(
        "--cal-image-dir", metavar="DIR", help="images to calibrate on (default: the training records of the spec)"
    )
    group.add_argument(
        "--cal-cache-file",
        metavar="FILE",
        help=f"calibration cache to write (default: {CALIBRATION_CACHE_FILE} in the current directory)",
    )
    group.add_argument(
        "--cal-data-file", metavar="FILE", help="tensor file of the images: read if it exists, else written"
    )
    group.add_argument("--batches", type=int, default=10, metavar="N", help="number of batches to calibrate on")
    group.add_argument("--batch-size", type=int, default=16, metavar="N", help="images per calibration batch")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TensorRT, which needs its package and a GPU")
    group.add_argument("--engine-file", metavar="FILE", help="build an engine, and describe it in FILE.json")
    group.add_argument("--max-batch-size", type=int, default=1, metavar="N", help="largest batch")
    group.add_argument("--min-batch-size", type=int, default=1, metavar="N", help="smallest batch")
    group.add_argument(
        "--opt-batch-size", type=int, metavar="N", help="batch size to optimize for (default: the largest)"
    )
    group.add_argument(
        "--max-workspace-size", type=int, default=1 << 31, metavar="BYTES", help="limit of the GPU's scratch memory"
    )
    group.add_argument(
        "-s", "--strict-type-constraints", action="store_true", help="compute each layer in its assigned precision"
    )


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage the spec, the model, and what an INT8 calibration reads: images, or else the training records."""
    spec = inputs.spec(arguments)
    results_dir = arguments.results_dir or TaskEnvironment.from_environ().results_dir
    if not is_path(arguments.model) and not (arguments.output_file or results_dir):
        raise InvalidInput("-o is missing: with a model by URL, give the file to write")
    model = Argument("model", InputKind.FILE, "-m", companions=model_companions)
    images = Argument("cal_image_dir", InputKind.DIRECTORY, "--cal-image-dir", is_read=is_image_name)
    if arguments.data_type != "int8":
        inputs.replace(arguments, model)
        return
    stored = arguments.cal_data_file is not None and Path(arguments.cal_data_file).exists()
    on_records = arguments.cal_image_dir is None and not stored
    inputs.replace(arguments, model, images, others=inputs_of_spec(spec, TRAINING_PATTERN) if on_records else [])


def run(arguments: argparse.Namespace) -> int:
    """Export a model and report the files.

    Returns:
        0. A failure raises SystemExit with the exit code, after the termination message was written.

    Raises:
        InvalidInput: a flag has an invalid value, or an output file exists already (only a run of the operator
            replaces it).
    """
    _check_numbers(arguments)
    use_gpu(arguments)
    environment = TaskEnvironment.from_environ()
    key = key_of(arguments, environment)
    int8 = arguments.data_type == "int8"
    if not int8:
        for flag in ("cal_image_dir", "cal_cache_file", "cal_data_file"):
            if getattr(arguments, flag):
                log.warning("--%s is ignored: it is only used with --data_type int8", flag)
    _need_onnx()

    from maskrcnn_trainer.export.engine import check_tensorrt
    from maskrcnn_trainer.export.outputs import ExportFiles, model_file, refuse_existing
    from maskrcnn_trainer.model_files.model_file import require_model

    model = Path(arguments.model)
    output = model_file(arguments.output_file, model, arguments.results_dir or environment.results_dir, key)
    files = ExportFiles(
        model=output,
        cache=Path(arguments.cal_cache_file or CALIBRATION_CACHE_FILE) if int8 else None,
        engine=Path(arguments.engine_file) if arguments.engine_file else None,
        deepstream=arguments.gen_ds_config,
    )
    if environment.fingerprint is None:
        refuse_existing(files.all)

    require_model(model)
    if files.engine is not None:
        check_tensorrt()

    from maskrcnn_trainer.export.task import ExportSettings, export_task

    most = arguments.max_batch_size
    export_task(
        spec_path=arguments.experiment_spec,
        model_path=model,
        files=files,
        results_dir=Path(arguments.results_dir or environment.results_dir or output.parent),
        settings=ExportSettings(
            data_type=arguments.data_type,
            preprocessing=arguments.preprocessing,
            batches=arguments.batches,
            batch_size=arguments.batch_size,
            image_dir=Path(arguments.cal_image_dir) if int8 and arguments.cal_image_dir else None,
            tensor_file=Path(arguments.cal_data_file) if int8 and arguments.cal_data_file else None,
            engine_batches=(arguments.min_batch_size, arguments.opt_batch_size or most, most),
            workspace=arguments.max_workspace_size,
            strict_types=arguments.strict_type_constraints,
        ),
        key=key,
        environment=environment,
        token=os.environ.get(TOKEN_VARIABLE),
    )
    return EXIT_OK


def _check_numbers(arguments: argparse.Namespace) -> None:
    if arguments.gpus != 1:
        raise InvalidInput(f"--gpus {arguments.gpus}: export runs as one process; only train takes several")
    for name in ("batches", "batch_size", "max_batch_size", "min_batch_size", "opt_batch_size", "max_workspace_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InvalidInput(f"--{name} {value}: must be at least 1")
    most = arguments.max_batch_size
    usual = arguments.opt_batch_size or most
    if not arguments.min_batch_size <= usual <= most:
        raise InvalidInput(
            f"--min_batch_size {arguments.min_batch_size}, --opt_batch_size {usual}, --max_batch_size {most}: must be "
            "in ascending order"
        )


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401 - whether it is installed
    except ImportError as error:
        raise InvalidInput(
            "export needs the package onnx, which is not installed; install maskrcnn-operator with the extra `export`",
            reason="MissingPackage",
        ) from error
