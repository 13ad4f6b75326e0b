"""Results of an experiment in object storage, and the check of their owner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.local.published_steps import PublishedExperiment, parse_listing, refuse_another_owner
from maskrcnn_trainer.errors import InvalidInput

CURRENT = {"fingerprint": "b", "complete": True, "files": 3, "bytes": 9, "checkpoints": []}
PREVIOUS = CURRENT | {"fingerprint": "a"}


def listing(**changes: Any) -> bytes:
    shapes = {
        "owner": {"id": "me", "namespace": "", "name": "shapes"},
        "ownerEpoch": 2,
        "steps": {"train": {"current": CURRENT, "previous": PREVIOUS}},
    }
    return json.dumps({"experiments": {"shapes": shapes | changes}}).encode()


def test_owner_and_complete_steps_are_read() -> None:
    assert parse_listing(listing(), "shapes") == PublishedExperiment("me", "", 2, {"train": "b"})


def test_experiment_that_is_absent_has_nothing() -> None:
    assert parse_listing(listing(), "circles") == PublishedExperiment()


def test_deleted_experiment_has_no_owner() -> None:
    assert parse_listing(listing(owner=None, steps={}), "shapes") == PublishedExperiment()


@pytest.mark.parametrize(
    "step", [{"current": None}, {"current": CURRENT | {"complete": False}}, {"problem": "damaged"}]
)
def test_step_without_complete_results_is_left_out(step: dict[str, Any]) -> None:
    assert parse_listing(listing(steps={"train": step}), "shapes").complete == {}


@pytest.mark.parametrize(
    "content",
    [
        b"No results.",
        b"[]",
        b"{}",
        listing(owner="me"),
        listing(ownerEpoch="2"),
        listing(steps=[]),
        listing(steps={"train": {"current": CURRENT | {"fingerprint": 7}}}),
    ],
    ids=range(7),
)
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        parse_listing(content, "shapes")


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (StepStatus(name="train", fingerprint="b"), True),
        (StepStatus(name="train", fingerprint="c", older_fingerprint="b"), True),
        (StepStatus(name="train", fingerprint="a"), False),
        (StepStatus(name="train"), False),
        (StepStatus(name="evaluate", fingerprint="b"), False),
    ],
    ids=["newest", "oldest", "previous", "unknown", "absent"],
)
def test_only_current_results_of_a_fingerprint_count(step: StepStatus, found: bool) -> None:
    """The next edit of a step would remove its previous results."""
    assert PublishedExperiment(complete={"train": "b"}).has(step) is found


def refusal(found: PublishedExperiment, take_over_from: str | None = None) -> str:
    with pytest.raises(InvalidInput) as refused:
        refuse_another_owner(found, "s3://b/p", "shapes", owner_id="me", take_over_from=take_over_from)
    return str(refused.value)


@pytest.mark.parametrize(
    ("found", "take_over_from"),
    [
        (PublishedExperiment(), None),
        (PublishedExperiment("me", "", 2), None),
        (PublishedExperiment("me", "", 2), "other/1"),
        (PublishedExperiment("other", "", 2), "other/2"),
        (PublishedExperiment("me", "team", 2), "me/2"),
    ],
    ids=["none", "mine", "mine-with-old-flag", "named", "named-cluster"],
)
def test_own_absent_or_named_owner_is_accepted(found: PublishedExperiment, take_over_from: str | None) -> None:
    refuse_another_owner(found, "s3://b/p", "shapes", owner_id="me", take_over_from=take_over_from)


def test_refusal_has_both_ways_to_continue() -> None:
    assert refusal(PublishedExperiment("other", "", 2)) == (
        "s3://b/p holds the experiment shapes of owner other; to take it over for good, give --take-over-from other/2; "
        "if that is a run of yours whose state directory is lost or elsewhere, --owner-id other continues it"
    )


def test_state_that_was_replaced_is_refused() -> None:
    assert "; --take-over-from other/1 names another state; to take" in refusal(
        PublishedExperiment("other", "", 2), "other/1"
    )


def test_values_for_a_command_line_are_quoted() -> None:
    """Any writer with access to the bucket can have chosen the owner's id."""
    message = refusal(PublishedExperiment("$(reboot)\x1b", "", 2))
    assert "--take-over-from '$(reboot) /2'" in message
    assert "--owner-id '$(reboot)'" in message
