"""Notes on valid specs that are probably mistaken, and the check for the paths that a task needs."""

from __future__ import annotations

from pydantic.alias_generators import to_camel

from maskrcnn_trainer.spec.errors import Problem, SpecError
from maskrcnn_trainer.spec.experiment import CHECKPOINT_OPTIONS, ExperimentSpec
from maskrcnn_trainer.spec.named_files import file_fields
from maskrcnn_trainer.spec.purposes import fields_for
from maskrcnn_trainer.spec.steps import StepPlan
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS

_WITHOUT_EFFECT = {
    "save_checkpoints_steps": "saveCheckpointsSteps has no effect: checkpoints are saved every numStepsPerEval steps",
    "wandb_config": "wandbConfig has no effect: reports to Weights & Biases are not supported",
    "clearml_config": "clearmlConfig has no effect: reports to ClearML are not supported",
}


def notes(spec: ExperimentSpec, plan: StepPlan | None = None, *, trains: bool = True) -> list[str]:
    """Return sentences for the log about settings of a valid spec that have no effect or are probably mistaken.

    Args:
        spec: the spec.
        plan: its steps, once the records are counted; without it, they are known only from ``total_steps``.
        trains: whether the task is a training; other tasks read no field of a training.
    """
    if not trains:
        return []
    found = [text for name, text in _WITHOUT_EFFECT.items() if getattr(spec, name) is not None]
    data = spec.data_config
    if data.shuffle_buffer_size != type(data).model_fields["shuffle_buffer_size"].default:
        found.append(
            f"dataConfig.shuffleBufferSize ({data.shuffle_buffer_size}) has no effect on a new training, which reads "
            "all records in a new random order each epoch; a training that was started by an earlier release needs it"
        )
    return found + _about_steps(spec, plan) + _about_model(spec)


def _about_steps(spec: ExperimentSpec, plan: StepPlan | None) -> list[str]:
    found = []
    if spec.num_epochs is not None and spec.total_steps is not None:
        found.append(
            f"numEpochs ({spec.num_epochs}) and totalSteps ({spec.total_steps}) are both set; numEpochs is used"
        )
    total = plan.total_steps if plan is not None else spec.total_steps if spec.num_epochs is None else None
    # the rate changes in the steps after a boundary, and the last step is total - 1
    late = [step for step in spec.learning_rate_steps if total is not None and step >= total - 1]
    if late:
        found.append(f"learningRateSteps {late} have no effect: the training ends at step {total}")
    early = [step for step in spec.learning_rate_steps if step < spec.warmup_steps]
    if early:
        found.append(f"learningRateSteps {early} lie within the warm-up, which lasts until step {spec.warmup_steps}")
    if total is not None and spec.warmup_steps >= total:
        found.append(f"warmupSteps ({spec.warmup_steps}) should be less than the number of training steps ({total})")
    if spec.warmup_steps and spec.warmup_learning_rate > spec.init_learning_rate:
        found.append(
            f"the learning rate falls during the warm-up: warmupLearningRate ({spec.warmup_learning_rate:g}) is more "
            f"than initLearningRate ({spec.init_learning_rate:g})"
        )
    return found


def _about_model(spec: ExperimentSpec) -> list[str]:
    found = []
    model = spec.maskrcnn_config
    if model.freeze_bn and spec.checkpoint is None and spec.pruned_model_path is None:
        found.append(
            "maskrcnnConfig.freezeBn is true without a checkpoint: the initial statistics of new layers don't "
            "normalize anything; set it to false, or give a checkpoint"
        )
    if model.freeze_blocks and spec.checkpoint is None and spec.pruned_model_path is None:
        found.append(
            f"maskrcnnConfig.freezeBlocks {list(model.freeze_blocks)} without a checkpoint: these blocks keep their "
            "random weights; set it to [], or give a checkpoint"
        )
    if spec.checkpoint is not None and spec.pruned_model_path is not None:
        found.append(f"checkpoint {spec.checkpoint} is not used, because prunedModelPath is set")
    given = [to_camel(name) for name in ("skip_checkpoint_variables", *CHECKPOINT_OPTIONS) if _is_given(spec, name)]
    if given and spec.checkpoint is None:
        found.append(f"{', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect without a checkpoint")
    if spec.l1_weight_decay >= 1e-4:
        found.append(
            f"l1WeightDecay {spec.l1_weight_decay:g} shrinks most weights to zero unless the training is short; 0 is "
            "usual"
        )
    if model.gt_mask_size < model.mrcnn_resolution:
        found.append(
            f"maskrcnnConfig.gtMaskSize ({model.gt_mask_size}) is less than mrcnnResolution "
            f"({model.mrcnn_resolution}): the ground-truth masks are coarser than the predicted ones"
        )
    return found


def _is_given(spec: ExperimentSpec, name: str) -> bool:
    return bool(getattr(spec, name) != type(spec).model_fields[name].get_default(call_default_factory=True))


def require_paths(spec: ExperimentSpec, task: TaskName, *, source: str = "the experiment spec") -> None:
    """Check that ``dataConfig`` names the records that a task reads, and their annotations.

    Args:
        spec: the spec, after defaults are filled in.
        task: the task; an export is expected to calibrate on records.
        source: file of the spec, for the message.

    Raises:
        SpecError: some are missing; all of them are named.
    """
    read = fields_for(ExperimentSpec, TASKS[task].all_reads)
    problems = [
        Problem(
            ("data_config", name),
            None,
            f"is required by {task.command}. {type(spec.data_config).model_fields[name].description}",
        )
        for name in file_fields(type(spec.data_config))
        if f"data_config.{name}" in read and getattr(spec.data_config, name) is None
    ]
    if problems:
        raise SpecError(problems, source)
