"""The inference command, from flags to files, with an exported model and without TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from tests.unit.detector.constant_model import IMAGE_SIZE, metadata, model_bytes, spec_fields

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.inference.task import OUTPUTS
from maskrcnn_trainer.results.contents import entries
from maskrcnn_trainer.results.ours import is_ours

HEIGHT, WIDTH = IMAGE_SIZE
FINGERPRINT = "a8c47326caeee986b816f946d049d9ad-v1"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write three images, one of them unreadable, a model and a spec."""
    for name in [name for name in os.environ if name.startswith("MASKRCNN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MASKRCNN_THREADS", "1")
    (tmp_path / "images").mkdir()
    for number in (11, 12):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 0, np.uint8)).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "13.jpg").write_bytes(b"no image")
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec_fields()))
    return tmp_path


def command(folder: Path, *more: str) -> list[str]:
    flags = ["-i", str(folder / "images"), "-m", str(folder / "model.onnx"), "-e", str(folder / "spec.yaml")]
    return ["inference", *flags, "-r", str(folder / "out"), *more]


def ended(arguments: list[str]) -> int:
    """Run the command and return its exit code, returned or raised."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def last_record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "out" / "status.json").read_text().splitlines()[-1])
    return record


def test_a_directory_of_images(folder: Path) -> None:
    program = (
        "import sys; from maskrcnn_trainer.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(99 if 'tensorflow' in sys.modules or 'keras' in sys.modules else code)"
    )
    (folder / "names.txt").write_text("".join(f"n{number}\n" for number in range(1, 10)))
    flags = command(folder, "--include_mask", "-t", "0.6", "--class_map", str(folder / "names.txt"))
    done = subprocess.run([sys.executable, "-c", program, *flags], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "13.jpg: not an image, or its format isn't supported: skipped" in done.stderr
    assert "1 of 3 images could not be read" in done.stderr
    assert "2 images in" in done.stderr
    assert "Share of the work of all threads: decode" in done.stderr
    out = folder / "out"
    assert all(is_ours(entry.path) for entry in entries(out))
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["images_annotated", "labels"]
    labels = json.loads((out / "labels" / "11.json").read_text())
    assert [(label["category_id"], round(label["score"], 4)) for label in labels] == [(5, 0.9), (2, 0.7), (9, 0.6)]
    assert labels[0]["bbox"] == [16, 8, 48, 32]
    coco = COCO(str(out / "predictions.json"))
    assert coco.getImgIds() == [11, 12]
    assert [category["name"] for category in coco.loadCats([2, 5, 9])] == ["n2", "n5", "n9"]
    # the mask is the left half of the box
    assert coco.annToMask(coco.loadAnns([1])[0]).sum() == pytest.approx(24 * 32, rel=0.1)
    result = json.loads((out / "result.json").read_text())
    assert set(result["artifacts"]) == {"images_annotated", "labels", "predictions"}
    metrics = result["metrics"]
    assert (metrics["images"], metrics["unreadable_images"], metrics["detections"]) == (2, 1, 6)
    assert sum(value for name, value in metrics.items() if name.endswith("_share")) == pytest.approx(1, abs=1e-3)
    assert last_record(folder)["status"] == "SUCCESS"


@pytest.mark.parametrize("threshold", ["0", "1", "-0.5", "1.5", "nan"])
def test_a_threshold_is_strictly_between_0_and_1(
    folder: Path, threshold: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert ended(command(folder, f"--threshold={threshold}")) == 64
    assert "must be greater than 0 and less than 1" in caplog.text
    assert not (folder / "out").exists()


def test_existing_results_stay_unless_an_operator_runs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = folder / "out" / "labels" / "old.json"
    old.parent.mkdir(parents=True)
    old.write_text("[]")
    assert ended(command(folder)) == 64
    assert "contains labels already" in caplog.text
    assert old.exists()
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", FINGERPRINT)
    assert ended(command(folder)) == 0
    assert not old.exists()
    assert json.loads((folder / "out" / "result.json").read_text())["fingerprint"] == FINGERPRINT


def test_files_of_the_users_among_older_results_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", FINGERPRINT)
    assert ended(command(folder)) == 0
    mine = {"images_annotated/mine.png": b"\x89PNG", "labels/mine.json": b'[{"image_id": 3, "bbox": []}]'}
    mine["labels/notes.txt"] = b"text"
    for name, content in mine.items():
        (folder / "out" / name).write_bytes(content)
    (folder / "images" / "12.png").unlink()
    assert ended(command(folder)) == 0
    assert {name: (folder / "out" / name).read_bytes() for name in mine} == mine
    assert not list((folder / "out").rglob("12.*"))
    (folder / "images" / "11.png").write_bytes(b"")
    assert ended(command(folder)) == 64
    assert {name: (folder / "out" / name).read_bytes() for name in mine} == mine
    assert not list((folder / "out").rglob("11.*"))


def test_images_that_are_all_unreadable_are_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (11, 12):
        (folder / "images" / f"{number}.png").write_bytes(b"")
    assert ended(command(folder)) == 64
    assert "none of its 3 images could be read" in caplog.text
    assert last_record(folder)["status"] == "FAILURE"
    assert sorted(path.name for path in (folder / "out").iterdir() if path.name in OUTPUTS) == []
    # no partial results prevent running the same command again
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / "images" / "11.png")
    (folder / "names.txt").write_text("cat\n犬\n")
    assert ended(command(folder, "--class_map", str(folder / "names.txt"))) == 0
    assert "犬: the font can't render these class names; pictures show their numbers" in caplog.text
    assert {path.name for path in (folder / "out").iterdir()} >= set(OUTPUTS)


def test_too_long_names_skip_only_their_images(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = (folder / "images" / "11.png").read_bytes()
    whole, longest = "w" * 246 + ".png", "x" * 251 + ".png"
    for name in (whole, longest):
        (folder / "images" / name).write_bytes(picture)
    assert ended(command(folder)) == 0
    assert "the name of its result would have" in caplog.text
    assert "rename it" in caplog.text
    labels = {path.name for path in (folder / "out" / "labels").iterdir()}
    assert labels == {"11.json", "12.json", "w" * 246 + ".json"}


def test_results_inside_the_image_directory_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", FINGERPRINT)
    monkeypatch.setenv("MASKRCNN_RESULTS_DIR", str(folder / "images"))
    arguments = command(folder)
    position = arguments.index("-r")
    del arguments[position : position + 2]
    for _ in range(2):
        assert ended(arguments) == 0
        assert len(json.loads((folder / "images" / "predictions.json").read_text())["images"]) == 2


def test_missing_files_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for flag, value, message in [
        ("-i", str(folder / "absent"), "no such directory or file"),
        ("-m", str(folder / "absent"), "no such model file"),
        ("-c", str(folder / "absent"), "--class-map"),
        ("--gpus", "2", "inference runs as one process"),
    ]:
        caplog.clear()
        assert ended([*command(folder), flag, value]) == 64
        assert message in caplog.text
        assert not (folder / "out" / "labels").exists()


@pytest.mark.parametrize(
    ("flag", "said"), [("-m", "a pipe, a socket, or a device"), ("-e", "it is a pipe"), ("-c", "it is a pipe")]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    folder: Path, flag: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(folder / "pipe")
    # unblock a waiting reader: it reads an empty file
    writer = threading.Timer(20, lambda: os.close(os.open(folder / "pipe", os.O_WRONLY | os.O_NONBLOCK)))
    writer.daemon = True
    writer.start()
    try:
        assert ended([*command(folder), flag, str(folder / "pipe")]) == 64
    finally:
        writer.cancel()
    assert said in caplog.text


def test_unwritable_results_are_reported_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "out").write_text("a file")
    with caplog.at_level("WARNING"):
        assert ended(command(folder)) == 64
    assert [record.message for record in caplog.records] == [
        f"{folder}/out: the directory cannot be created (File exists); give a directory that is writable"
    ]
