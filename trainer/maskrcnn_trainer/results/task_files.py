"""Files whose names don't distinguish them from a user's own, with one entry for each task that writes such files.

:mod:`maskrcnn_trainer.spec.task_table` has the names of each task's files. A task has an entry here if a user may have
put another file under one of these names, or if its files contain their fingerprint.
"""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from maskrcnn_trainer.data.shard_names import SHARD
from maskrcnn_trainer.results.evaluated_images import begins_as_evaluated_images
from maskrcnn_trainer.results.history import begins_as_history
from maskrcnn_trainer.results.ours import is_temporary
from maskrcnn_trainer.results.recorded import beginning_of
from maskrcnn_trainer.results.report_files import begins_as_report, is_report
from maskrcnn_trainer.shared.fingerprints import FINGERPRINT, fingerprints_in
from maskrcnn_trainer.shared.messages import RECORDS_ARTIFACT
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import CHECKPOINT, EVALUATED_FILE, HISTORY_FILE, IMAGES_DIR, LABELS_DIR
from maskrcnn_trainer.task.files import DAMAGED_ZIP, stored_member

log = logging.getLogger(__name__)

_LABEL = re.compile(rb'\[\]\s*$|\[\{"area": \d+, "is_crowd": 0, "image_id": ')
"""Beginning of a label file of an inference."""


@dataclass(frozen=True)
class ResultsDirectory:
    """Results directory that is being checked.

    Attributes:
        path: the directory.
        artifacts: paths of the artifacts in its result.json by name; empty if there are none.
        files_below: returns the plain files below one of its directories, relative to the results directory.
    """

    path: Path
    artifacts: Mapping[str, str]
    files_below: Callable[[str], Iterable[str]]


class TaskFiles:
    """Files of one task in a results directory; a subclass overrides the checks that need the content of its files."""

    def __init__(self, directory: ResultsDirectory) -> None:
        self.directory = directory

    def is_foreign(self, path: str) -> bool:  # noqa: ARG002 - for those that override it
        """Return whether no step wrote a file although its name is one of the task.

        Called once for each file of the directory, in their order.
        """
        return False

    def is_kept(self, path: str) -> bool:  # noqa: ARG002 - as above
        """Return whether a deletion keeps a file with a name of the task, because the user may have made it."""
        return False

    def fingerprints(self, key: str | None) -> tuple[str, ...]:  # noqa: ARG002 - as above
        """Return the fingerprints in the files of an unfinished run, oldest first; empty if there are none.

        Args:
            key: the key of encrypted files.

        Raises:
            InvalidInput: a file cannot be read, and retrying does not help.
            TryAgain: a file cannot be read at the moment.
        """
        return ()


def _converted_shard(name: str) -> re.Match[str] | None:
    match = SHARD.fullmatch(name)
    return match if match is not None and match["suffix"] == ".tfrecord" else None


class _OneSet(TaskFiles):
    """Shards of a conversion, which writes one set: the user added any other."""

    def __init__(self, directory: ResultsDirectory) -> None:
        super().__init__(directory)
        recorded = directory.artifacts.get(RECORDS_ARTIFACT, "").rpartition("/")[2]
        match = _converted_shard(recorded.replace("-*-of-", "-00000-of-"))
        self._set = (match["tag"], match["total"]) if match else None

    def is_foreign(self, path: str) -> bool:
        match = _converted_shard(path)
        if match is None or "/" in path:
            return False
        found = (match["tag"], match["total"])
        self._set = self._set or found
        return found != self._set


