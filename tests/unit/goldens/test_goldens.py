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


KNOWN = {"an-experiment": {"train": {"v1": "1", "v2": "2"}}}


def write_goldens(folder: Path, monkeypatch: pytest.MonkeyPatch, fingerprints: object) -> object:
    """Return the fingerprints that lie in ``folder`` after a call of `make goldens`; those of ``KNOWN`` lay there."""
    (folder / build.FINGERPRINTS).write_text(json.dumps(KNOWN))
    monkeypatch.setattr(build, "FOLDER", folder)
    monkeypatch.setattr(build, "build", lambda: {build.FINGERPRINTS: json.dumps(fingerprints)})
    monkeypatch.setattr("sys.argv", ["build"])
    build.main()
    return json.loads((folder / build.FINGERPRINTS).read_text())


@pytest.mark.parametrize(
    ("fingerprints", "named"),
    [
        ({"an-experiment": {}}, "an-experiment train v1, an-experiment train v2"),
        ({"an-experiment": {"train": {"v1": "1", "v2": "other"}}}, "an-experiment train v2"),
        ({"another": KNOWN["an-experiment"]}, "an-experiment train v1, an-experiment train v2"),
    ],
    ids=["step is missing", "other value", "experiment is missing"],
)
def test_known_fingerprint_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprints: object, named: str
) -> None:
    with pytest.raises(SystemExit, match=f"changed fingerprints of {named}:"):
        write_goldens(tmp_path, monkeypatch, fingerprints)
    assert json.loads((tmp_path / build.FINGERPRINTS).read_text()) == KNOWN


@pytest.mark.parametrize(
    "fingerprints",
    [
        {"an-experiment": {"train": {"v1": "1", "v2": "2", "v3": "3"}}},
        {"an-experiment": {"train": {"v1": "1", "v2": "2"}, "evaluate": {"v2": "4"}}},
        KNOWN | {"another": {"train": {"v2": "5"}}},
    ],
    ids=["version", "step", "experiment"],
)
def test_new_fingerprint_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprints: object) -> None:
    assert write_goldens(tmp_path, monkeypatch, fingerprints) == fingerprints
