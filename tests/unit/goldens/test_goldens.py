"""Output of the operator and the trainer compared with the golden files."""

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
def test_output_stays_byte_identical(name: str, written: dict[str, str]) -> None:
    assert written.get(name) == (build.FOLDER / name).read_text(), (
        f"{name} has changed; fingerprints must not change. For other files run `make goldens` and explain the change "
        "in the commit message"
    )


def test_every_output_has_a_golden_file(written: dict[str, str]) -> None:
    assert sorted(written) == KEPT


def test_goldens_cover_all_tasks_and_fifty_random_experiments() -> None:
    manifests = list(yaml.safe_load_all((build.FOLDER / "manifests.yaml").read_text()))
    tasks = {task for manifest in manifests for step in manifest["spec"]["steps"] for task in step}
    assert len(manifests) == 50
    assert tasks >= {"datasetConvert", "train", "evaluate", "prune", "inference", "export"}


def test_changed_fingerprints_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"an-experiment": {"train": {"v1": "1", "v2": "2"}}}
    (tmp_path / build.FINGERPRINTS).write_text(json.dumps(known))
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "build", lambda: {build.FINGERPRINTS: json.dumps({"an-experiment": {}})})
    monkeypatch.setattr("sys.argv", ["build"])
    with pytest.raises(SystemExit, match="changed fingerprints of an-experiment"):
        build.main()
    assert json.loads((tmp_path / build.FINGERPRINTS).read_text()) == known
