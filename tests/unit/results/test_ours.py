"""Recognition of the files that tasks write, and of no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import maskrcnn_trainer
from maskrcnn_trainer.data.shard_names import shard_name
from maskrcnn_trainer.detector.metadata import metadata_path
from maskrcnn_trainer.export import outputs as export_outputs
from maskrcnn_trainer.images.names import SUFFIXES
from maskrcnn_trainer.inference.sources import find_images
from maskrcnn_trainer.inference.task import OUTPUTS
from maskrcnn_trainer.launch.logs import log_file
from maskrcnn_trainer.results.contents import entries, remove_ours
from maskrcnn_trainer.results.ours import (
    is_deletable,
    is_ignored,
    is_ours,
    may_stand_unclaimed,
)
from maskrcnn_trainer.results.task_files import labels_of
from maskrcnn_trainer.shared.messages import (
    REPORT_FILE,
    REPORT_NUMBERS_FILE,
    RESULT_FILE,
    RUN_FILE,
    STATUS_FILE,
    TERMINATION_FILE,
)
from maskrcnn_trainer.spec import task_table
from maskrcnn_trainer.training import checkpoint

OF_TASKS = [
    "labels/a\nb.json",
    RUN_FILE,
    RESULT_FILE,
    STATUS_FILE,
    TERMINATION_FILE,
    REPORT_FILE,
    REPORT_NUMBERS_FILE,
    # dataset_convert
    shard_name("train", 0, 256),
    shard_name("a.b c-1", 3, 99_999),
    "train_warnings.json",
    # train
    checkpoint.checkpoint_name(1),
    checkpoint.checkpoint_name(1_200_000),
    task_table.EVALUATIONS_FILE,
    task_table.HISTORY_FILE,
    task_table.TRAINING_LOCK,
    # evaluate, prune
    task_table.METRICS_FILE,
    task_table.DETECTIONS_FILE,
    task_table.EVALUATED_FILE,
    "detections.png",
    task_table.PRUNED_MODEL_FILE,
    # inference
    *(f"{OUTPUTS[0]}/{name}{suffix}" for name in ("1", "below/a b", "x.y/é") for suffix in SUFFIXES),
    f"{OUTPUTS[0]}/1.JPEG",
    f"{OUTPUTS[0]}/wide.webp.png",
    f"{OUTPUTS[1]}/1.json",
    f"{OUTPUTS[1]}/below/a b.jpg.json",
    OUTPUTS[2],
    # logs, in a cluster and without one
    str(log_file(Path(), 3, 0)),
    f"{log_file(Path(), 3, 17)}.1",
    "logs/attempt-12.log",
    "logs/attempt-12.spec.yaml",
    "logs/tensorboard/events.out.tfevents.1795889000.train-1-abcde.1.0.v2",
]


def files_of_an_export() -> list[str]:
    engine = Path("model.engine")
    found = [
        export_outputs.ExportFiles(
            Path(f"model{suffix}"), Path(task_table.CALIBRATION_CACHE_FILE), engine, deepstream=True
        )
        for suffix in (export_outputs.PLAIN, export_outputs.ENCRYPTED)
    ]
    assert metadata_path(engine) in found[0].all
    return sorted({str(path) for files in found for path in files.all})


FOREIGN = [
    "0.png",
    "images/0.png",
    "train.json",
    "notes.txt",
    "README.md",
    "model.onnx.bak",
    "model.step-1.onnx",
    "model.step-1.tlt.bak",
    "best.tlt",
    "train-00000-of-00256.tfrecord.gz",
    "train.tfrecord",
    "old/train-00000-of-00256.tfrecord",
    "evaluation/metrics.json",
    "old/run.json",
    "images_annotated",
    "images_annotated/.hidden.png",
    "images_annotated/notes.txt",
    "images_annotated/.cache/a.png",
    "labels/classes.txt",
    "labels.json",
    "images.jsonl",
    "old/history.jsonl",
    "logs",
    "mylogs/a.log",
    ".notes.partial",
    ".train.png.12.partial",
    ".train.convert-x1y2z3w4/notes.txt",
    ".train.convert-x1y2z3w4/val-00000-of-00001.tfrecord",
    ".gitignore",
    "run.json/0.png",
]


@pytest.mark.parametrize("path", [*OF_TASKS, *files_of_an_export()])
def test_files_of_tasks_and_their_temporaries_are_ours(path: str) -> None:
    folder, slash, name = path.rpartition("/")
    # with and without a number, which earlier releases didn't write
    for found in (path, f"{folder}{slash}.{name}.4711.partial", f"{folder}{slash}.{name}.partial"):
        assert is_ours(found)
        assert is_deletable(found)


@pytest.mark.parametrize("path", FOREIGN)
def test_other_files_are_not_ours(path: str) -> None:
    assert not is_ours(path)
    assert not is_deletable(path)
    assert not may_stand_unclaimed(path)


@pytest.mark.parametrize("name", ["lock", "train-00000-of-00256.tfrecord", "train_warnings.json"])
def test_shards_that_are_not_in_place_yet_are_ours(name: str) -> None:
    path = f".train.convert-x1y2z3_8/{name}"
    assert is_ours(path)
    assert is_deletable(path)
    assert may_stand_unclaimed(path)


def test_other_files_below_logs_are_moved_but_not_deleted() -> None:
    for path in ("logs/notes.txt", "logs/tensorboard/plugins/profile/trace.json"):
        assert is_ours(path)
        assert not is_deletable(path)


def test_unclaimed_directory_may_only_have_logs_status_and_temporaries() -> None:
    expected = {path for path in OF_TASKS if path.startswith("logs/")} | {
        "status.json",
        "termination.json",
        task_table.TRAINING_LOCK,
    }
    assert {path for path in OF_TASKS if may_stand_unclaimed(path)} == expected
    assert may_stand_unclaimed(".run.json.12.partial")


@pytest.mark.parametrize("name", [".nfs000000000000a1b2", "lost+found", ".snapshot"])
def test_files_of_the_file_system_are_ignored_and_not_deleted(tmp_path: Path, name: str) -> None:
    assert is_ignored(name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "inside").touch()
    (tmp_path / RUN_FILE).touch()
    assert [entry.path for entry in entries(tmp_path)] == [RUN_FILE]
    assert remove_ours(tmp_path) == [name]
    assert (tmp_path / name / "inside").exists()
    assert (tmp_path / RUN_FILE).exists(), "the next deletion must know whose it is"


def test_the_labels_of_an_image_are_found_by_its_name(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "b.tiff", "below/c.JPG", "D.jpg", "d.jpg", "e.f.webp"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for source in find_images(tmp_path):
        assert source.label in labels_of(source.name)
        assert source.label in labels_of(f"{source.name}.png"), "drawn as PNG where its own format cannot hold it"


def test_every_name_of_a_result_in_the_sources_is_in_the_table() -> None:
    name = re.compile(r'"([A-Za-z][A-Za-z_.-]*\.(?:jsonl?|tlt|onnx|etlt|txt|bin|engine|tfrecord|csv|png|h5))"')
    sources = Path(maskrcnn_trainer.__file__).parent.rglob("*.py")
    found = {match for source in sources for match in name.findall(source.read_text())}
    assert {"predictions.json", "cal.bin", "history.jsonl"} < found
    inside_a_model_file = {"model.json"}
    end_of_a_key = {"manifest.json"}
    assert {match for match in found if not is_ours(match)} == inside_a_model_file | end_of_a_key
