"""Command line of ``maskrcnn prune``, which removes filters with small weights from a trained model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.model_files.model_file import require_model
from maskrcnn_trainer.pruning.norms import CRITERIA, NORMALIZERS
from maskrcnn_trainer.pruning.retain import PruneSettings
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.task_table import PRUNED_MODEL_FILE
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.task_inputs import Argument, CommandInputs
from maskrcnn_trainer.task.arguments import IgnoredFlag, add_key, key_of, results_dir_of
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.gpus import hide_gpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of TAO Toolkit."""
    parser.add_argument("-m", "--model", "--model-path", required=True, metavar="MODEL", help="the trained model")
    parser.add_argument(
        "-o",
        "--output-dir",
        "-r",
        "--results-dir",
        metavar="DIR",
        help=f"directory for {PRUNED_MODEL_FILE}; must not contain one",
    )
    add_key(parser)
    parser.add_argument(
        "-n",
        "--normalizer",
        choices=NORMALIZERS,
        default="max",
        help="divide each filter's norm by the largest of its layer (max), or by the L2 norm of the layer's norms "
        "divided by their number (L2)",
    )
    parser.add_argument(
        "-eq",
        "--equalization-criterion",
        choices=CRITERIA,
        default="union",
        help="how the statistics of layers that feed the same addition are combined",
    )
    parser.add_argument(
        "-pg", "--pruning-granularity", type=int, default=8, metavar="N", help="filters are kept in multiples of N"
    )
    parser.add_argument(
        "-pth",
        "--pruning-threshold",
        type=float,
        default=0.1,
        metavar="T",
        help="filters whose normalized norm is above T are kept",
    )
    parser.add_argument(
        "-nf", "--min-num-filters", type=int, default=16, metavar="N", help="smallest number of filters kept of a layer"
    )
    parser.add_argument(
        "-el", "--excluded-layers", nargs="+", default=(), metavar="LAYER", help="layers that keep all their filters"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, without writing anything")
    parser.add_argument("--gpu-index", action=IgnoredFlag, nargs="+", metavar="I")
    parser.add_argument("--log-file", action=IgnoredFlag, metavar="X")
    parser.add_argument("-v", "--verbose", action=IgnoredFlag, nargs=0)
    parser.add_argument(
        "--gpus", type=int, default=1, help="accepted for compatibility, must be 1; pruning uses one process"
    )


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage the model."""
    inputs.replace(arguments, Argument("model", InputKind.FILE, "-m"))


def run(arguments: argparse.Namespace) -> int:
    """Run the task.

    Returns:
        0. A failure raises SystemExit with the exit code, after the termination message was written.

    Raises:
        InvalidInput: the value of a flag is invalid, or the output file already exists (a run of the operator replaces
            it instead).
    """
    if arguments.gpus != 1:
        raise InvalidInput(f"--gpus {arguments.gpus}: prune runs as one process; only train takes several")
    # filters are chosen on the CPU, so pruning needs none of the GPUs that other tasks use
    hide_gpus()
    environment = TaskEnvironment.from_environ()
    settings = PruneSettings(
        normalizer=arguments.normalizer,
        criterion=arguments.equalization_criterion,
        granularity=arguments.pruning_granularity,
        threshold=arguments.pruning_threshold,
        min_num_filters=arguments.min_num_filters,
        excluded_layers=tuple(arguments.excluded_layers),
    )
    model_path, key = Path(arguments.model), key_of(arguments, environment)
    if arguments.dry_run:
        require_model(model_path)
        from maskrcnn_trainer.pruning.task import dry_run

        dry_run(model_path=model_path, settings=settings, key=key)
        return EXIT_OK
    output = Path(results_dir_of(arguments.output_dir, environment, flag="-o")) / PRUNED_MODEL_FILE
    if output.exists() and environment.fingerprint is None:
        raise InvalidInput(f"{output} already exists; give another -o, or remove it", reason="OutputExists")
    require_model(model_path)

    from maskrcnn_trainer.pruning.task import prune_task

    prune_task(
        model_path=model_path,
        output=output,
        settings=settings,
        key=key,
        environment=environment,
        token=os.environ.get(TOKEN_VARIABLE),
    )
    return EXIT_OK
