"""Tests of cleaning several steps, and of its report."""

from __future__ import annotations

import pytest
from tests.unit.artifacts.bucket import Bucket, attempt, own

from maskrcnn_trainer.artifacts.cleaning_up import CleanedResults, clean_results, cleaning_lines
from maskrcnn_trainer.artifacts.names import parse_name
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.exchange_types import CreateRecord, FenceReply, run_decision
from maskrcnn_trainer.object_store.fence.outside_cleaning import OutsideCleaned
from maskrcnn_trainer.object_store.fence.tombstones import delete_step


def with_garbage(*steps: str) -> Bucket:
    """Return a bucket in which a second attempt of each step has replaced the results of the first one."""
    bucket = Bucket()
    own(bucket)
    for step in steps:
        attempt(bucket, step).publish({"a": b"1"})
        attempt(bucket, step, writer="bb", number=2).publish({"a": b"2"})
    return bucket


def test_all_steps_are_cleaned_in_two_calls() -> None:
    bucket = with_garbage("train", "evaluate")
    found = clean_results(bucket, None)
    assert found.steps == {f"exp/{step}": OutsideCleaned(listed=2) for step in ("evaluate", "train")}
    bucket.now += 3600
    found = clean_results(bucket, None)
    assert found.steps == {f"exp/{step}": OutsideCleaned(deleted=2) for step in ("evaluate", "train")}
    assert not [key for key in bucket.objects if "-aa-" in key]


def test_name_of_a_step_limits_the_cleaning_to_it() -> None:
    bucket = with_garbage("train", "evaluate")
    assert list(clean_results(bucket, parse_name("exp/train")).steps) == ["exp/train"]


def test_damaged_step_does_not_keep_others_from_being_cleaned() -> None:
    bucket = with_garbage("train")
    bucket.put("exp/broken/run.json", b"{")
    found = clean_results(bucket, None)
    assert found.steps["exp/train"].listed == 2
    assert "isn't JSON" in found.problems["exp/broken"]


def test_step_whose_manifest_is_gone_is_a_problem() -> None:
    bucket = with_garbage("train")
    for key in [key for key in bucket.objects if key.endswith("manifest.json")]:
        del bucket.objects[key]
    assert "names an object that doesn't exist" in clean_results(bucket, None).problems["exp/train"]


def test_listing_that_is_incomplete_is_reported() -> None:
    bucket = with_garbage("train")
    bucket.complete = False
    assert not clean_results(bucket, None).complete


def test_level_that_cannot_be_listed_is_reported() -> None:
    bucket = with_garbage("train")
    bucket.unlistable = {"exp"}
    assert not clean_results(bucket, None).complete


def test_each_call_has_a_token_of_its_own() -> None:
    bucket = with_garbage("train", "evaluate")
    clean_results(bucket, None)
    clean_results(bucket, None)
    created = [request.key for request in bucket.requests if isinstance(request, CreateRecord)]
    clocks = [key.rpartition("-")[2] for key in created if "clock-" in key]
    assert len(set(clocks)) == len(clocks) == 4


def test_deleted_experiment_is_cleaned_of_late_uploads() -> None:
    bucket = with_garbage("train")
    keys = attempt(bucket, "train", writer="cc", number=3).holder.keys
    run_decision(delete_step(keys, 2, "dd"), bucket.send)
    bucket.put("exp/train/o/1-aa-9-late", b"x")
    assert clean_results(bucket, None).steps["exp/train"].listed == 1


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (OutsideCleaned(), "Nothing to clean.\n"),
        (OutsideCleaned(deleted=1), "exp/train: 1 object deleted\n"),
        (
            OutsideCleaned(deleted=1200, listed=3),
            "exp/train: 1,200 objects deleted; 3 objects to be deleted by another clean in an hour\n",
        ),
        (OutsideCleaned(waiting=2), "exp/train: 2 objects listed less than an hour ago\n"),
        (OutsideCleaned(waiting=2, forbidden=True), "exp/train: 2 objects not deleted: permission was refused\n"),
        (
            OutsideCleaned(left=2),
            "exp/train: 2 objects left: clean again an hour after the step's last publish; those of an attempt that "
            "ended without a result go with the next attempt, or with delete\n",
        ),
        (OutsideCleaned(left=2, busy=True), "exp/train: 2 objects left, as an attempt has just written\n"),
    ],
)
def test_report_has_a_line_for_each_step_with_garbage(outcome: OutsideCleaned, line: str) -> None:
    assert cleaning_lines(CleanedResults({"exp/train": outcome})) == line


def test_garbage_of_a_finished_attempt_is_left_for_an_hour_then_listed_and_deleted_an_hour_later() -> None:
    bucket = Bucket()
    own(bucket)
    running = attempt(bucket)
    running.publish({"a": b"1"})
    running.publish({"result.json": b"2"}, complete=True)
    found = []
    for _ in range(3):
        found.append(clean_results(bucket, None).steps["exp/train"])
        bucket.now += 3600
    assert found == [OutsideCleaned(left=2), OutsideCleaned(listed=2), OutsideCleaned(deleted=2)]


def test_garbage_of_an_attempt_that_ended_without_a_result_is_left_to_the_next_claim() -> None:
    bucket = Bucket()
    own(bucket)
    running = attempt(bucket)
    running.publish({"a": b"1"})
    running.publish({"a": b"2"})
    bucket.now += 7200
    assert clean_results(bucket, None).steps["exp/train"] == OutsideCleaned(left=2)
    attempt(bucket, writer="bb", number=2)
    assert clean_results(bucket, None).steps["exp/train"] == OutsideCleaned(listed=2)


def test_refused_deletion_is_in_the_outcome() -> None:
    bucket = with_garbage("train")
    clean_results(bucket, None)
    bucket.now += 3600
    bucket.deletes = FenceReply.FORBIDDEN
    assert clean_results(bucket, None).steps["exp/train"].forbidden


@pytest.mark.parametrize(("name", "what"), [(None, "^URL: no experiment has"), ("nope", "^NAME: nope has no results")])
def test_nothing_to_clean_because_nothing_exists_is_refused(name: str | None, what: str) -> None:
    with pytest.raises(InvalidInput, match=what) as error:
        clean_results(Bucket(), None if name is None else parse_name(name))
    assert error.value.reason == "NotPublished"
