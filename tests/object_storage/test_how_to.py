"""Commands of the how-to page on inputs from object storage, run as they are, but for those that need an account."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.object_storage.how_to_pages import SECONDS, HowToPage, server_has_ended

from maskrcnn_trainer.spec.store_config import read_store_config

PAGE = HowToPage("inputs-from-object-storage.md")
NOT_RUN = {"needs an account of AWS", "needs a cluster"}
COMMANDS = (
    'eval "$(make -s dev-s3)"',
    "scripts/dev_s3.py --put",
    "> my-data/AWS_SECRET_ACCESS_KEY",
    "maskrcnn-operator run",
    "maskrcnn dataset_convert",
    "make dev-s3 ARGS=--stop",
)
"""Commands that the page must have, one of each block that is run, in this order."""
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-the-test", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test"}
IMAGES = "s3://my-data/shapes/images"

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home directory of a user who has run the page's commands, with the output in ``output``."""
    folder = tmp_path_factory.mktemp("home")
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "from-bucket.yaml").write_text(PAGE.manifest)
    PAGE.run(in_workspace(PAGE.script, workspace), folder, KEYS)
    return folder


def in_workspace(script: str, workspace: Path) -> str:
    """Return the commands with another directory in place of ``workspace``."""
    return re.sub(r"(?<![-/\w])workspace(?=[/\s])", str(workspace), script)


def sentences(output: str) -> Iterator[tuple[int, int]]:
    """Yield the number of files of each staging, and of those that were loaded."""
    for needed, loaded in re.findall(r"Inputs: ([\d,]+) files?, .* to load: ([\d,]+) files?", output):
        yield int(needed.replace(",", "")), int(loaded.replace(",", ""))


def test_every_step_succeeds_on_inputs_of_the_bucket(home: Path) -> None:
    results = home / "workspace" / "from-bucket"
    read = {}
    for step in ("convert-train", "convert-val", "train", "inference"):
        read[step] = json.loads((results / step / "result.json").read_text()).get("inputs", {})
    assert read["convert-train"][IMAGES]["objects"] == 40
    assert read["convert-val"][IMAGES]["objects"] == 8
    assert [*read["train"]] == ["s3://my-data/shapes/val.json"]
    assert read["inference"]["s3://my-data/shapes/samples"]["objects"] == 16
    assert (results / "convert-train" / "inputs.json.gz").is_file()


def test_last_command_loads_nothing(home: Path) -> None:
    of_annotations_and_images = [*sentences((home / "output").read_text())][-2:]
    assert of_annotations_and_images == [(1, 0), (40, 0)]


def test_keys_are_readable_only_by_the_user_and_the_store_config_names_them(home: Path) -> None:
    config = home / ".config" / "maskrcnn"
    [store] = read_store_config(config / "stores.yaml")
    assert store.secret_dir == str(config / "my-data")
    for name, value in KEYS.items():
        file = config / "my-data" / name
        assert file.read_text() == value
        assert file.stat().st_mode & 0o077 == 0


def test_server_has_ended(home: Path) -> None:
    assert server_has_ended(home)
