from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from . import build

KEPT = sorted(str(file.relative_to(build.FOLDER)) for file in build.FOLDER.rglob("*.json"))


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return build.build()


@pytest.mark.parametrize("name", KEPT)
def test_what_is_written_stays_byte_identical(name: str, written: dict[str, str]) -> None:
    assert written.get(name) == (build.FOLDER / name).read_text(), (
        f"{name} has changed. Fingerprints must not; for another file run `make goldens` and say why in the commit"
    )


def test_everything_that_is_written_is_kept(written: dict[str, str]) -> None:
    assert sorted(written) == KEPT


def test_goldens_are_of_every_task_and_fifty_random_experiments() -> None:
    manifests = list(yaml.safe_load_all((build.FOLDER / "manifests.yaml").read_text()))
    tasks = {task for manifest in manifests for step in manifest["spec"]["steps"] for task in step}
    assert len(manifests) == 50
    assert tasks >= {"datasetConvert", "train", "evaluate", "prune", "inference", "export"}


def test_fingerprints_are_only_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"an-experiment": {"train": {"v1": "1", "v2": "2"}}}
    (tmp_path / build.FINGERPRINTS).write_text(json.dumps(known))
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "build", lambda: {build.FINGERPRINTS: json.dumps({"an-experiment": {}})})
    monkeypatch.setattr("sys.argv", ["build"])
    with pytest.raises(SystemExit, match="other fingerprints of an-experiment"):
        build.main()
    assert json.loads((tmp_path / build.FINGERPRINTS).read_text()) == known
