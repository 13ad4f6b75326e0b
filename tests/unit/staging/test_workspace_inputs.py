"""Paths below ``/workspace`` where it stands for a URL."""

from __future__ import annotations

import json

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl, parse_url
from maskrcnn_trainer.shared.variables import (
    INPUT_FINGERPRINTS_VARIABLE,
    RESULTS_DIR_VARIABLE,
    WORKSPACE_URL_VARIABLE,
)
from maskrcnn_trainer.staging.published_inputs import StepPlace
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore, is_workspace_path

WORKSPACE = WorkspaceInStore(ObjectUrl("s3", "lab", "ws"), "shapes", {"train": ("f1", "f2")})


def environment(**others: str) -> dict[str, str]:
    return {WORKSPACE_URL_VARIABLE: "s3://lab/ws", RESULTS_DIR_VARIABLE: "/tmp/copies/shapes/evaluate", **others}  # noqa: S108


def place(experiment: str, step: str, root: str = "s3://lab/ws") -> StepPlace:
    found = StepPlace.of(parse_url(root, ""), experiment, step)
    assert found is not None
    return found


def test_workspace_without_a_url_is_a_directory() -> None:
    assert WorkspaceInStore.from_environ({RESULTS_DIR_VARIABLE: "/workspace/a/b"}) is None


@pytest.mark.parametrize("results_dir", ["/tmp/copies/shapes/evaluate", "s3://lab/ws/shapes/evaluate/"])  # noqa: S108
def test_experiment_is_that_of_the_results_directory(results_dir: str) -> None:
    found = WorkspaceInStore.from_environ(environment(**{RESULTS_DIR_VARIABLE: results_dir}))
    assert found is not None
    assert (found.url, found.experiment) == (ObjectUrl("s3", "lab", "ws"), "shapes")


def test_fingerprints_are_those_of_the_variable() -> None:
    given = json.dumps({"train": ["f1", "f2"]})
    found = WorkspaceInStore.from_environ(environment(**{INPUT_FINGERPRINTS_VARIABLE: given}))
    assert found is not None
    assert found.fingerprints_of(place("shapes", "train")) == ("f1", "f2")


@pytest.mark.parametrize(
    "other", [place("shapes", "convert"), place("another", "train"), place("shapes", "train", "s3://lab/other")]
)
def test_step_without_fingerprints_is_read_from_its_current_slot(other: StepPlace) -> None:
    assert WORKSPACE.fingerprints_of(other) == ()


@pytest.mark.parametrize("value", ["[", "[]", '{"train": "f1"}', '{"train": []}', '{"train": [""]}', '{"train": [1]}'])
def test_invalid_fingerprints_are_refused_by_the_name_of_the_variable(value: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{INPUT_FINGERPRINTS_VARIABLE}: "):
        WorkspaceInStore.from_environ(environment(**{INPUT_FINGERPRINTS_VARIABLE: value}))


def test_fingerprints_of_an_unknown_experiment_are_refused() -> None:
    variables = environment(**{INPUT_FINGERPRINTS_VARIABLE: '{"train": ["f1"]}', RESULTS_DIR_VARIABLE: ""})
    with pytest.raises(InvalidInput, match=f"set {RESULTS_DIR_VARIABLE}"):
        WorkspaceInStore.from_environ(variables)


@pytest.mark.parametrize("url", ["s3://lab/ws/", "file:///ws", "lab/ws"])
def test_invalid_url_of_the_workspace_is_refused_by_the_name_of_the_variable(url: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{WORKSPACE_URL_VARIABLE}: "):
        WorkspaceInStore.from_environ(environment(**{WORKSPACE_URL_VARIABLE: url}))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/workspace/data/a?b#c[1].json", "ws/data/a?b#c[1].json"),
        ("/workspace//data/./a.json", "ws/data/a.json"),
        ("/workspace/data/", "ws/data"),
        ("/workspace", "ws"),
    ],
)
def test_path_names_a_key(path: str, key: str) -> None:
    assert WORKSPACE.url_of(path, "-i").key == key


def test_path_in_a_workspace_that_is_a_whole_bucket_names_a_key() -> None:
    assert WorkspaceInStore(ObjectUrl("s3", "lab")).url_of("/workspace/data/a.json", "-i").key == "data/a.json"


@pytest.mark.parametrize("path", ["/workspace/../etc/passwd", "/workspace/a/../../b", "/workspace/a\nb"])
def test_path_that_is_no_key_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match=r"^-i: "):
        WORKSPACE.url_of(path, "-i")


def test_pattern_begins_with_its_literal_segments() -> None:
    pattern = WORKSPACE.pattern_of("/workspace/shapes/convert/train-*", "trainingFilePattern")
    assert (pattern.base.key, pattern.pattern) == ("ws/shapes/convert", "train-*")


@pytest.mark.parametrize(
    ("key", "step"),
    [("ws/shapes/train/model.tlt", ("shapes", "train")), ("ws/shapes/train", ("shapes", "train"))],
)
def test_first_two_names_are_those_of_experiment_and_step(key: str, step: tuple[str, str]) -> None:
    assert WORKSPACE.step_above(ObjectUrl("s3", "lab", key)) == place(*step)


@pytest.mark.parametrize("key", ["ws", "ws/shapes", "ws/.hidden/x/y", "ws/a b/c/d"])
def test_key_without_names_of_experiment_and_step_lies_in_no_step(key: str) -> None:
    assert WORKSPACE.step_above(ObjectUrl("s3", "lab", key)) is None


def test_messages_have_paths() -> None:
    text = "s3://lab/ws/data/a.json is absent, s3://lab/ws2/a and s3://lab/ws are not"
    assert WORKSPACE.with_paths(text) == "/workspace/data/a.json is absent, s3://lab/ws2/a and s3://lab/ws are not"


@pytest.mark.parametrize(
    ("text", "expected"), [("/workspace", True), ("/workspace/a", True), ("/workspaces", False), ("workspace/a", False)]
)
def test_path_below_the_workspace_is_recognized(text: str, expected: bool) -> None:
    assert is_workspace_path(text) is expected
