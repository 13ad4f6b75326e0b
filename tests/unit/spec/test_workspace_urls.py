"""Inputs by URL that overlap the URL of the workspace are refused, with the path to write instead."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.spec.workspace_urls import workspace_problem

WORKSPACE = "s3://lab/team/ws"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://lab/team/ws/shapes/train/model.tlt", "/workspace/shapes/train/model.tlt"),
        ("s3://lab/team/ws/data", "/workspace/data"),
        ("s3://lab/team/ws", "/workspace"),
    ],
)
def test_url_in_the_workspace_names_the_path_to_write(url: str, path: str) -> None:
    problem = workspace_problem(url, WORKSPACE)
    assert problem is not None
    assert problem.endswith(f": write {path}")


@pytest.mark.parametrize("url", ["s3://lab/team", "s3://lab"])
def test_url_that_contains_the_workspace_is_refused(url: str) -> None:
    problem = workspace_problem(url, WORKSPACE)
    assert problem is not None
    assert "contains the workspace s3://lab/team/ws" in problem
    assert "/workspace/..." in problem


def test_url_in_a_workspace_that_is_a_whole_bucket_names_the_path() -> None:
    problem = workspace_problem("s3://lab/data/a.json", "s3://lab")
    assert problem is not None
    assert problem.endswith(": write /workspace/data/a.json")


@pytest.mark.parametrize(
    "value",
    [
        "s3://lab/team/ws2/model.tlt",
        "s3://lab/team/data",
        "s3://other/team/ws/model.tlt",
        "gs://lab/team/ws/model.tlt",
        "/workspace/shapes/train/model.tlt",
        "file:///team/ws/model.tlt",
        "s3://lab/team/ws/../x",
        "http://lab/team/ws",
    ],
)
@pytest.mark.parametrize("kind", [InputKind.FILE, InputKind.PATTERNS])
def test_other_urls_and_paths_have_no_problem(value: str, kind: InputKind) -> None:
    assert workspace_problem(value, WORKSPACE, kind) is None


@pytest.mark.parametrize(
    "pattern",
    ["s3://lab/**", "s3://lab/*/ws/x/*.tfrecord", "s3://lab/team/w?/a/b", "s3://lab/team/**/a", "s3://lab/t[e]am/*/a"],
)
def test_pattern_that_matches_files_of_the_workspace_is_refused(pattern: str) -> None:
    problem = workspace_problem(pattern, WORKSPACE, InputKind.PATTERNS)
    assert problem is not None
    assert "contains the workspace" in problem


@pytest.mark.parametrize(
    "pattern",
    ["s3://lab/*.tfrecord", "s3://lab/team/*", "s3://lab/team/data/**", "s3://lab/*/xs/a", "s3://*/team/ws/a"],
)
def test_pattern_that_cannot_match_a_file_of_the_workspace_has_no_problem(pattern: str) -> None:
    assert workspace_problem(pattern, WORKSPACE, InputKind.PATTERNS) is None


def test_pattern_below_the_workspace_names_the_path_with_its_wildcards() -> None:
    problem = workspace_problem("s3://lab/team/ws/*/convert/a-*", WORKSPACE, InputKind.PATTERNS)
    assert problem is not None
    assert problem.endswith(": write /workspace/*/convert/a-*")


def test_problem_of_one_of_several_patterns_has_its_number() -> None:
    problem = workspace_problem("s3://lab/a/*, s3://lab/team/ws/b/*", WORKSPACE, InputKind.PATTERNS)
    assert problem is not None
    assert problem.startswith("pattern 2 of 2: s3://lab/team/ws/b/* is in the workspace")


def test_pattern_in_a_workspace_that_is_a_whole_bucket_names_the_path() -> None:
    problem = workspace_problem("s3://lab/*/a", "s3://lab", InputKind.PATTERNS)
    assert problem is not None
    assert problem.endswith(": write /workspace/*/a")


def test_comma_in_the_url_of_one_object_does_not_separate_it() -> None:
    problem = workspace_problem("s3://lab/team/ws/a,b", WORKSPACE, InputKind.FILE)
    assert problem is not None
    assert problem.endswith(": write /workspace/a,b")
