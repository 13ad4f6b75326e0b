"""Options of ``maskrcnn launch``."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.worker_group import MOST_NODES, MOST_PROCESSES, MOST_THREADS
from maskrcnn_trainer.spec.task_table import TASKS


@dataclass(frozen=True)
class LaunchSettings:
    """Options of ``maskrcnn launch``.

    Attributes:
        nodes: number of nodes (pods) in the worker group.
        node_rank: rank of this node, from 0.
        processes: number of processes per node.
        rendezvous: host and port of node 0; required with more than one node.
        task: name of the task and its arguments.
        threads: threads per process; None: the CPUs divided by the processes.
        keep_logs: whether to write logs to ``logs/`` of the results directory too; a pod's log is deleted with the pod.
    """

    nodes: int
    node_rank: int
    processes: int
    rendezvous: tuple[str, int] | None
    task: tuple[str, ...]
    threads: int | None = None
    keep_logs: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST_NODES:
            raise InvalidInput(f"--nodes {self.nodes}: must be 1 to {MOST_NODES}")
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise InvalidInput(f"--processes-per-node {self.processes}: must be 1 to {MOST_PROCESSES}")
        if not 0 <= self.node_rank < self.nodes:
            raise InvalidInput(f"--node-rank {self.node_rank}: must be 0 to {self.nodes - 1} with --nodes {self.nodes}")
        if self.nodes > 1 and self.rendezvous is None:
            raise InvalidInput("--rendezvous HOST:PORT is required with --nodes above 1; HOST is node 0")
        if not self.task or not self.task[0]:
            raise InvalidInput(
                "the task is missing; give it after --, such as: maskrcnn launch -- train -e spec.yaml ..."
            )
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise InvalidInput(f"--threads-per-process {self.threads}: must be 1 to {MOST_THREADS}")
        several = [name.command for name, entry in TASKS.items() if entry.several_processes]
        if self.processes * self.nodes > 1 and self.task[0] not in several:
            raise InvalidInput(f"{self.task[0]} runs as one process; only {', '.join(several)} can use several")
