"""Command line and environment of a step, the same in a Job's container and in a local process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.api.status import format_time
from maskrcnn_trainer.shared.variables import (
    ATTEMPT_VARIABLE,
    CREATED_VARIABLE,
    EXPERIMENT_UID_VARIABLE,
    FINGERPRINT_VARIABLE,
    FINGERPRINTS_VARIABLE,
    INPUT_FINGERPRINTS_VARIABLE,
    OWNER_ID_VARIABLE,
    OWNER_NAMESPACE_VARIABLE,
    RESULTS_DIR_VARIABLE,
    TAKE_OVER_VARIABLE,
    TERMINATION_LOG_VARIABLE,
    WORKING_DIR_VARIABLE,
)

PathMap = Callable[[str], str]


def _as_it_is(path: str) -> str:
    return path


@dataclass(frozen=True)
class ProcessPaths:
    """Paths of one attempt, as its process sees them.

    Attributes:
        results_dir: results directory of the step, or its URL in object storage.
        spec_file: merged spec as YAML; None for a task that reads none.
        model_path: model that the task takes with -m; None for a task that takes none.
        termination_log: file for the termination message.
        encrypted: whether model files are encrypted with a key.
        path: maps a path of the manifest to one that the process can open.
    """

    results_dir: str
    spec_file: str | None
    model_path: str | None
    termination_log: str
    encrypted: bool = False
    path: PathMap = _as_it_is


def task_arguments(step: Step, paths: ProcessPaths) -> tuple[str, ...]:
    """Return the task's name and flags, such as ``("train", "-e", SPEC, "-d", DIR)``.

    Raises:
        ValueError: ``paths`` has no spec file or model although the task needs one.
    """
    kind, name = step.kind, step.task_name
    arguments = [name.command]
    if kind.reads_spec:
        if paths.spec_file is None:
            raise ValueError(f"step {step.name}: the task {name.value} needs a spec file")
        arguments += ["-e", paths.spec_file]
    if kind.needs_model_argument:
        if paths.model_path is None:
            raise ValueError(f"step {step.name}: the task {name.value} needs a model")
        arguments += ["-m", paths.path(paths.model_path)]
    return (*arguments, *kind.arguments(step.task, paths))


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
    """Return the arguments of ``maskrcnn`` that start the processes of a task on one node.

    Args:
        step: step of the task.
        task: name and flags of the task.
        nodes: number of nodes of the worker group.
        processes_per_node: number of processes on each node.
        node_rank: rank of this node; a string, so that a pod can use a variable, such as ``$(JOB_COMPLETION_INDEX)``.
        rendezvous: HOST:PORT of node 0; required with several nodes.
        keep_logs: whether to write logs to the results directory too, for an executor that does not keep them.
    """
    arguments = ["launch", "--nodes", str(nodes), "--node-rank", node_rank]
    arguments += ["--processes-per-node", str(processes_per_node)]
    arguments += ["--rendezvous", rendezvous] if rendezvous else []
    arguments += ["--threads-per-process", str(step.threads_per_process)] if step.threads_per_process else []
    arguments += ["--keep-logs"] if keep_logs else []
    return (*arguments, "--", *task)


def task_environment(
    paths: ProcessPaths,
    *,
    fingerprints: Sequence[str],
    attempt: int,
    experiment_uid: str,
    created: datetime | None = None,
) -> dict[str, str]:
    """Return the environment variables of every task, without the key and those for reports.

    Args:
        paths: paths of the attempt.
        fingerprints: of the step, oldest first; an image of an older release reads only the first.
        attempt: number of the attempt.
        experiment_uid: unique ID of the experiment.
        created: time at which the experiment was created; None if unknown.
    """
    return {
        RESULTS_DIR_VARIABLE: paths.results_dir,
        FINGERPRINT_VARIABLE: fingerprints[0],
        **({FINGERPRINTS_VARIABLE: " ".join(fingerprints)} if len(fingerprints) > 1 else {}),
        ATTEMPT_VARIABLE: str(attempt),
        EXPERIMENT_UID_VARIABLE: experiment_uid,
        **({CREATED_VARIABLE: format_time(created)} if created is not None else {}),
        TERMINATION_LOG_VARIABLE: paths.termination_log,
    }


def results_in_store_environment(
    *,
    owner_id: str,
    owner_namespace: str = "",
    working_dir: str,
    input_fingerprints: Mapping[str, Sequence[str]],
    take_over_from: str | None = None,
) -> dict[str, str]:
    """Return the further variables of a task whose results are in object storage.

    Args:
        owner_id: owner of the experiment's results.
        owner_namespace: namespace of the experiment; empty for a local run.
        working_dir: directory in which the task writes before its results are published.
        input_fingerprints: fingerprints of each step whose results the task may read, oldest first, by name.
        take_over_from: state of another owner that is replaced, ``<id>/<ownerEpoch>``; None to replace none.
    """
    return {
        OWNER_ID_VARIABLE: owner_id,
        **({OWNER_NAMESPACE_VARIABLE: owner_namespace} if owner_namespace else {}),
        WORKING_DIR_VARIABLE: working_dir,
        INPUT_FINGERPRINTS_VARIABLE: json.dumps({name: list(found) for name, found in input_fingerprints.items()}),
        **({TAKE_OVER_VARIABLE: take_over_from} if take_over_from else {}),
    }
