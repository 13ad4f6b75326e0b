"""Rules between the spec of a training and its number of processes, which isn't part of the spec."""

from __future__ import annotations

from collections.abc import Iterator

from maskrcnn_trainer.spec.errors import Problem
from maskrcnn_trainer.spec.experiment import ExperimentSpec

_BLOCKS = frozenset(range(5))


def problems_of_processes(spec: ExperimentSpec, processes: int) -> Iterator[Problem]:
    """Yield the problems of a valid spec whose training has a number of processes."""
    if processes > 1 and spec.xla and _synchronizes_batch_norm(spec):
        yield Problem(
            ("xla",),
            True,
            f"true with {processes} processes needs maskrcnnConfig.syncBn false or freezeBn true: XLA can't compile "
            "the exchange of batch statistics between processes",
        )


def _synchronizes_batch_norm(spec: ExperimentSpec) -> bool:
    """Return whether processes exchange the statistics of batches within a step."""
    model = spec.maskrcnn_config
    return model.sync_bn and not model.freeze_bn and not set(model.freeze_blocks) >= _BLOCKS