class _Checkpoints(TaskFiles):
    """Checkpoints of a training, which hold the fingerprint of their step, and its history."""

    def is_foreign(self, path: str) -> bool:
        """Return whether ``maskrcnn train`` wrote a checkpoint outside of an experiment: it has no fingerprint.

        A damaged or encrypted checkpoint counts as one of a step.
        """
        if path == HISTORY_FILE:
            return not begins_as_history(beginning_of(self.directory.path / path))
        if not CHECKPOINT.fullmatch(path):
            return False
        try:
            with zipfile.ZipFile(self.directory.path / path) as archive:
                state = json.loads(stored_member(archive, "model.json"))["state"]
            return state.get(FINGERPRINT) is None
        except (OSError, *DAMAGED_ZIP):
            return False

    def is_kept(self, path: str) -> bool:
        return path == HISTORY_FILE and self.is_foreign(path)

    def fingerprints(self, key: str | None) -> tuple[str, ...]:
        """Return the fingerprints of the newest readable checkpoint."""
        results_dir = self.directory.path
        matches = ((CHECKPOINT.fullmatch(path.name), path) for path in results_dir.iterdir() if not path.is_symlink())
        found = {int(match["step"]): path for match, path in matches if match}
        if not found:
            return ()
        # loads NumPy, so only if there is a checkpoint
        from maskrcnn_trainer.model_files.model_file import read_model_file
        from maskrcnn_trainer.model_files.newest_checkpoint import newest_that_opens

        def fingerprints_of(path: Path) -> tuple[str, ...]:
            return fingerprints_in(read_model_file(path, key).state)

        newest = newest_that_opens([found[step] for step in sorted(found, reverse=True)], fingerprints_of)
        if newest.problem is not None:
            log.warning("%s; no checkpoint in %s can be opened", newest.problem, results_dir)
        return newest.content or ()


class _Evaluated(TaskFiles):
    """Files of an evaluation, and reports, which other steps may have too.

    A user may have an ``images.json`` of their own, such as annotations, or a report of their own.
    """

    def is_foreign(self, path: str) -> bool:
        if is_report(path):
            return not begins_as_report(path, beginning_of(self.directory.path / path))
        return path == EVALUATED_FILE and not begins_as_evaluated_images(beginning_of(self.directory.path / path))

    def is_kept(self, path: str) -> bool:
        return self.is_foreign(path)


class _Inferred(TaskFiles):
    """Annotated images and label files of an inference, recognized by the content of the label files.

    Their names can't be used for that, since they are those of the user's images.
    """

    def is_foreign(self, path: str) -> bool:
        # only an interrupted run may have left an image without its labels
        finished = IMAGES_DIR in self.directory.artifacts
        return (finished and self._is_image_without_labels(path)) or self._is_no_label(path)

    def is_kept(self, path: str) -> bool:
        return self._is_image_without_labels(path) or self._is_no_label(path)

    def _is_image_without_labels(self, path: str) -> bool:
        if not path.startswith(f"{IMAGES_DIR}/") or is_temporary(path):
            return False
        return self._labels.isdisjoint(
            f"{LABELS_DIR}/{label}" for label in labels_of(path.removeprefix(f"{IMAGES_DIR}/"))
        )

    def _is_no_label(self, path: str) -> bool:
        """Return whether a file below ``labels/`` isn't a label file of an inference."""
        return path.startswith(f"{LABELS_DIR}/") and not is_temporary(path) and path not in self._labels

    @cached_property
    def _labels(self) -> frozenset[str]:
        return frozenset(path for path in self.directory.files_below(LABELS_DIR) if self._begins_as_ours(path))

    def _begins_as_ours(self, path: str) -> bool:
        return _LABEL.match(beginning_of(self.directory.path / path)) is not None


def labels_of(image: str) -> frozenset[str]:
    """Return the possible paths of the label file of an annotated image, each relative to its directory.

    It is ``a.json`` for ``a.jpg``, or ``a.jpg.json`` if two images have that stem. An annotated image that cannot be
    written in its own format has ``.png`` after its name.
    """
    found = set()
    for name in {image, image.removesuffix(".png")}:
        path = PurePosixPath(name)
        found.add(f"{name}.json")
        if path.name:
            found.add(str(path.with_suffix(".json")))
    return frozenset(found)


TASK_FILES: Mapping[TaskName, Callable[[ResultsDirectory], TaskFiles]] = MappingProxyType(
    {
        TaskName.DATASET_CONVERT: _OneSet,
        TaskName.TRAIN: _Checkpoints,
        TaskName.EVALUATE: _Evaluated,
        TaskName.INFERENCE: _Inferred,
    }
)
