"""Commands of the how-to page on inputs from object storage, run as they are, but for those that need an account."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.apiserver.binaries import cache_folder
from tests.object_storage.installs import InstallError, moto_python
from tests.unit.docs.test_commands import Block, blocks

from maskrcnn_trainer.spec.store_config import read_store_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = "inputs-from-object-storage.md"
SECONDS = 900
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


def blocks_of_page() -> list[Block]:
    return [block for block in blocks() if block.where.startswith(f"docs/how-to/{PAGE}:")]


def manifest() -> str:
    """Return the page's whole manifest."""
    page = (ROOT / "docs" / "how-to" / PAGE).read_text(encoding="utf-8")
    [found] = re.findall(r"^```yaml\n(apiVersion: maskrcnn\.dev/.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home directory of a user who has run the page's commands, with the output in ``output``."""
    try:
        moto_python()
    except InstallError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("home")
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "from-bucket.yaml").write_text(manifest())
    cache = folder / "cache"
    (cache / "maskrcnn-operator").mkdir(parents=True)
    (cache / "maskrcnn-operator" / "object-storage").symlink_to(cache_folder() / "object-storage")
    script = "".join(block.script for block in blocks_of_page() if block.mark[0] == "run")
    environment = os.environ | KEYS | {"HOME": str(folder), "XDG_CACHE_HOME": str(cache)}
    try:
        with (folder / "output").open("w") as output:
            done = subprocess.run(
                ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", in_workspace(script, workspace)],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                check=False,
            )
    finally:
        stop = ["/usr/bin/env", "make", "-s", "dev-s3", "ARGS=--stop"]
        subprocess.run(stop, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, (folder / "output").read_text()[-6000:]
    return folder


def in_workspace(script: str, workspace: Path) -> str:
    """Return the commands with another directory in place of ``workspace``."""
    return re.sub(r"(?<![-/\w])workspace(?=[/\s])", str(workspace), script)


def sentences(output: str) -> Iterator[tuple[int, int]]:
    """Yield the number of files of each staging, and of those that were loaded."""
    for needed, loaded in re.findall(r"Inputs: ([\d,]+) files?, .* to load: ([\d,]+) files?", output):
        yield int(needed.replace(",", "")), int(loaded.replace(",", ""))


def test_page_has_its_commands_and_only_those_of_accounts_and_clusters_are_not_run() -> None:
    found = blocks_of_page()
    run = "\n".join(block.script for block in found if block.mark[0] == "run")
    places = [run.find(command) for command in COMMANDS]
    assert -1 not in places
    assert places == sorted(places)
    assert {block.mark[1] for block in found if block.mark[0] != "run"} == NOT_RUN
    for block in found:
        needs_account = re.search(r"^\s*(?:aws|kubectl|az|gcloud) |\$\(aws ", block.script, re.MULTILINE)
        assert not (needs_account and block.mark[0] == "run"), block.where


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
    assert "The S3 server has ended." in (home / "output").read_text()
    assert not (home / "cache" / "maskrcnn-operator" / "dev-s3").exists()
