"""Commands of the how-to page on results in object storage, run as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.object_storage.how_to_pages import SECONDS, HowToPage, server_has_ended
from tests.object_storage.local_runs import steps_of

PAGE = HowToPage("results-in-object-storage.md")
COMMANDS = (
    'eval "$(make -s dev-s3)"',
    "scripts/dev_s3.py --put",
    "maskrcnn-operator run",
    "maskrcnn-operator artifacts s3://my-data/results list",
    "maskrcnn-operator artifacts s3://my-data/results get",
    "maskrcnn-operator artifacts s3://my-data/results delete",
    "make dev-s3 ARGS=--stop",
)
"""Commands that the page must have, in this order; a unit test checks that it has them."""
NOT_RUN = {"the variables are an example"}
STEPS = ["convert-train", "convert-val", "train", "inference"]

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home directory of a user who has run the page's commands, with the output in ``output``."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "to-bucket.yaml").write_text(PAGE.manifest)
    PAGE.run(in_folder(PAGE.script, folder), folder, {"XDG_STATE_HOME": str(folder / "state")})
    return folder


def in_folder(script: str, folder: Path) -> str:
    """Return the commands with a folder before the names of files in the current directory."""
    return re.sub(r"(?<= )(?=(?:shapes|to-bucket\.yaml|trained)(?:\s|$))", f"{folder}/", script, flags=re.MULTILINE)


def test_status_is_in_the_directory_that_the_page_names(home: Path) -> None:
    [status] = (home / "state" / "maskrcnn").rglob("experiment-status.json")
    assert re.fullmatch(r"maskrcnn/[0-9a-f]{64}/to-bucket", str(status.parent.relative_to(home / "state")))
    assert [(name, step["state"]) for name, step in steps_of(status).items()] == [(name, "Succeeded") for name in STEPS]
    assert (status.parent / "report.html").is_file()


def test_list_shows_every_step(home: Path) -> None:
    listed = (home / "output").read_text()
    for step in STEPS:
        assert re.search(rf"^  {step} +complete +\d+ ", listed, re.MULTILINE), listed


def test_results_are_loaded(home: Path) -> None:
    result = json.loads((home / "trained" / "result.json").read_text())
    assert result["modelPath"] == "/workspace/to-bucket/train/model.step-10.tlt"
    assert (home / "trained" / "model.step-10.tlt").stat().st_size == result["artifacts"]["model"]["bytes"]


def test_experiment_is_deleted(home: Path) -> None:
    assert re.search(rf"to-bucket is deleted: \d+ objects of {len(STEPS)} steps", (home / "output").read_text())


def test_server_has_ended(home: Path) -> None:
    assert server_has_ended(home)
