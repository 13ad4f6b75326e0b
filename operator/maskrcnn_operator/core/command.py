"""A step's command line and environment, the same as a Job's container and as a process on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.api.tasks import DatasetConvert, Evaluate, Export, Inference, Prune, Train
from maskrcnn_operator.core.merge import SPEC_READERS
from maskrcnn_trainer.spec.task_name import TaskName

COMMAND_NAMES: Mapping[TaskName, str] = {
    TaskName.DATASET_CONVERT: "dataset_convert",
    TaskName.TRAIN: "train",
    TaskName.EVALUATE: "evaluate",
    TaskName.PRUNE: "prune",
    TaskName.INFERENCE: "inference",
    TaskName.EXPORT: "export",
}

KEY_VARIABLE = "MASKRCNN_KEY"
"""Given to the process by its executor: from a Secret, or from the user's environment; never on a command line."""

PathMap = Callable[[str], str]


def _as_it_is(path: str) -> str:
    return path


@dataclass(frozen=True)
class Placement:
    """Where the files of one attempt are, as its process sees them.

    Attributes:
        results_dir: the step's results directory.
        spec_file: the merged spec as YAML, for tasks that read one.
        model_path: the model that the task takes with -m.
        termination_log: file for the last word.
        encrypted: whether a key is used.
        path: turns a path of the manifest into one that the process can open.
    """

    results_dir: str
    spec_file: str | None
    model_path: str | None
    termination_log: str
    encrypted: bool = False
    path: PathMap = _as_it_is


def task_arguments(step: Step, placement: Placement) -> tuple[str, ...]:
    """The task's name and flags, such as ``("train", "-e", SPEC, "-d", DIR)``; fields at their default left out.

    Raises:
        ValueError: a spec file or model that the task needs is not in ``placement``.
    """
    task, path, results = step.task, placement.path, placement.results_dir
    arguments = [COMMAND_NAMES[step.task_name]]
    if step.task_name in SPEC_READERS:
        if placement.spec_file is None:
            raise ValueError(f"step {step.name}: the task {step.task_name.value} needs a spec file")
        arguments += ["-e", placement.spec_file]
    if step.task_name not in (TaskName.DATASET_CONVERT, TaskName.TRAIN):
        if placement.model_path is None:
            raise ValueError(f"step {step.name}: the task {step.task_name.value} needs a model")
        arguments += ["-m", path(placement.model_path)]
    if isinstance(task, DatasetConvert):
        arguments += ["-i", path(task.image_dir), "-a", path(task.annotations_file), "-o", results]
        arguments += ["-t", task.tag] if task.tag else []
        arguments += ["-s", str(task.num_shards)]
        arguments += ["--include_mask" if task.include_mask else "--no-include_mask"]
        arguments += ["--skip_bad_images"] if task.skip_bad_images else []
        arguments += ["--crowd_as_objects"] if task.crowd_as_objects else []
    elif isinstance(task, Train):
        arguments += ["-d", results]
        arguments += ["--output", task.output] if task.output != "last" else []
    elif isinstance(task, Evaluate):
        arguments += ["-r", results]
    elif isinstance(task, Prune):
        arguments += _prune_arguments(task, results)
    elif isinstance(task, Inference):
        arguments += ["-i", path(task.image_dir), "-r", results, "-t", str(task.threshold)]
        arguments += ["-c", path(task.class_map)] if task.class_map else []
        arguments += ["--include_mask"] if task.include_mask else []
        arguments += ["--exif"] if task.exif else []
    else:
        arguments += _export_arguments(task, placement)
    return tuple(arguments)


def _prune_arguments(task: Prune, results: str) -> list[str]:
    arguments = ["-o", results, "-n", task.normalizer, "-eq", task.equalization_criterion]
    arguments += ["-pg", str(task.pruning_granularity), "-pth", str(task.pruning_threshold)]
    arguments += ["-nf", str(task.min_num_filters)]
    return arguments + (["-el", *task.excluded_layers] if task.excluded_layers else [])


def _export_arguments(task: Export, placement: Placement) -> list[str]:
    results = placement.results_dir
    output = f"{results}/model.{'etlt' if placement.encrypted else 'onnx'}"
    arguments = ["-o", output, "--data_type", task.data_type, "--batch_size", str(task.batch_size)]
    arguments += ["--max_batch_size", str(task.max_batch_size), "--max_workspace_size", str(task.max_workspace_size)]
    if task.data_type == "int8":
        arguments += ["--batches", str(task.calibration.batches), "--cal_cache_file", f"{results}/cal.bin"]
        if task.calibration.image_dir:
            arguments += ["--cal_image_dir", placement.path(task.calibration.image_dir)]
    arguments += ["--engine_file", f"{results}/model.engine"] if task.engine.build else []
    arguments += ["--gen_ds_config"] if task.gen_ds_config else []
    arguments += ["--preprocessing"] if task.preprocessing else []
    return arguments


def launch_arguments(
    step: Step,
    task: tuple[str, ...],
    *,
    nodes: int,
    processes_per_node: int,
    node_rank: str = "0",
    rendezvous: str | None = None,
    keep_logs: bool = False,
) -> tuple[str, ...]:
    """The arguments of ``maskrcnn`` that start one node's share of a task.

    Args:
        node_rank: a text, so that a pod may name the variable that holds it, such as ``$(JOB_COMPLETION_INDEX)``.
        rendezvous: HOST:PORT of node 0; needed with several nodes.
        keep_logs: in the results directory as well, where the executor does not keep them itself.
    """
    arguments = ["launch", "--nodes", str(nodes), "--node-rank", node_rank]
    arguments += ["--processes-per-node", str(processes_per_node)]
    arguments += ["--rendezvous", rendezvous] if rendezvous else []
    arguments += ["--threads-per-process", str(step.threads_per_process)] if step.threads_per_process else []
    arguments += ["--keep-logs"] if keep_logs else []
    return (*arguments, "--", *task)


def task_environment(
    placement: Placement, *, fingerprints: Sequence[str], attempt: int, experiment_uid: str
) -> dict[str, str]:
    """Return the variables that every task honours, those of reporting and the key apart.

    Args:
        fingerprints: of the step, oldest first; an image of an older release reads the first alone.
    """
    return {
        "MASKRCNN_RESULTS_DIR": placement.results_dir,
        "MASKRCNN_FINGERPRINT": fingerprints[0],
        **({"MASKRCNN_FINGERPRINTS": " ".join(fingerprints)} if len(fingerprints) > 1 else {}),
        "MASKRCNN_ATTEMPT": str(attempt),
        "MASKRCNN_EXPERIMENT_UID": experiment_uid,
        "MASKRCNN_TERMINATION_LOG": placement.termination_log,
    }
