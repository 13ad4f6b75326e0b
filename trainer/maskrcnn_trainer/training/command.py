"""``maskrcnn train``: its flags, and the decision whether this process trains or starts those that do."""

from __future__ import annotations

import argparse
import os

from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.shared.variables import KEY_VARIABLE
from maskrcnn_trainer.shared.worker_group import MOST_PROCESSES
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.arguments import IgnoredFlag, add_key, add_spec, key_of, results_dir_of, use_gpus
from maskrcnn_trainer.task.environment import TaskEnvironment

STARTED = "Starting Mask R-CNN training."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument(
        "-d", "--results-dir", "--model-dir", "-r", metavar="DIR", help="checkpoints, logs and the result go here"
    )
    add_key(parser)
    parser.add_argument("--gpus", type=int, help="processes to train with, one per GPU (on a CPU: processes)")
    parser.add_argument("-np", "--num-processes", type=int, help="the same as --gpus")
    parser.add_argument("--gpu-index", type=int, nargs="+", metavar="I", help="which GPUs to use")
    parser.add_argument("--use-amp", action="store_true", help="mixed precision, whatever the spec says")
    parser.add_argument(
        "--output", choices=("last", "best"), default="last", help="which checkpoint is the result: best is by mask AP"
    )
    parser.add_argument("--log-file", "--mpirun-arg", action=IgnoredFlag, metavar="X")
    parser.add_argument("--multi-node", "--launch-cuda-blocking", action=IgnoredFlag, nargs=0)


def run(arguments: argparse.Namespace) -> int:
    environment = TaskEnvironment.from_environ()
    results_dir = results_dir_of(arguments.results_dir, environment, flag="-d")
    key = key_of(arguments, environment)
    processes = _processes(arguments)
    use_gpus(arguments.gpu_index)
    if processes > 1 and "HOROVOD_RANK" not in os.environ:
        return _launch(arguments, environment, results_dir, key, processes)
    from maskrcnn_trainer.training.task import train_task

    return train_task(
        spec_path=arguments.experiment_spec,
        results_dir=results_dir,
        key=key,
        use_amp=arguments.use_amp,
        output=arguments.output,
        environment=environment,
    )


def check(arguments: argparse.Namespace, node_rank: int = 0) -> None:
    """Check the command, its spec, and the files that this names, before the processes of a node are started.

    Raises:
        InvalidInput: the command line cannot work.
        SystemExit: the spec or a file cannot; by then it is reported as the training would have.
    """
    from maskrcnn_trainer.task.reporter import task_report
    from maskrcnn_trainer.training.inputs import read_inputs

    environment = TaskEnvironment.from_environ()
    results_dir = results_dir_of(arguments.results_dir, environment, flag="-d")
    _processes(arguments)
    try:
        read_inputs(arguments.experiment_spec, quiet=True)
    except TaskError:
        with task_report(TaskName.TRAIN, results_dir, environment, started=STARTED, rank=node_rank):
            raise


def _processes(arguments: argparse.Namespace) -> int:
    """Return the number of processes that the flags ask for.

    Raises:
        InvalidInput: the flags contradict each other, or name none.
    """
    wanted = {
        flag: value
        for flag, value in (
            ("--gpus", arguments.gpus),
            ("--num-processes", None if arguments.num_processes == -1 else arguments.num_processes),
            ("--gpu-index", len(arguments.gpu_index) if arguments.gpu_index else None),
        )
        if value is not None
    }
    for flag, value in wanted.items():
        if not 1 <= value <= MOST_PROCESSES:
            raise InvalidInput(f"{flag} {value}: must be 1 to {MOST_PROCESSES}")
    if len(set(wanted.values())) > 1:
        raise InvalidInput("; ".join(f"{flag} asks for {value}" for flag, value in wanted.items()) + ": which is it?")
    return next(iter(wanted.values()), 1)


def _launch(
    arguments: argparse.Namespace, environment: TaskEnvironment, results_dir: str, key: str | None, processes: int
) -> int:
    from maskrcnn_trainer.launch import LaunchSettings, launch

    if key is not None:
        # Handed on by the environment: a command line can be read by everybody on the machine.
        os.environ[KEY_VARIABLE] = key
    task = ["train", "-e", arguments.experiment_spec, "-d", results_dir, "--output", arguments.output]
    if arguments.use_amp:
        task.append("--use-amp")
    settings = LaunchSettings(nodes=1, node_rank=0, processes=processes, rendezvous=None, task=tuple(task))
    return launch(settings, environment, check=lambda node_rank: check(arguments, node_rank))
