"""Step arithmetic: the number of steps, epochs, and evaluations of a training, and the epoch of a step."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec.errors import Problem, SpecError
from maskrcnn_trainer.spec.experiment import ExperimentSpec

_ROUNDED = 0.01  # of the records: users round numExamplesPerEpoch, such as 14,700 for 117,266 / 8


@dataclass(frozen=True)
class StepPlan:
    """Length of a training.

    Attributes:
        total_steps: number of training steps, at least 1; less than the steps already done if those are too many.
        num_epochs: number of started epochs in those steps, at least 1.
        steps_per_epoch: steps in which every record is used about once, at least 1.
        steps_per_eval: steps between two checkpoints, each of which is evaluated, at least 1.
        images_per_epoch: images of an epoch over all ranks, at least 1.
    """

    total_steps: int
    num_epochs: int
    steps_per_epoch: int
    steps_per_eval: int
    images_per_epoch: int

    def is_evaluated_at(self, step: int) -> bool:
        """Return whether a checkpoint is written and evaluated after ``step`` steps (from 1); always at the end."""
        return step == self.total_steps or step % self.steps_per_eval == 0

    def epoch_of(self, images: int) -> int:
        """Return the epoch, from 1 to ``num_epochs``, of the ``images``-th image over all ranks.

        The last step may extend beyond the last epoch; that part counts as the last epoch.
        """
        return min(self.num_epochs, max(1, _quotient_up(images, self.images_per_epoch)))

    def epochs_finished(self, images: int) -> int:
        """Return the number of epochs that are complete after this many images over all ranks."""
        return images // self.images_per_epoch


def plan_steps(
    spec: ExperimentSpec, *, num_records: int, ranks: int, steps_done: int = 0, images_done: int = 0
) -> StepPlan:
    """Return the length of a training, all divisions rounded up; ``num_epochs`` overrides ``total_steps``.

    Args:
        spec: the batch size per rank, and either length.
        num_records: training records of all ranks together.
        ranks: number of training processes.
        steps_done: steps done before, if the training resumes.
        images_done: images of those steps over all ranks; the number of ranks may have been different then.

    Raises:
        SpecError: neither length is set.
        InvalidInput: there are no training records.
    """
    if ranks < 1:
        raise InvalidInput(f"{ranks} processes: a training needs at least one")
    if spec.num_examples_per_epoch is None and num_records < 1:
        raise InvalidInput(
            f"dataConfig.trainingFilePattern: {spec.data_config.training_file_pattern} has no training records",
            reason="InvalidData",
        )
    images_per_epoch = num_records if spec.num_examples_per_epoch is None else spec.num_examples_per_epoch * ranks
    images_per_step = spec.train_batch_size * ranks
    steps_per_epoch = _quotient_up(images_per_epoch, images_per_step)
    if spec.num_epochs is not None:
        num_epochs = spec.num_epochs
        total_steps = steps_done + _quotient_up(num_epochs * images_per_epoch - images_done, images_per_step)
    elif spec.total_steps is not None:
        total_steps = spec.total_steps
        images = images_done + max(0, total_steps - steps_done) * images_per_step
        num_epochs = _quotient_up(images, images_per_epoch)
    else:
        raise SpecError([Problem(("total_steps",), None, "one of totalSteps and numEpochs is required, at least 1")])
    return StepPlan(
        total_steps, num_epochs, steps_per_epoch, spec.num_steps_per_eval or steps_per_epoch, images_per_epoch
    )


def other_epoch_length(spec: ExperimentSpec, *, num_records: int, ranks: int) -> str | None:
    """Return a warning if ``num_examples_per_epoch`` doesn't match the records of one process, else None."""
    examples = spec.num_examples_per_epoch
    # less than one record per process is rounding
    if examples is None or abs(examples * ranks - num_records) <= max(ranks - 1, _ROUNDED * num_records):
        return None
    processes = "1 process" if ranks == 1 else f"{ranks} processes"
    return (
        f"numExamplesPerEpoch {examples} times {processes} differs from the {num_records} images of the records. It "
        f"determines epochs and evaluations, and should be {_quotient_up(num_records, ranks)}, the images per process; "
        "leave it out to have them counted"
    )


def _quotient_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
