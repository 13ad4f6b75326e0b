"""``maskrcnn evaluate``: the COCO metrics of a model on the validation records."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.results.evaluated_images import begins_as_evaluated_images
from maskrcnn_trainer.results.recorded import beginning_of
from maskrcnn_trainer.shared.messages import STATUS_FILE
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.task_table import DETECTIONS_FILE, EVALUATED_FILE, METRICS_FILE
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.task_inputs import (
    VALIDATION_FIELDS,
    Argument,
    CommandInputs,
    inputs_of_spec,
    model_companions,
)
from maskrcnn_trainer.task.arguments import IgnoredFlag, add_gpu_index, add_key, add_spec, key_of, use_gpu
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.workspace import is_path

OUTPUTS = (METRICS_FILE, DETECTIONS_FILE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the task."""
    add_spec(parser)
    parser.add_argument(
        "-m",
        "--model-path",
        "--model",
        required=True,
        metavar="MODEL",
        help="the model: a .tlt, .onnx, or .etlt, or a TensorRT engine",
    )
    parser.add_argument(
        "-r",
        "--results-dir",
        metavar="DIR",
        help="directory for the metrics, the detections, and the report (default: evaluation/ next to the model)",
    )
    add_key(parser)
    add_gpu_index(parser)
    parser.add_argument("-i", "--image-dir", "--log-file", action=IgnoredFlag, metavar="X")
    parser.add_argument(
        "--gpus", type=int, default=1, help="accepted for compatibility, must be 1; evaluation uses one process"
    )


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage the spec, the model, and the validation data."""
    spec = inputs.spec(arguments)
    if not is_path(arguments.model_path) and not (arguments.results_dir or TaskEnvironment.from_environ().results_dir):
        raise InvalidInput("-r is missing: with a model by URL, give the directory for the results")
    model = Argument("model_path", InputKind.FILE, "-m", companions=model_companions)
    inputs.replace(arguments, model, others=inputs_of_spec(spec, *VALIDATION_FIELDS))


def run(arguments: argparse.Namespace) -> int:
    """Evaluate a model and report the metrics.

    Returns:
        0. A failure raises SystemExit with the exit code, after the termination message was written.

    Raises:
        InvalidInput: a flag has an invalid value, or the results directory has output files from another source.
    """
    if arguments.gpus != 1:
        raise InvalidInput(f"--gpus {arguments.gpus}: evaluate runs as one process; only train takes several")
    use_gpu(arguments)
    environment = TaskEnvironment.from_environ()
    model_path = Path(arguments.model_path)
    results_dir = Path(arguments.results_dir or environment.results_dir or model_path.parent / "evaluation")
    # an earlier evaluation would have left its status.json too, but one of an older release no images.json
    evaluated = (results_dir / STATUS_FILE).exists()
    existing = [name for name in OUTPUTS if (results_dir / name).exists() and not evaluated]
    images = results_dir / EVALUATED_FILE
    if images.exists() and not begins_as_evaluated_images(beginning_of(images)):
        existing.append(EVALUATED_FILE)
    if existing and environment.fingerprint is None:
        raise InvalidInput(
            f"{results_dir} contains {', '.join(existing)}, which evaluate didn't write; give another -r, or remove "
            "them",
            reason="OutputExists",
        )

    if not (arguments.results_dir or environment.results_dir):
        from maskrcnn_trainer.model_files.model_file import require_model

        require_model(model_path)  # otherwise a directory would be created next to a missing model

    from maskrcnn_trainer.evaluation.task import evaluate_task

    evaluate_task(
        spec_path=arguments.experiment_spec,
        model_path=model_path,
        results_dir=results_dir,
        key=key_of(arguments, environment),
        environment=environment,
        token=os.environ.get(TOKEN_VARIABLE),
    )
    return EXIT_OK
