r"""Reference of the files that tasks write, docs/reference/files.md, from the trainer's table of tasks.

The table has regular expressions. The page shows them with words for what varies: ``model\.step-\d+\.tlt`` is
``model.step-N.tlt``.

python -m scripts.files_page [--check FILE]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_operator.local.executor import STAGING
from maskrcnn_operator.local.process import UNCLAIMED_LOGS
from maskrcnn_operator.local.store import EXPERIMENT_STATUS_FILE, LOCK_FILE
from maskrcnn_operator.local.store_workspace import WORKING_FILES
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.results.ours import LOG_FILES
from maskrcnn_trainer.shared.messages import (
    INPUTS_FILE,
    REPORT_FILE,
    REPORT_NUMBERS_FILE,
    RESULT_FILE,
    RUN_FILE,
    STATUS_FILE,
    TERMINATION_FILE,
)
from maskrcnn_trainer.spec.task_table import TASKS, TaskEntry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "files.md"

_WORDS = (
    (r"(?:[^/.][^/]*/)*[^/.][^/]*", "IMAGE"),
    (r"[^/.][^/]*", "TAG"),
    (r"[^/]+", "..."),
    (r"\d{5}", "NNNNN"),
    (r"\d+", "N"),
)
"""Parts of the table's regular expressions, and what the page shows in their place; longer parts first."""
_PICTURES = re.compile(r"\(\?i:[\w|]+\)")
_OPTIONAL = re.compile(r"\(\?:([^()|]+)\)\?")
_CHOICE = re.compile(r"\(\?:([^()]+\|[^()]+)\)")

MEANINGS = {
    RUN_FILE: "The one run that may write here: its token and its fingerprint. A pod with an older token is refused.",
    RESULT_FILE: "Result of the finished task: metrics, device, facts for the report, path of the report, artifacts "
    "with sizes and SHA-256.",
    INPUTS_FILE: "Key, etag, and size of each object that the step has read by URL, if there is any; `result.json` has "
    "their number, bytes, and SHA-256 by URL.",
    STATUS_FILE: "Progress, as TAO writes it: one JSON object a line.",
    TERMINATION_FILE: "What a pod has as its termination message; only if the step runs without a cluster.",
    REPORT_FILE: "Report about the step and its experiment: one page that needs no other file. That of the whole "
    "experiment, by `maskrcnn-operator run`, is in `<experiment>/`.",
    REPORT_NUMBERS_FILE: "All numbers of the report, next to its page.",
    "logs/attempt-N[.node-N].log[.1]": "Log of each node in each attempt; at most 16 MiB for a node, ten attempts.",
    "logs/attempt-N.spec.yaml": "Specification that the attempt was started with.",
    "logs/tensorboard/events.out.tfevents....": "Losses, learning rate, throughput, and metrics for TensorBoard.",
    "TAG-NNNNN-of-NNNNN.tfrecord": "Examples as TFRecords, in shards.",
    "TAG_warnings.json": "Objects and images that were left out or corrected.",
    "model.step-N.tlt": "Checkpoints. The newest `keepCheckpoints` and the best one are kept.",
    "evaluations.json": "Metrics by step, with the SHA-256 of the checkpoint and the identity of the validation data.",
    "history.jsonl": "Losses, learning rate, images/s, and metrics by step: one JSON object a line, below 5 MB. A long "
    "training keeps every second, fourth, ... line of losses.",
    ".train.lock": "Lock of the training that writes here.",
    "metrics.json": "COCO metrics.",
    "detections.json": "Detections in COCO format.",
    "images.json": "Annotation file, and the images that were evaluated: id, and the record as file and offset of its "
    "payload in bytes.",
    "detections.png": "Picture of detections; written by the demo of an earlier release.",
    "model.tlt": "Pruned model. It must be trained before it is used.",
    "images_annotated/IMAGE.EXT": "Images with boxes, masks, and names drawn.",
    "labels/IMAGE.json": "Detections of one image.",
    "predictions.json": "Detections of all images in COCO format; pycocotools loads it.",
    "model.onnx or model.etlt": "Exported model: ONNX; encrypted if a key is set (`maskrcnn decrypt` decrypts it).",
    "cal.bin": "Calibration cache of INT8, in TensorRT's format.",
    "model.engine[.json]": "TensorRT engine, and a JSON file with classes, image size, and normalization.",
    "nvinfer_config.txt": "Configuration for DeepStream.",
    "labels.txt": "Names of the classes for DeepStream, one a line, from `BG` on.",
    EXPERIMENT_STATUS_FILE: "Status of the experiment, as on a cluster. `metadata` has the `uid` of the experiment, "
    "`creationTimestamp` (when this file was made), `ownerId` (owner of results in object storage), and `workspace` "
    "(its URL; absent for a directory).",
    LOCK_FILE: "Lock of the command that runs the experiment.",
    f"{STAGING}/": "Specification and log of each attempt until it has claimed its results directory.",
    f"{UNCLAIMED_LOGS}/STEP.attempt-N.log": "Log of an attempt that couldn't claim its results directory; in a state "
    "directory the log of every attempt, ten of each step, next to its specification (`.spec.yaml`).",
    f"{WORKING_FILES}/": "Only in a state directory: what steps write before it is published. The files of a step are "
    "removed when it has succeeded.",
}
"""Meaning of each file, by its name as the page shows it."""

