"""Names of the files that tasks write into a results directory, of this and of earlier releases.

A file is ours by its place and name. What a release has once written stays in the table: its directories are still
found, and a name that is missing here keeps a step from running again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from maskrcnn_trainer.shared.messages import RESULT_FILE, RUN_FILE, STATUS_FILE, TERMINATION_FILE

TRAINING_LOCK = ".train.lock"
LOGS = "logs"
IMAGES, LABELS = "images_annotated", "labels"

_NAME = r"[^/.][^/]*"
"""A file name that is not hidden."""

_BELOW = rf"(?:{_NAME}/)*"
"""Any number of directories: results of an inference lie as its images do."""

_PICTURES = "jpg jpeg jpe jp2 png bmp dib webp avif tif tiff pbm pgm ppm pxm pnm pfm sr ras exr hdr pic gif"
"""Suffixes of what OpenCV writes."""

TASK_FILES: Mapping[str, tuple[str, ...]] = {
    # termination.json is written where the step runs without a cluster
    "every task": tuple(map(re.escape, (RUN_FILE, RESULT_FILE, STATUS_FILE, TERMINATION_FILE))),
    "dataset_convert": (rf"{_NAME}-\d{{5}}-of-\d{{5}}\.tfrecord", rf"{_NAME}_warnings\.json"),
    "train": (r"model\.step-\d+\.tlt", r"evaluations\.json", re.escape(TRAINING_LOCK)),
    # the demo of an earlier release drew detections.png
    "evaluate": (r"metrics\.json", r"detections\.json", r"detections\.png"),
    "prune": (r"model\.tlt",),
    "inference": (
        rf"{IMAGES}/{_BELOW}{_NAME}\.(?i:{_PICTURES.replace(' ', '|')})",
        rf"{LABELS}/{_BELOW}{_NAME}\.json",
        r"predictions\.json",
    ),
    "export": (
        r"model\.(?:onnx|etlt)",
        r"cal\.bin",
        r"model\.engine(?:\.json)?",
        r"nvinfer_config\.txt",
        r"labels\.txt",
    ),
}
"""For each task the files of its results directory, as regular expressions over paths relative to it."""

LOG_FILES = (
    r"logs/attempt-\d+(?:\.node-\d+)?\.log(?:\.1)?",
    r"logs/attempt-\d+\.spec\.yaml",
    r"logs/tensorboard/events\.out\.tfevents\.[^/]+",
)
"""All below ``logs/`` counts as ours where a directory is moved, but only these are ever deleted."""

SHARD = re.compile(r"(?P<tag>.+)-\d{5}-of-(?P<total>\d{5})\.tfrecord")
CHECKPOINT = re.compile(r"model\.step-(?P<step>\d+)\.tlt")

_FILES = re.compile("|".join(f"(?:{pattern})" for patterns in TASK_FILES.values() for pattern in patterns))
_LOG_FILES = re.compile("|".join(LOG_FILES))
# the second form is that of releases that wrote without a process id
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(?:\.\d+)?\.partial", re.DOTALL)
_STAGED = re.compile(r"\.(?P<tag>[^/]+)\.convert-[^/.]+/(?P<file>[^/]+)")
_IGNORED = re.compile(r"\.nfs.*|lost\+found|\.snapshot")


def is_ignored(name: str) -> bool:
    """Return whether a file system keeps an entry of this name for itself: it is neither looked at nor deleted."""
    return _IGNORED.fullmatch(name) is not None


def is_log(path: str) -> bool:
    """Return whether a path relative to a results directory lies below ``logs/``."""
    return path.startswith(f"{LOGS}/")


def is_ours(path: str) -> bool:
    """Return whether a file is of a task, a temporary of one, or a log.

    Args:
        path: relative to the results directory, with slashes.
    """
    return is_log(path) or _FILES.fullmatch(path) is not None or is_temporary(path)


def is_deletable(path: str) -> bool:
    """Return whether a file that is ours may be deleted: below ``logs/`` only what we have written ourselves."""
    if is_log(path):
        return _LOG_FILES.fullmatch(path) is not None or _file_behind(path, _LOG_FILES) is not None
    return is_ours(path)


def is_temporary(path: str) -> bool:
    """Return whether a file is what a killed task left of one: an unfinished file, or shards not yet in place."""
    if _file_behind(path, _FILES) is not None:
        return True
    staged = _STAGED.fullmatch(path)
    if staged is None:
        return False
    shard = SHARD.fullmatch(staged["file"])
    return staged["file"] in ("lock", f"{staged['tag']}_warnings.json") or bool(shard and shard["tag"] == staged["tag"])


def may_stand_unclaimed(path: str) -> bool:
    """Return whether a file may be in a directory that has neither run.json nor result.json.

    A task that ended before it could claim its directory has left these. Nothing of them is moved or deleted.
    """
    return is_log(path) or path in (STATUS_FILE, TERMINATION_FILE, TRAINING_LOCK) or is_temporary(path)


def is_kept_by_us(path: str) -> bool:
    """Return whether tasks and launches write a file also after result.json: what they say about themselves."""
    about = (RUN_FILE, TRAINING_LOCK, RESULT_FILE, STATUS_FILE, TERMINATION_FILE)
    return is_log(path) or path in about or is_temporary(path)


def labels_of(image: str) -> frozenset[str]:
    """Return the paths that the label file of an annotated image may have, both relative to their directories.

    ``a.json`` for ``a.jpg``, ``a.jpg.json`` where there are two of that stem; an image that cannot be written in its
    own format has ``.png`` behind its name.
    """
    found = set()
    for name in {image, image.removesuffix(".png")}:
        path = PurePosixPath(name)
        found.add(f"{name}.json")
        if path.name:
            found.add(str(path.with_suffix(".json")))
    return frozenset(found)


def _file_behind(path: str, files: re.Pattern[str]) -> str | None:
    """Return the file that a path is the temporary of, where that is one of ``files``."""
    folder, slash, name = path.rpartition("/")
    match = _TEMPORARY.fullmatch(name)
    target = f"{folder}{slash}{match['name']}" if match else ""
    return target if match and files.fullmatch(target) else None
