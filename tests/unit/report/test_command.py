"""``maskrcnn report`` from directories to the two files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.errors import WorkspaceFull
from maskrcnn_trainer.report import making
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory
from maskrcnn_trainer.results import report_files
from maskrcnn_trainer.shared.variables import TERMINATION_LOG_VARIABLE


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made.make_experiment(tmp_path / "ws")


def report(*arguments: Path | str) -> int:
    return main(["report", *map(str, arguments)])


def test_page_and_its_numbers_are_written_to_the_directory(home: Path) -> None:
    assert report("-r", home) == 0
    page = (home / "report.html").read_text()
    content = json.loads((home / "report.json").read_text())
    assert page.startswith("<!doctype html>")
    assert page.count('src="data:image/webp;base64,') == 10
    assert content["title"] == "shapes"
    assert content["comparable"] is None
    assert "picture" not in (home / "report.json").read_text().replace("pictures_missing", "")
    assert len(page) < making.LARGEST_REPORT


def test_page_of_a_step_is_in_its_directory(home: Path) -> None:
    assert report("-r", home / "evaluate") == 0
    assert json.loads((home / "evaluate" / "report.json").read_text())["title"] == "shapes/evaluate"


def test_report_does_not_change_when_it_is_made_again(home: Path) -> None:
    report("-r", home)
    first = json.loads((home / "report.json").read_text())
    report("-r", home)
    again = json.loads((home / "report.json").read_text())
    assert again | {"created": ""} == first | {"created": ""}


def test_output_names_both_files(home: Path, tmp_path: Path) -> None:
    assert report("-r", home, "-o", tmp_path / "out" / ".." / "one.html") == 64
    assert report("-r", home, "-o", tmp_path / "one.html") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"ws", "one.html", "one.json"}


def test_experiments_are_compared(home: Path, tmp_path: Path) -> None:
    other = made.make_experiment(tmp_path / "ws", name="again", changes={"seed": 8})
    assert report("-r", home, other, "-o", tmp_path / "both.html") == 0
    content = json.loads((tmp_path / "both.json").read_text())
    assert [one["name"] for one in content["experiments"]] == ["shapes", "again"]
    assert content["title"] == "shapes, again"
    assert content["comparable"] is True
    differences = {one["field"]: one["values"] for one in content["differences"]}
    assert differences["seed"] == ["7", "8"]
    assert "totalSteps" not in differences
    assert "All experiments were evaluated on the same validation set." in (tmp_path / "both.html").read_text()


def test_other_validation_images_are_not_comparable(home: Path, tmp_path: Path) -> None:
    other = made.make_experiment(tmp_path / "ws", name="other")
    made.evaluate(other / "evaluate-fp16", other / "export" / "model.onnx", results=made.RESULTS[:2], seen=1)
    report("-r", home, other, "-o", tmp_path / "both.html")
    assert json.loads((tmp_path / "both.json").read_text())["comparable"] is False
    assert "not comparable" in (tmp_path / "both.html").read_text()


def test_unreadable_evaluation_leaves_comparability_unknown(home: Path, tmp_path: Path) -> None:
    other = made.make_experiment(tmp_path / "ws2", name="other")
    for step in ("evaluate", "evaluate-fp16"):
        (other / step / "detections.json").unlink()
    file = other / "evaluate-fp16" / "images.json"
    made.write_json(file, json.loads(file.read_text()) | {"evaluatedOn": "1" * 32})
    report("-r", home, other, "-o", tmp_path / "both.html")
    assert json.loads((tmp_path / "both.json").read_text())["comparable"] is None


def test_experiments_with_equal_names_are_distinguished_by_their_paths(home: Path, tmp_path: Path) -> None:
    other = made.make_experiment(tmp_path / "ws2")
    report("-r", home, other, "-o", tmp_path / "both.html")
    names = [one["name"] for one in json.loads((tmp_path / "both.json").read_text())["experiments"]]
    assert names == ["ws/shapes", "ws2/shapes"]


def test_page_stays_below_its_limit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "LARGEST_REPORT", 200_000)
    _, page = making.make_report([open_directory(home)])
    assert len(page) < 200_000
    # the text alone needs more than was kept free for it
    monkeypatch.setattr(making, "LARGEST_REPORT", 400_000)
    monkeypatch.setattr(making, "TEXT_OF_EXPERIMENT", 0)
    found, page = making.make_report([open_directory(home)])
    assert len(page) < 400_000
    assert found.experiments[0].evaluation is not None
    assert found.experiments[0].evaluation.pictures_missing == making.TOO_LARGE_WITH_PICTURES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-r", "{home}", "{home}"), "-o is missing"),
        (("-r", "{home}/absent"), "-r {home}/absent: there is no such directory"),
        (("-r", "{home}/evaluate/metrics.json"), "is a file, not a directory"),
        (("-r", "{home}/train/logs"), "no results of a task are there"),
        (("-r", "{home}", "-o", "{home}/report.json"), "ends with .html"),
        (("-r", "{home}", "-o", "{home}/absent/report.html"), "there is no such directory"),
        (("-r", "{home}", "-o", "{home}/dir.html"), "is a directory"),
        (("-r", "{home}", "-o", "{home}/other.html"), "other.json is a directory"),
        (("-r",), "expected at least one argument"),
        ((), "required: -r"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(
    home: Path, arguments: tuple[str, ...], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("train/logs", "dir.html", "other.json"):
        (home / folder).mkdir()
    before = sorted(home.rglob("*"))
    assert report(*(one.replace("{home}", str(home)) for one in arguments)) == 64
    (error,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert message.replace("{home}", str(home)) in error
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_other_file_of_the_same_name_is_not_overwritten(
    home: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (home / name).write_text("<p>mine</p>")
    assert report("-r", home) == 64
    assert f"{home}/{name} isn't a report" in caplog.text
    assert (home / name).read_text() == "<p>mine</p>"


def test_failed_write_leaves_no_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.html").write_text("old")
    monkeypatch.setattr(making, "compact_json", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert report("-r", home, "-o", tmp_path / "old.html") != 0
    assert (tmp_path / "old.html").read_text() == "old"
    assert not (tmp_path / "old.json").exists()


def test_refused_report_writes_no_termination_message_of_its_task(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(tmp_path / "termination.json"))
    assert report("-r", home / "absent") == 64
    assert not (tmp_path / "termination.json").exists()


def test_hostile_names_stay_text(home: Path, tmp_path: Path) -> None:
    file = home / "train" / "result.json"
    hostile = json.dumps('</style><script src="https://example.org/x.js">')[1:-1]
    file.write_text(file.read_text().replace("3.11.7", hostile))
    document = json.loads(json.dumps(made.DOCUMENT).replace('"one"', '"<img src=x onerror=alert(1)>"'))
    made.write_json(tmp_path / "ws" / "raw" / "val.json", document)
    assert report("-r", home) == 0
    page = (home / "report.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page


def test_report_loads_no_tensorflow(home: Path) -> None:
    program = (
        "import sys; from maskrcnn_trainer.cli import main; code = main(['report', '-r', sys.argv[1]]);"
        "sys.exit(code or ('tensorflow' in sys.modules or 'keras' in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(home)], check=False, env=dict(os.environ))
    assert ran.returncode == 0


@pytest.mark.parametrize("name", ["result", "data"])
def test_output_never_replaces_a_file_of_numbers_that_is_no_report(
    home: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "data.json").write_text('{"title":"my quarterly numbers"}')
    target = (home / "train" if name == "result" else home) / f"{name}.html"
    before = target.with_suffix(".json").read_bytes()
    assert report("-r", home, "-o", target) == 64
    assert f"{name}.json isn't a report and would be overwritten" in caplog.text
    assert target.with_suffix(".json").read_bytes() == before
    assert not target.exists()


@pytest.mark.parametrize("name", ["report.html", "report.json"])
@pytest.mark.parametrize("kind", ["pipe", "link", "unreadable"])
def test_what_may_be_the_users_is_not_replaced(
    home: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / name
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to(home / "absent")
    else:
        file.write_text("precious")
        monkeypatch.setattr(report_files, "beginning_of", lambda _file: b"")
    assert report("-r", home) == 64
    assert os.path.lexists(file)
    assert not (home / ("report.json" if name == "report.html" else "report.html")).exists()


def test_page_that_is_too_large_without_pictures_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(making, "LARGEST_REPORT", 10_000)
    assert report("-r", home) == 64
    assert "give fewer directories" in caplog.text
    assert not (home / "report.html").exists()


def test_full_disk_leaves_neither_page_nor_numbers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = making.write_atomically

    def full(path: Path, payload: bytes) -> None:
        if path.suffix == ".html":
            raise WorkspaceFull(f"{path}: no space left")
        written(path, payload)

    monkeypatch.setattr(making, "write_atomically", full)
    assert report("-r", home) == 70
    assert not [path for path in home.iterdir() if path.name.startswith("report.")]


def test_too_little_memory_has_advice_about_the_report(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def exhausted(_directories: object) -> None:
        raise MemoryError

    monkeypatch.setattr(making, "make_report", exhausted)
    assert report("-r", home) == 64
    assert "make the report where more is left" in caplog.text
    assert "imageSize" not in caplog.text


def test_name_that_is_too_long_and_an_empty_one_are_refused(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert report("-r", home, "-o", home / f"{'x' * 251}.html") == 64
    assert "is longer than 255 bytes" in caplog.text
    assert report("-r", home, "-o", "") == 64
    assert "the value is empty" in caplog.text
