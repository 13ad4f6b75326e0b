"""Step arithmetic: how many steps, epochs and evaluations a training has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec.errors import Problem, SpecError
from maskrcnn_trainer.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class StepPlan:
    """The length of a training.

    Attributes:
        total_steps: number of training steps, at least 1.
        num_epochs: number of epochs that those steps reach into, at least 1.
        steps_per_epoch: steps in which every record is used about once, at least 1.
        steps_per_eval: steps from one checkpoint and evaluation to the next, at least 1.
    """

    total_steps: int
    num_epochs: int
    steps_per_epoch: int
    steps_per_eval: int

    def is_evaluated_at(self, step: int) -> bool:
        """Return whether a checkpoint is written and evaluated after ``step`` steps (from 1): at the end, too."""
        return step == self.total_steps or step % self.steps_per_eval == 0


def plan_steps(spec: ExperimentSpec, *, num_records: int, ranks: int) -> StepPlan:
    """The number of steps, all divisions rounded up; ``num_epochs`` wins over ``total_steps`` when both are set.

    Args:
        spec: gives the batch size per rank, and either length.
        num_records: training records of all ranks together.
        ranks: number of training processes.

    Raises:
        SpecError: neither length is set.
        InvalidInput: no training record is there to be counted.
    """
    if ranks < 1:
        raise InvalidInput(f"a training needs at least one process, not {ranks}")
    if spec.num_examples_per_epoch is None and num_records < 1:
        raise InvalidInput(
            f"dataConfig.trainingFilePattern: {spec.data_config.training_file_pattern} holds no training records",
            reason="InvalidData",
        )
    examples = Fraction(spec.num_examples_per_epoch or Fraction(num_records, ranks))
    batch = spec.train_batch_size
    steps_per_epoch = math.ceil(examples / batch)
    if spec.num_epochs is not None:
        num_epochs = spec.num_epochs
        total_steps = math.ceil(num_epochs * examples / batch)
    elif spec.total_steps is not None:
        total_steps = spec.total_steps
        num_epochs = math.ceil(total_steps * batch / examples)
    else:
        raise SpecError([Problem(("total_steps",), None, "one of totalSteps and numEpochs is required, at least 1")])
    return StepPlan(total_steps, num_epochs, steps_per_epoch, spec.num_steps_per_eval or steps_per_epoch)
