"""Command line of ``maskrcnn train``, which trains in this process or launches several processes that train."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator

from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.shared.variables import KEY_VARIABLE
from maskrcnn_trainer.shared.worker_group import MOST_PROCESSES
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.staging.task_inputs import TRAINING_PATTERN, VALIDATION_FIELDS, CommandInputs, inputs_of_spec
from maskrcnn_trainer.task.arguments import IgnoredFlag, add_key, add_spec, key_of, results_dir_of, use_gpus
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.gpus import request_gpus

STARTED = "Starting Mask R-CNN training."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of TAO Toolkit."""
    add_spec(parser)
    parser.add_argument(
        "-d",
        "--results-dir",
        "--model-dir",
        "-r",
        metavar="DIR",
        help="directory for checkpoints, logs, and the result",
    )
    add_key(parser)
    parser.add_argument("--gpus", type=int, help="number of processes to train with, one per GPU (or on the CPUs)")
    parser.add_argument("-np", "--num-processes", type=int, help="the same as --gpus")
    parser.add_argument("--gpu-index", type=int, nargs="+", metavar="I", help="indices of the GPUs to use")
    parser.add_argument("--use-amp", action="store_true", help="use mixed precision; overrides useAmp of the spec")
    parser.add_argument(
        "--xla", action="store_true", help="compile the training step with XLA; overrides xla of the spec"
    )
    parser.add_argument(
        "--output",
        choices=("last", "best"),
        default="last",
        help="checkpoint to use as the result: the last, or the best by mask AP",
    )
    parser.add_argument("--log-file", "--mpirun-arg", action=IgnoredFlag, metavar="X")
    parser.add_argument("--multi-node", "--launch-cuda-blocking", action=IgnoredFlag, nargs=0)


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage the spec, the records, the annotations, and what the training starts from."""
    spec = inputs.spec(arguments, trains=True)
    start = ("pruned_model_path",) if spec and spec.pruned_model_path else ("checkpoint", "checkpoint_config")
    inputs.stage(*inputs_of_spec(spec, TRAINING_PATTERN, *VALIDATION_FIELDS, *((name,) for name in start)))


def run(arguments: argparse.Namespace) -> int:
    """Run the task in this process, or launch its processes on this node.

    Returns:
        Exit code.

    Raises:
        InvalidInput: the command line is invalid.
    """
    environment = TaskEnvironment.from_environ()
    results_dir = results_dir_of(arguments.results_dir, environment, flag="-d")
    key = key_of(arguments, environment)
    processes = _processes(arguments)
    use_gpus(arguments.gpu_index)
    if arguments.gpus is not None or arguments.num_processes not in (None, -1):
        request_gpus(processes)
    if processes > 1 and "HOROVOD_RANK" not in os.environ:
        return _launch(arguments, environment, results_dir, key, processes)
    from maskrcnn_trainer.training.task import train_task

    return train_task(
        spec_path=arguments.experiment_spec,
        results_dir=results_dir,
        key=key,
        use_amp=arguments.use_amp,
        xla=arguments.xla,
        output=arguments.output,
        environment=environment,
    )


def check(arguments: argparse.Namespace, node_rank: int = 0) -> None:
    """Check the command line, the spec, and the files that it names, before the processes of a node are started.

    Args:
        arguments: the parsed command line.
        node_rank: of this node, from 0.

    Raises:
        InvalidInput: the command line is invalid.
        SystemExit: the spec or a file is invalid, which was reported as the training would have reported it.
    """
    from maskrcnn_trainer.task.reporter import task_report
    from maskrcnn_trainer.training.inputs import read_inputs

    environment = TaskEnvironment.from_environ()
    results_dir = results_dir_of(arguments.results_dir, environment, flag="-d")
    processes = _processes(arguments)
    try:
        read_inputs(arguments.experiment_spec, xla=arguments.xla, processes=processes, quiet=True)
    except TaskError:
        with task_report(TaskName.TRAIN, results_dir, environment, started=STARTED, rank=node_rank):
            raise


def _processes(arguments: argparse.Namespace) -> int:
    """Return the number of processes according to the flags; 1 without any.

    Raises:
        InvalidInput: the flags have different values, or a value is out of range.
    """
    requested = {
        flag: value
        for flag, value in (
            ("--gpus", arguments.gpus),
            ("--num-processes", None if arguments.num_processes == -1 else arguments.num_processes),
            ("--gpu-index", len(arguments.gpu_index) if arguments.gpu_index else None),
        )
        if value is not None
    }
    for flag, value in requested.items():
        if not 1 <= value <= MOST_PROCESSES:
            raise InvalidInput(f"{flag} {value}: must be 1 to {MOST_PROCESSES}")
    if len(set(requested.values())) > 1:
        numbers = ", ".join(
            f"{flag} lists {value}" if flag == "--gpu-index" else f"{flag} {value}" for flag, value in requested.items()
        )
        raise InvalidInput(f"conflicting numbers of processes: {numbers}; give one of the flags, or equal numbers")
    return next(iter(requested.values()), 1)


def _launch(
    arguments: argparse.Namespace, environment: TaskEnvironment, results_dir: str, key: str | None, processes: int
) -> int:
    from maskrcnn_trainer.launch import LaunchSettings, launch

    if key is not None:
        # Passed in the environment, since all users of the machine can read a command line.
        os.environ[KEY_VARIABLE] = key
    task = ["train", "-e", arguments.experiment_spec, "-d", results_dir, "--output", arguments.output]
    if arguments.use_amp:
        task.append("--use-amp")
    if arguments.xla:
        task.append("--xla")
    settings = LaunchSettings(nodes=1, node_rank=0, processes=processes, rendezvous=None, task=tuple(task))
    return launch(settings, environment, prepare=lambda started: _checked(arguments, started.node_rank))


@contextlib.contextmanager
def _checked(arguments: argparse.Namespace, node_rank: int) -> Iterator[None]:
    check(arguments, node_rank)
    yield
