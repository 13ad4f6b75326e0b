from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn_trainer.conversion import command
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.results.contents import entries
from maskrcnn_trainer.results.ours import is_ours
from maskrcnn_trainer.task.arguments import TaskParser, with_hyphens


def parse(*arguments: str) -> argparse.Namespace:
    parser = TaskParser(prog="maskrcnn dataset_convert")
    command.add_arguments(parser)
    return parser.parse_args(arguments)


SHORT = ("-i", "images", "-a", "a.json", "-o", "out")


def test_short_flags_and_defaults() -> None:
    assert vars(parse(*SHORT)) == {
        "image_dir": "images",
        "annotations_file": "a.json",
        "output_dir": "out",
        "results_dir": None,
        "tag": None,
        "num_shards": 256,
        "include_mask": True,
        "skip_bad_images": False,
        "crowd_as_objects": False,
    }
    assert vars(parse(*SHORT, "-r", "r", "-t", "train", "-s", "8")) == vars(parse(*SHORT)) | {
        "results_dir": "r",
        "tag": "train",
        "num_shards": 8,
    }


@pytest.mark.parametrize(
    "spell", [lambda flag: flag, lambda flag: flag.replace("_", "-")], ids=["underscores", "hyphens"]
)
def test_long_flags_with_both_spellings(spell) -> None:
    flags = {"--image_dir": "images", "--annotations_file": "a.json", "--output_dir": "out", "--num_shards": "8",
             "--results_dir": "r", "--tag": "t"}  # fmt: skip
    parsed = parse(*with_hyphens([word for flag, value in flags.items() for word in (spell(flag), value)]))
    assert vars(parsed) == {
        "image_dir": "images",
        "annotations_file": "a.json",
        "output_dir": "out",
        "results_dir": "r",
        "tag": "t",
        "num_shards": 8,
        "include_mask": True,
        "skip_bad_images": False,
        "crowd_as_objects": False,
    }


@pytest.mark.parametrize(
    ("flag", "include"),
    [
        ("--include_mask", True),
        ("--include_masks", True),
        ("--include-mask", True),
        ("--no-include_mask", False),
        ("--no-include-mask", False),
        ("--no_include_mask", False),
    ],
)
def test_masks_can_be_switched_off(flag: str, include: bool) -> None:
    assert parse(*SHORT, *with_hyphens([flag])).include_mask is include


@pytest.mark.parametrize("name", ["skip_bad_images", "crowd_as_objects"])
def test_switches_with_both_spellings(name: str) -> None:
    for flag in (f"--{name}", f"--{name.replace('_', '-')}"):
        assert getattr(parse(*SHORT, *with_hyphens([flag])), name) is True


@pytest.mark.parametrize("flag", ["-i", "-a", "-o", "-r"])
def test_an_empty_path_is_refused(flag: str) -> None:
    with pytest.raises(InvalidInput, match=f"argument {flag}/.*: the path is empty"):
        parse(*SHORT, flag, "")


