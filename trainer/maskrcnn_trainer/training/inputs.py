"""Checks of a training's spec and of the files that it names, which take a second and don't need TensorFlow."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.data.coco import load_coco
from maskrcnn_trainer.data.records import find_files
from maskrcnn_trainer.spec import ExperimentSpec, SpecError, load_spec, require_paths
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.url_fields import SPEC_URLS
from maskrcnn_trainer.spec.worker_group import problems_of_processes
from maskrcnn_trainer.task.staged_inputs import with_staged_paths


def read_inputs(
    spec_path: str, *, use_amp: bool = False, xla: bool = False, processes: int = 1, quiet: bool = False
) -> ExperimentSpec:
    """Read the spec of a training and check that its data files exist.

    Other files of the spec, such as pretrained weights, are not checked, since a resumed training does not need them.

    Args:
        spec_path: of the spec.
        use_amp: use mixed precision, also if the spec does not.
        xla: compile with XLA, also if the spec does not.
        processes: of the worker group.
        quiet: do not log the warnings about the spec, for a process whose child process logs them.

    Raises:
        SpecError: a field is invalid or missing, or doesn't work with several processes.
        InvalidInput: the spec cannot be read, or a data file is missing.
    """
    spec = with_staged_paths(load_spec(spec_path, quiet=quiet), *SPEC_URLS)
    spec = spec.model_copy(update={name: True for name, flag in (("use_amp", use_amp), ("xla", xla)) if flag})
    if problems := list(problems_of_processes(spec, processes)):
        raise SpecError(problems, spec_path)
    require_paths(spec, TaskName.TRAIN, source=spec_path)
    config = spec.data_config
    for patterns in (config.training_file_pattern, config.validation_file_pattern):
        find_files(str(patterns))
    if not Path(str(config.val_json_file)).is_file():
        load_coco(str(config.val_json_file))  # raises an error with the reason
    return spec
