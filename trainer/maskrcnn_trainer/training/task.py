"""The train task: check the inputs, train, and report the result."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.results.facts import ModelFacts
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import only_training, ownership_guard
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.device import device_name
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.failures import explained_failures
from maskrcnn_trainer.task.reporter import Reporter, task_report
from maskrcnn_trainer.task.runtime import prepare_tensorflow
from maskrcnn_trainer.task.scratch import ScratchLimit
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.command import STARTED
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.inputs import read_inputs

log = logging.getLogger(__name__)


def train_task(
    *,
    spec_path: str,
    results_dir: str,
    key: str | None,
    use_amp: bool,
    xla: bool,
    output: str,
    environment: TaskEnvironment,
) -> int:
    """Run the task as one rank of its worker group, or as a single process.

    Args:
        spec_path: of the experiment spec.
        results_dir: directory of checkpoints, logs, and the result.
        key: encryption key of model files; None for no encryption.
        use_amp: use mixed precision, also if the spec does not.
        xla: compile with XLA, also if the spec does not.
        output: checkpoint to use as the result, ``last`` or ``best``.
        environment: of the task.

    Returns:
        0. A failure raises SystemExit with the exit code, after the termination message was written.
    """
    context = DistributedContext.from_environ()
    directory = Path(results_dir)
    token = os.environ.get(TOKEN_VARIABLE)
    guard = ownership_guard(directory, token)
    with (
        only_training(directory, token) if context.rank == 0 else nullcontext(),
        StopRequest() as stop,
        task_report(
            TaskName.TRAIN,
            directory,
            environment,
            started=STARTED,
            rank=context.rank,
            processes=context.size,
            threads=context.threads,
            before_write=guard,
        ) as reporter,
        explained_failures(),
        context.shutdown_on_failure(),
    ):
        spec = read_inputs(spec_path, use_amp=use_amp, xla=xla, processes=context.size)
        from maskrcnn_trainer.training.train import train  # imports TensorFlow

        prepare_tensorflow(
            threads=context.threads,
            local_rank=context.local_rank,
            deterministic=spec.deterministic,
            tf32=spec.tf32,
            seed=spec.seed,
            rewrite_cpu_graphs=False,
        )
        context.initialize()
        if context.rank == 0:
            remove_leftovers(directory)
        # Only rank 0 reads and writes checkpoints; it broadcasts their content to the other ranks.
        store = (
            CheckpointStore(
                directory,
                key=key,
                keep=spec.keep_checkpoints,
                guard=guard,
                scratch=ScratchLimit.from_environ(os.environ),
            )
            if context.rank == 0
            else None
        )
        trained = train(spec, context, store, reporter, stop, key=key, fingerprints=environment.fingerprints)
        if store is not None:
            _conclude(trained.steps, trained.parameters, store, reporter, output)
        context.barrier_and_shutdown()
    return EXIT_OK


def _conclude(last: int, parameters: int, store: CheckpointStore, reporter: Reporter, output: str) -> None:
    chosen = store.best() if output == "best" else last
    if chosen is None:
        log.warning("--output best: no checkpoint has a mask AP; using the last one as the result")
        chosen = last
    model = store.path(chosen)
    reporter.succeeded(
        "Training finished successfully.",
        metrics=store.metrics(chosen) or {},
        artifacts={"model": model},
        model_path=model,
        checkpoint_step=last,
        device=device_name(),
        facts=ModelFacts(parameters).to_json(),
    )