@pytest.mark.parametrize("character", "*?[],")
def test_an_output_directory_that_would_be_a_pattern_is_refused(character: str) -> None:
    with pytest.raises(InvalidInput, match=r"argument -o/--output-dir: 'a.b': expected a path without "):
        parse("-i", "x", "-a", "y", "-o", f"a{character}b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-i", "x"), "the following arguments are required: -a"),
        ((*SHORT, "-s", "many"), "invalid int value: 'many'"),
        ((*SHORT, "--include-mask", "--no-include-mask"), "not allowed with argument"),
        ((*SHORT, "--tags", "x"), "unrecognized arguments: --tags x"),
    ],
)
def test_command_lines_that_cannot_work(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(*arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MASKRCNN_FINGERPRINT", "MASKRCNN_REPORT_URL", "MASKRCNN_RESULTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASKRCNN_THREADS", "1")
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [25, 0, 9, 9], "area": 81, "iscrowd": 0,
                  "segmentation": [[0, 0, 9, 0, 9, 9]]}  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}],
        "annotations": [annotation, annotation | {"id": 6, "bbox": [0, 0, 9, 9]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    return tmp_path


def arguments_for(folder: Path, *more: str) -> argparse.Namespace:
    out = ("-i", str(folder / "images"), "-a", str(folder / "set.json"), "-o", str(folder / "out"), "-s", "2")
    return parse(*out, *more)


def test_run_reports_its_result(folder: Path) -> None:
    assert command.run(arguments_for(folder)) == 0
    assert all(is_ours(entry.path) for entry in entries(folder / "out"))
    result = json.loads((folder / "out" / "result.json").read_text())
    assert result["task"] == "dataset_convert"
    metrics = result["metrics"]
    assert metrics.pop("seconds") > 0
    assert metrics == {"images": 1, "objects": 1, "skipped_objects": 1, "warned_images": 1, "skipped_images": 0}
    assert result["facts"] == {
        "images": 1,
        "classes": [{"id": 1, "name": "thing", "objects": 1, "small": 1, "medium": 0, "large": 0}],
    }
    records, warnings = result["artifacts"]["records"], result["artifacts"]["warnings"]
    assert records["path"] == str(folder / "out" / "set-*-of-00002.tfrecord")
    assert records["bytes"] == sum(path.stat().st_size for path in (folder / "out").glob("*.tfrecord"))
    assert json.loads(Path(warnings["path"]).read_text()) == {"1": {"box": [5], "mask": []}}
    status = [json.loads(line) for line in (folder / "out" / "status.json").read_text().splitlines()]
    assert [(one["status"], one["message"]) for one in status] == [
        ("STARTED", "Starting tfrecords conversion."),
        ("SUCCESS", "Conversion finished successfully."),
    ]


def test_folder_of_a_killed_conversion_is_removed_and_folders_of_the_user_stay(folder: Path) -> None:
    for name in (
        "set.convert-abcd1234/lock",
        "set.convert-abcd1234/set-00000-of-00009.tfrecord",
        "set.convert-mine/a.txt",
    ):
        (folder / "out" / f".{name}").parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / f".{name}").touch()
    (folder / "out" / ".set_warnings.json.12345678.partial").touch()
    assert command.run(arguments_for(folder)) == 0
    assert [path.name for path in (folder / "out").glob(".*")] == [".set.convert-mine"]
    assert (folder / "out" / ".set.convert-mine" / "a.txt").exists()


def test_user_file_in_a_folder_named_like_that_of_a_conversion_stays(folder: Path) -> None:
    (folder / "mine.txt").write_text("mine")
    linked, nested = folder / "out" / ".set.convert-linked", folder / "out" / ".set.convert-nested"
    linked.mkdir(parents=True)
    (linked / "lock").symlink_to(folder / "mine.txt")
    (nested / "lock").mkdir(parents=True)
    (nested / "lock" / "mine.txt").write_text("mine")
    assert command.run(arguments_for(folder)) == 0
    assert (folder / "mine.txt").read_text() == "mine"
    assert (linked / "lock").is_symlink()
    assert (nested / "lock" / "mine.txt").read_text() == "mine"


def test_a_results_directory_of_its_own(folder: Path) -> None:
    assert command.run(arguments_for(folder, "-r", str(folder / "results"))) == 0
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["result.json", "status.json"]
    assert not (folder / "out" / "status.json").exists()


def test_a_failure_is_reported_and_ends_with_its_code(folder: Path) -> None:
    (folder / "set.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        command.run(arguments_for(folder))
    assert ended.value.code == 64
    last = json.loads((folder / "out" / "status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE"
    assert "set.json: not valid JSON" in last["message"]


def test_conversion_loads_nothing_that_opens_a_gpu() -> None:
    program = (
        "import sys, maskrcnn_trainer.conversion.task\n"
        "sys.exit(bool({'tensorflow', 'onnxruntime', 'tensorrt'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
