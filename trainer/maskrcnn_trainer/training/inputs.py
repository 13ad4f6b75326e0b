"""The spec of a training and the files that it names, checked in a second and without TensorFlow."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.data.coco import load_coco
from maskrcnn_trainer.data.records import find_files
from maskrcnn_trainer.spec import ExperimentSpec, load_spec, require_paths
from maskrcnn_trainer.spec.task_name import TaskName


def read_inputs(spec_path: str, *, quiet: bool = False) -> ExperimentSpec:
    """Read the spec of a training and check that the data it names exist; a resumed one needs no other file.

    Args:
        quiet: leave out the warnings about the spec, for a process whose child logs them.

    Raises:
        SpecError: a field is wrong or missing.
        InvalidInput: the spec cannot be read, or a file that it names is missing.
    """
    spec = load_spec(spec_path, quiet=quiet)
    require_paths(spec, TaskName.TRAIN, source=spec_path)
    config = spec.data_config
    for patterns in (config.training_file_pattern, config.validation_file_pattern):
        find_files(str(patterns))
    if not Path(str(config.val_json_file)).is_file():
        load_coco(str(config.val_json_file))  # raises with the reason
    return spec
