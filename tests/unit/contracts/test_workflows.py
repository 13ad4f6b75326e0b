"""GitHub's workflows run make targets alone, with pinned actions and bounded permissions."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FILES = [*WORKFLOWS, *sorted((GITHUB / "actions").glob("*/action.yml"))]
MAKE = re.compile(r"make(?: -s)? ([a-z][\w-]*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(?:\.\d+)*")

by_name = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
by_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, re.MULTILINE))


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow by name; an action counts as one job."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content["jobs"] if "jobs" in content else {"action": content["runs"]}


def commands(file: Path) -> Iterator[str]:
    for job in jobs(file).values():
        yield from (step["run"] for step in job.get("steps", ()) if "run" in step)


def refused(command: str, known: set[str]) -> str:
    """Return why a step may not run a command, ``""`` if it may."""
    target = MAKE.fullmatch(command)
    if target is None:
        return f"{command!r} is not `make TARGET`"
    return "" if target[1] in known else f"the Makefile has no target {target[1]}"


def unheaded(text: str) -> list[str]:
    """Return the actions without the comment "not yet run" between them and the step that runs a target before them."""
    found, headed = [], False
    for line in text.splitlines():
        if re.search(r"# not yet run\b", line):
            headed = True
        elif re.search(r"\brun: |^ +steps:$", line):
            headed = False
        elif re.search(r"\buses: (?!\./)", line) and not headed:
            found.append(line.strip())
    return found


def test_workflows_cover_the_life_of_a_change() -> None:
    assert {file.stem for file in WORKFLOWS} == {"ci", "docs", "e2e", "release", "scan"}


@by_name
def test_steps_run_make_targets_alone(file: Path) -> None:
    known = targets()
    assert [reason for command in commands(file) if (reason := refused(command, known))] == []


@pytest.mark.parametrize("command", ["pip install x", "make lint && make docs", "make lint\nmake docs", "make no-such"])
def test_other_commands_are_refused(command: str) -> None:
    assert refused(command, {"lint", "docs"})


@by_name
def test_actions_are_pinned_by_commit_with_their_version(file: Path) -> None:
    used = re.findall(r"\buses: (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    assert [action for action in used if not PINNED.fullmatch(action) and not action.startswith("./")] == []


def test_one_action_has_one_commit() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    commits: dict[str, set[str]] = {}
    for action, commit in re.findall(r"\buses: ([\w.-]+/[\w.-]+)[\w./-]*@(.+)$", text, re.MULTILINE):
        commits.setdefault(action, set()).add(commit)
    assert {action for action, pins in commits.items() if len(pins) > 1} == set()


@by_name
def test_what_only_github_can_run_is_headed_so(file: Path) -> None:
    assert unheaded(file.read_text(encoding="utf-8")) == []


def test_action_after_a_target_needs_a_heading_of_its_own() -> None:
    text = "  steps:\n  # not yet run\n  - uses: a/b@1\n  - run: make lint\n  - uses: c/d@1\n"
    assert unheaded(text) == ["- uses: c/d@1"]


@by_workflow
def test_each_job_has_least_permissions_and_a_timeout(file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["permissions"] in ({}, {"contents": "read"})
    assert "group" in content["concurrency"]
    for name, job in content["jobs"].items():
        # A reusable workflow has timeouts of its own.
        assert "uses" in job or job["timeout-minutes"] <= 120, name
        assert content["permissions"] or job["permissions"], name


def test_updates_cover_every_go_module() -> None:
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    named = {update["package-ecosystem"]: set(update.get("directories", ())) for update in updates}
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files", "*go.mod"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert named["gomod"] == {f"/{Path(path).parent}" for path in listed.stdout.splitlines()}
    assert named["docker"] == {f"/{path.parent.relative_to(ROOT)}" for path in (ROOT / "images").glob("*/Dockerfile")}
    assert set(named) == {"docker", "github-actions", "gomod", "npm", "pip"}
