"""Names of the tasks, the common key of the operator's and the trainer's task tables."""

from __future__ import annotations

import re
from enum import StrEnum


class TaskName(StrEnum):
    """Task, by its name in the manifest."""

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
        """Name of the step's field with the options of the task."""
        return self.command
