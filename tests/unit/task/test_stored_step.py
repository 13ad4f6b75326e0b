"""Step whose results are in object storage: its URL and its variables."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.stored_step import REQUIRED_VARIABLES, StoredStep

VARIABLES = {
    "MASKRCNN_RESULTS_DIR": "s3://bucket/some/prefix/exp/train",
    "MASKRCNN_FINGERPRINT": "a-v1",
    "MASKRCNN_EXPERIMENT_UID": "uid",
    "MASKRCNN_ATTEMPT": "2",
    "MASKRCNN_CREATED": "2026-01-31T12:00:00Z",
    "MASKRCNN_OWNER_ID": "lab",
}


def stored_step(**changes: str) -> StoredStep | None:
    return TaskEnvironment.from_environ(VARIABLES | changes, launches=True).stored_step


def test_url_is_split_into_workspace_experiment_and_step() -> None:
    found = stored_step()
    assert found == StoredStep(ObjectUrl("s3", "bucket", "some/prefix"), "exp", "train", "lab")
    assert (found.url, found.manifest_dir) == (VARIABLES["MASKRCNN_RESULTS_DIR"], "/workspace/exp/train")


def test_bucket_itself_can_be_the_workspace() -> None:
    found = stored_step(MASKRCNN_RESULTS_DIR="gs://bucket/exp/train")
    assert found is not None
    assert (found.workspace_url, found.url) == (ObjectUrl("gs", "bucket"), "gs://bucket/exp/train")


def test_further_variables_are_read() -> None:
    found = stored_step(MASKRCNN_OWNER_NAMESPACE="ns", MASKRCNN_TAKE_OVER_FROM="b/3", MASKRCNN_WORKING_DIR="/copies")
    assert found is not None
    assert (found.owner_namespace, found.take_over_from, found.working_dir) == ("ns", "b/3", "/copies")


def test_results_directory_by_url_is_no_directory_of_this_machine() -> None:
    assert TaskEnvironment.from_environ(VARIABLES, launches=True).results_dir is None


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/train", "file:///copies/exp/train"])
def test_url_that_is_not_one_of_a_step_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_RESULTS_DIR: the URL must be that of a step"):
        stored_step(MASKRCNN_RESULTS_DIR=url)


def test_invalid_url_is_refused_without_its_text() -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_RESULTS_DIR: a URL with a ") as refused:
        stored_step(MASKRCNN_RESULTS_DIR="s3://bucket/exp/train?sig=s3cr3t")
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("name", REQUIRED_VARIABLES)
def test_missing_variable_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{name} is missing"):
        stored_step(**{name: ""})


def test_task_without_launch_refuses_the_url() -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_RESULTS_DIR: .*start it by maskrcnn launch"):
        TaskEnvironment.from_environ(VARIABLES)


@pytest.mark.parametrize("text", ["a text of mine", "a/b", "ü", "x" * 129])
@pytest.mark.parametrize("name", ["MASKRCNN_FINGERPRINT", "MASKRCNN_EXPERIMENT_UID", "MASKRCNN_OWNER_ID"])
def test_value_that_can_not_be_recorded_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: '{text}' must be 1 to 128 letters, digits, and "):
        stored_step(**{name: text})


@pytest.mark.parametrize("text", [".a", "a:b"])
def test_fingerprint_that_can_not_name_a_directory_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_FINGERPRINT: "):
        stored_step(MASKRCNN_FINGERPRINT=text)


@pytest.mark.parametrize("attempt", ["0", "9" * 30])
def test_attempt_out_of_range_is_refused_with_both_bounds(attempt: str) -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_ATTEMPT: .* must be a whole number from 1 to 999999999"):
        stored_step(MASKRCNN_ATTEMPT=attempt)
