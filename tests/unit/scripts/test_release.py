"""Versions in all places, the sections of the changelog, and what prevents a release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scripts import release

ROOT = Path(__file__).resolve().parents[3]
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- A thing.

## [0.2.0] - 2026-01-02

- Second.

## [0.1.0] - 2026-01-01

- First.

[0.1.0]: https://example.org
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project whose only version is 0.2.0."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "README.md").write_text("kind load docker-image maskrcnn-operator:0.2.0\n")
    chart = tmp_path / "charts" / "maskrcnn-operator" / "Chart.yaml"
    chart.parent.mkdir(parents=True)
    chart.write_text('apiVersion: v2\nversion: 0.2.0\nappVersion: "0.2.0"\n')
    return tmp_path


def test_project_names_one_version() -> None:
    assert release.problems(ROOT, None, None) == []


def test_version_of_another_chart_is_found_in_the_tree(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in release.FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name)
    own = release.project_version(ROOT)
    text = (ROOT / "pyproject.toml").read_text().replace(f'\nversion = "{own}"', '\nversion = "99.0.0"')
    (tmp_path / "pyproject.toml").write_text(text)
    named = {problem.partition(":")[0] for problem in release.problems(tmp_path, None, None)}
    assert {
        "charts/maskrcnn-operator/Chart.yaml",
        "docs/gitops/layout/argocd/operator.yaml",
        "docs/gitops/layout/flux/operator.yaml",
        "examples/gang/experiment.yaml",
        "images/README.md",
    } <= named


@pytest.mark.parametrize("key", ["version", "appVersion"])
def test_chart_of_another_version_is_a_problem(project: Path, key: str) -> None:
    chart = project / "charts" / "maskrcnn-operator" / "Chart.yaml"
    chart.write_text(f"{chart.read_text()}\n{key}: 0.1.0\n")
    [problem] = release.problems(project, None, None)
    assert f"Chart.yaml: {key} is 0.1.0" in problem


@pytest.mark.parametrize("line", ["image: maskrcnn-trainer:0.1.0-gpu", "targetRevision: v0.1.0", "ref: {tag: v0.1.0}"])
def test_page_of_another_version_is_a_problem(project: Path, line: str) -> None:
    (project / "docs").mkdir()
    (project / "docs" / "page.yaml").write_text(f"a: b\n{line}\n")
    [problem] = release.problems(project, None, None)
    assert problem.startswith("docs/page.yaml:2: ")


def test_release_with_a_dated_section_has_no_problem(project: Path) -> None:
    assert release.problems(project, "0.2.0", "registry.example:5000/owner") == []


def test_tag_of_another_version_is_a_problem(project: Path) -> None:
    assert release.problems(project, "0.1.0", None) == ["version 0.1.0 is to be released, and pyproject.toml has 0.2.0"]


def test_section_without_a_date_is_a_problem(project: Path) -> None:
    (project / "CHANGELOG.md").write_text(CHANGELOG.replace(" - 2026-01-02", ""))
    assert release.problems(project, "0.2.0", None) == ["CHANGELOG.md has no heading '## [0.2.0] - YYYY-MM-DD'"]


@pytest.mark.parametrize("repository", ["/", "registry.example/", "/owner", "registry.example/Owner", "owner"])
def test_missing_repository_variable_is_a_problem(project: Path, repository: str) -> None:
    [problem] = release.problems(project, "0.2.0", repository)
    assert repr(repository) in problem


@pytest.mark.parametrize(("version", "text"), [("0.2.0", "- Second.\n"), ("0.1.0", "- First.\n")])
def test_notes_are_one_section(version: str, text: str) -> None:
    assert release.notes(CHANGELOG, version) == text


def test_notes_of_unreleased_keep_their_headings() -> None:
    assert release.notes(CHANGELOG, "unreleased") == "### Added\n\n- A thing.\n"


@pytest.mark.parametrize("version", ["0.3.0", "0.2", ""])
def test_section_that_is_missing_is_refused(version: str) -> None:
    with pytest.raises(release.ReleaseError, match="no section"):
        release.notes(CHANGELOG, version)


def test_command_writes_notes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "notes.md"
    assert release.main(["notes", "Unreleased", "--output", str(target)]) == 0
    assert target.read_text() == capsys.readouterr().out


def test_command_reports_a_refused_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["check", "--version", "v99.0.0"]) == 1
    assert "version 99.0.0 is to be released" in capsys.readouterr().err


def test_workflow_gets_the_version_as_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    assert release.main(["check"]) == 0
    assert (tmp_path / "outputs").read_text() == f"version={release.project_version(ROOT)}\n"
