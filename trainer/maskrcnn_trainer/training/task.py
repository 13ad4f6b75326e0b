"""The train task: what was asked for is checked, a training is run, and its result reported."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path

from maskrcnn_trainer.environment import TaskEnvironment
from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.failures import explained_failures
from maskrcnn_trainer.launch.leftovers import remove_leftovers
from maskrcnn_trainer.launch.ownership import TOKEN_VARIABLE, only_training, ownership_guard
from maskrcnn_trainer.report import Reporter, task_report
from maskrcnn_trainer.runtime import prepare_tensorflow
from maskrcnn_trainer.stopping import StopRequest
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.command import STARTED
from maskrcnn_trainer.training.distributed import Ranks
from maskrcnn_trainer.training.inputs import read_inputs

log = logging.getLogger(__name__)


def train_task(
    *,
    spec_path: str,
    results_dir: str,
    key: str | None,
    use_amp: bool,
    output: str,
    environment: TaskEnvironment,
) -> int:
    """``maskrcnn train`` as one rank of its gang (or as the only one).

    Args:
        spec_path: the experiment spec.
        results_dir: of checkpoints, logs and the result.
        key: encrypts and opens model files when given.
        use_amp: mixed precision, whatever the spec says.
        output: ``last`` or ``best``: which checkpoint is the result.
        environment: of the task.

    Returns:
        0. Everything else ends in SystemExit with the exit code, after the last word was reported.
    """
    ranks = Ranks.from_environ()
    directory = Path(results_dir)
    token = os.environ.get(TOKEN_VARIABLE)
    guard = ownership_guard(directory, token)
    with (
        only_training(directory, token) if ranks.rank == 0 else nullcontext(),
        StopRequest() as stop,
        task_report(
            "train",
            directory,
            environment,
            started=STARTED,
            rank=ranks.rank,
            processes=ranks.size,
            threads=ranks.threads,
            before_write=guard,
        ) as reporter,
        explained_failures(),
        ranks.left_on_failure(),
    ):
        spec = read_inputs(spec_path)
        if use_amp:
            spec = spec.model_copy(update={"use_amp": True})
        from maskrcnn_trainer.training.train import Training  # loads TensorFlow

        prepare_tensorflow(
            threads=ranks.threads,
            local_rank=ranks.local_rank,
            deterministic=spec.deterministic,
            seed=spec.seed,
            rewrite_cpu_graphs=False,
        )
        ranks.initialise()
        if ranks.rank == 0:
            remove_leftovers(directory)
        # Files are rank 0's business; the others see what it found.
        store = (
            CheckpointStore(directory, key=key, keep=spec.keep_checkpoints, guard=guard) if ranks.rank == 0 else None
        )
        training = Training(
            spec,
            ranks,
            store,
            reporter,
            stop,
            key=key,
            fingerprint=environment.fingerprint,
            older_fingerprints=environment.older_fingerprints,
        )
        reporter.accepted()
        training.run()
        if store is not None:
            _conclude(training.data.plan.total_steps, store, reporter, output)
        ranks.leave_together()
    return EXIT_OK


def _conclude(last: int, store: CheckpointStore, reporter: Reporter, output: str) -> None:
    chosen = store.best() if output == "best" else last
    if chosen is None:
        log.warning("No checkpoint has a mask AP to be the best by; the last one is the result")
        chosen = last
    model = store.path(chosen)
    reporter.succeeded(
        "Training finished successfully.",
        metrics=store.metrics(chosen) or {},
        artifacts={"model": model},
        model_path=model,
        checkpoint_step=last,
    )