OF_EACH_TASK = (RUN_FILE, RESULT_FILE, INPUTS_FILE, STATUS_FILE, TERMINATION_FILE, REPORT_FILE, REPORT_NUMBERS_FILE)

OF_A_LOCAL_RUN = (
    EXPERIMENT_STATUS_FILE,
    LOCK_FILE,
    f"{STAGING}/",
    f"{UNCLAIMED_LOGS}/STEP.attempt-N.log",
    f"{WORKING_FILES}/",
)

LOCAL_RUN = """## A local run

`maskrcnn-operator run` has files of its own in `<experiment>/` of the workspace; with a workspace in object storage, in
the [state directory](cli.md#maskrcnn-operator-run) (`--state-dir`), where the report is, too. A status file of an older
release has neither `creationTimestamp` nor `ownerId`; the next run adds them.
"""

_KEYS = StepKeys("EXPERIMENT", "STEP")
OF_A_BUCKET = {
    _KEYS.owner: "Owner of the experiment, and its epoch: how often it was replaced. After a deletion it has no owner.",
    _KEYS.pointer: "Pointer of the step: the attempt that has it, the lists of the current set and of the set of the "
    "fingerprint before, and objects that are to be deleted.",
    f"{_KEYS.prefix}o/EPOCH-TOKEN-N-manifest.json": "List (manifest) of a set: path, key, size, and SHA-256 of each "
    "file.",
    f"{_KEYS.prefix}o/EPOCH-TOKEN-N-NAME": "A published file, or one that was uploaded and isn't published. A key is "
    "written once.",
    f"{_KEYS.prefix}clock-TOKEN": "Some bytes whose time is the store's; `artifacts clean` writes and deletes them.",
    "EXPERIMENT/probe-TOKEN-N": "Some bytes with which a new experiment tests the conditional writes, and which it "
    "deletes at once. If its process is killed before that, or may not delete, they remain, and nothing removes them; "
    "you can delete them.",
}
"""Meaning of each object below the URL of a workspace, by its key."""

IN_OBJECT_STORAGE = """## In object storage

Below the [URL of a workspace](../how-to/results-in-object-storage.md) an experiment has these objects. The files of the
tables for tasks and logs are published files: a list has their paths, and their keys are below `o/`.
"""

INTRODUCTION = """# Files

<!-- Generated: make manifests -->

A step writes its results to `<experiment>/<step>/` in the workspace; a task on the command line writes to its results
directory. In the names below `N` is a number, `TAG` the name of a converted data set, `IMAGE` the path of an image in
its directory, and brackets enclose optional parts. Checkpoints and results are written atomically: under a temporary
name (`.<name>.<pid>.partial`), then renamed.

Other files in these directories are yours, and are never moved or deleted: see
[the workspace](../how-to/workspace.md). [Differences from TAO Toolkit](from-tao.md#files) compares the formats.
"""


def readable(pattern: str) -> str:
    """Return a regular expression of the table as a name that a reader understands."""
    text = _PICTURES.sub("EXT", pattern)
    for part, word in _WORDS:
        text = text.replace(part, word)
    text = _CHOICE.sub(lambda choice: choice[1].replace("|", " or "), _OPTIONAL.sub(r"[\1]", text))
    return text.replace("\\", "")


def table(names: Iterable[str]) -> str:
    """Return a table of files.

    Raises:
        ValueError: a file has no meaning in ``MEANINGS``.
    """
    lines = ["| File | Content |", "|---|---|"]
    for name in names:
        if name not in MEANINGS:
            raise ValueError(f"scripts/files_page.py: MEANINGS has no entry for {name!r}; add what the file holds")
        shown = " or ".join(f"`{one}`" for one in name.split(" or "))
        lines.append(f"| {shown} | {MEANINGS[name]} |")
    return "\n".join(lines)


def table_of_bucket() -> str:
    """Return the table of the objects in a bucket."""
    return "\n".join(
        ["| Key | Content |", "|---|---|", *(f"| `{key}` | {text} |" for key, text in OF_A_BUCKET.items())]
    )


def of_task(entry: TaskEntry) -> list[str]:
    """Return the names of the files that a task writes, as the page shows them."""
    return [readable(pattern) for pattern in (*entry.files, *map(re.escape, entry.locks))]


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION, "## Each task", "", table(OF_EACH_TASK), ""]
    parts += ["## Logs", "", table(map(readable, LOG_FILES)), ""]
    parts += [LOCAL_RUN, table(OF_A_LOCAL_RUN), "", IN_OBJECT_STORAGE, table_of_bucket(), ""]
    for name, entry in TASKS.items():
        parts += [f"## {name.command}", "", table(of_task(entry)), ""]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or with ``--check FILE`` compare it with a file."""
    return write_or_check(page, arguments, module="scripts.files_page", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
