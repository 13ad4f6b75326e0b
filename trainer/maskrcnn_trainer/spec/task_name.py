"""Names of the tasks, the key that the operator's and the trainer's table of tasks share."""

from __future__ import annotations

import re
from enum import StrEnum


class TaskName(StrEnum):
    """The tasks by their names in the manifest."""

    DATASET_CONVERT = "datasetConvert"
    TRAIN = "train"
    EVALUATE = "evaluate"
    PRUNE = "prune"
    INFERENCE = "inference"
    EXPORT = "export"

    @property
    def command(self) -> str:
        """Name on the command line, in status.json, and in result.json: ``dataset_convert``."""
        return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", self.value)

    @property
    def attribute(self) -> str:
        """Name of the field of a step that holds the task's options."""
        return self.command
