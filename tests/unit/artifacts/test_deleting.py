"""Tests of the deletion of an experiment: tombstones, running attempts, damaged steps, and the purge."""

from __future__ import annotations

import pytest
from tests.unit.artifacts.bucket import Bucket, RunningAttempt, Through, attempt, own

from maskrcnn_trainer.artifacts.deleting import delete_results, question, refuse_other_owner
from maskrcnn_trainer.artifacts.names import parse_name
from maskrcnn_trainer.artifacts.reading import read_overview
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    SupersededOutcome,
    UpdateRecord,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.holding import publish
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, OwnerIdentity, OwnerRecord, PublishedSet

EXP = parse_name("exp")
ME = OwnerIdentity("me", "team", "exp")
OTHERS = [OwnerIdentity("other", "team", "exp"), OwnerIdentity("me", "others", "exp"), OwnerIdentity("me", "", "exp")]


def filled() -> Bucket:
    bucket = Bucket()
    own(bucket)
    attempt(bucket).publish({"a": b"1"})
    attempt(bucket, "evaluate").publish({"b": b"22"})
    return bucket


def test_deletion_leaves_two_small_objects_for_each_step_alone() -> None:
    bucket = filled()
    done = delete_results(bucket, EXP)
    assert sorted(bucket.objects) == ["exp/evaluate/run.json", "exp/owner.json", "exp/train/run.json"]
    assert done.deleted == 4
    assert done.failures == []


def test_running_attempt_is_superseded_at_its_next_publish() -> None:
    bucket = filled()
    running = attempt(bucket, writer="bb", number=2)
    delete_results(bucket, EXP)
    slot = FingerprintSlot("f1", "exp/train/o/2-bb-0-m")
    outcome = run_decision(publish(running.holder, slot, PublishedSet("f1", ())), bucket.send)
    assert isinstance(outcome, SupersededOutcome)


def test_deleted_experiment_is_run_again_by_its_owner() -> None:
    bucket = filled()
    delete_results(bucket, EXP)
    epoch = own(bucket)
    attempt(bucket, writer="cc", owner_epoch=epoch).publish({"a": b"3"})
    assert read_overview(bucket, EXP).experiments["exp"].steps["train"].current is not None


def test_step_of_a_later_owner_is_left() -> None:
    bucket = filled()
    later = attempt(bucket, writer="cc", owner_epoch=9)
    later.publish({"a": b"3"})
    done = delete_results(bucket, EXP)
    assert done.steps["train"].left_to is not None
    assert read_overview(bucket, EXP).experiments["exp"].steps["train"].current is not None


def test_foreign_objects_stay() -> None:
    bucket = filled()
    foreign = ("exp/notes.txt", "exp/train/mine.png", "exp/train/o/mine", "exp/images/1.jpg", "other/owner.json")
    for key in foreign:
        bucket.put(key, b"x")
    delete_results(bucket, EXP, purge=True)
    assert sorted(bucket.objects) == sorted(foreign)


def test_damaged_step_is_left_and_named_and_others_are_deleted() -> None:
    bucket = filled()
    bucket.put("exp/broken/run.json", b"{")
    bucket.put("exp/broken/o/1-aa-0-a", b"x")
    done = delete_results(bucket, EXP)
    assert "step broken is damaged: exp/broken/run.json isn't JSON" in done.failures
    assert "exp/broken/o/1-aa-0-a" in bucket.objects
    assert not [key for key in bucket.objects if key.startswith("exp/train/o/")]


def test_pointer_that_is_another_record_is_left_and_named_and_others_are_deleted() -> None:
    bucket = filled()
    bucket.put("exp/evaluate/run.json", bucket.objects["exp/owner.json"][0])
    done = delete_results(bucket, EXP)
    assert [text.partition(": ")[0] for text in done.failures] == ["step evaluate is damaged"]
    assert any(key.startswith("exp/evaluate/o/") for key in bucket.objects)
    assert not [key for key in bucket.objects if key.startswith("exp/train/o/")]


def test_step_that_an_attempt_claims_after_the_listing_of_levels_is_deleted() -> None:
    bucket = filled()

    def send(request: FenceRequest) -> FenceAnswer:
        answer = bucket.send(request)
        if isinstance(request, UpdateRecord) and request.key == "exp/owner.json":
            attempt(bucket, "export", writer="cc").publish({"c": b"333"})
        return answer

    done = delete_results(Through(bucket, send), EXP)
    assert done.steps["export"].deleted == 2
    assert done.failures == []


def test_refused_deletion_is_a_failure() -> None:
    bucket = filled()
    bucket.deletes = FenceReply.FORBIDDEN
    assert delete_results(bucket, EXP).failures == [
        "step evaluate: the store refused to delete 2 objects",
        "step train: the store refused to delete 2 objects",
    ]


def test_incomplete_listing_is_a_failure_and_keeps_the_objects() -> None:
    bucket = filled()
    bucket.complete = False
    assert delete_results(bucket, EXP).failures == [
        "step evaluate has keys that can't be listed, so nothing of it was deleted",
        "step train has keys that can't be listed, so nothing of it was deleted",
        "exp has keys that can't be listed, so that steps may be missing here",
    ]
    assert any(key.startswith("exp/train/o/") for key in bucket.objects)


def test_experiment_whose_steps_cannot_be_listed_is_a_failure() -> None:
    bucket = filled()
    bucket.unlistable = {"exp"}
    assert delete_results(bucket, EXP).failures == [
        "exp has keys that can't be listed, so that steps may be missing here"
    ]


def test_step_that_was_uploaded_to_without_a_pointer_becomes_a_tombstone() -> None:
    bucket = filled()
    bucket.put("exp/export/o/1-aa-0-a", b"x")
    delete_results(bucket, EXP)
    assert "exp/export/run.json" in bucket.objects


def test_foreign_folder_with_the_name_of_ours_gets_no_pointer() -> None:
    bucket = filled()
    bucket.put("exp/data/o/1.jpg", b"x")
    delete_results(bucket, EXP)
    assert "exp/data/run.json" not in bucket.objects


def test_second_deletion_continues() -> None:
    bucket = filled()
    bucket.deletes = FenceReply.FORBIDDEN
    delete_results(bucket, EXP)
    bucket.deletes = FenceReply.DELETED
    assert delete_results(bucket, EXP).deleted == 4


@pytest.mark.parametrize("name", ["exp/train", "exp/train/a"])
def test_part_of_an_experiment_is_not_deleted(name: str) -> None:
    bucket = filled()
    before = dict(bucket.objects)
    with pytest.raises(InvalidInput, match="only whole experiments are deleted: give exp"):
        delete_results(bucket, parse_name(name))
    assert bucket.objects == before


def test_experiment_that_does_not_exist_is_refused() -> None:
    bucket = filled()
    before = dict(bucket.objects)
    with pytest.raises(InvalidInput, match="NAME: absent has no results"):
        delete_results(bucket, parse_name("absent"))
    assert bucket.objects == before


def test_damaged_owner_is_named() -> None:
    bucket = filled()
    bucket.put("exp/owner.json", b"{}")
    with pytest.raises(InvalidInput, match=r"exp/owner\.json"):
        delete_results(bucket, EXP)


def test_purge_removes_the_tombstones() -> None:
    bucket = filled()
    assert delete_results(bucket, EXP, purge=True).purged
    assert bucket.objects == {}


def test_purge_keeps_the_tombstones_when_a_deletion_fails() -> None:
    bucket = filled()
    bucket.put("exp/broken/run.json", b"{")
    assert not delete_results(bucket, EXP, purge=True).purged
    assert "exp/owner.json" in bucket.objects


def test_purge_keeps_what_a_later_owner_has_written_meanwhile() -> None:
    bucket = filled()

    def send(request: FenceRequest) -> FenceAnswer:
        answer = bucket.send(request)
        if isinstance(request, DeleteKeys) and any(key.endswith("run.json") for key in request.keys):
            own(bucket, owner="other")
        return answer

    assert not delete_results(Through(bucket, send), EXP, purge=True).purged
    assert read_overview(bucket, EXP).experiments["exp"].owner is not None


def test_purge_keeps_the_pointer_of_an_attempt_that_has_claimed_meanwhile() -> None:
    bucket = filled()
    attempts: list[RunningAttempt] = []

    def send(request: FenceRequest) -> FenceAnswer:
        answer = bucket.send(request)
        if isinstance(request, DeleteKeys) and not attempts and any("/train/" in key for key in request.keys):
            attempts.append(attempt(bucket, writer="cc", owner_epoch=3))
        return answer

    assert not delete_results(Through(bucket, send), EXP, purge=True).purged
    assert "exp/train/run.json" in bucket.objects


def test_question_names_owner_and_size() -> None:
    bucket = filled()
    assert question(read_overview(bucket, EXP), EXP, "s3://b/w") == (
        "s3://b/w/exp of owner me, namespace team: 2 steps, 2 files, 0.0 kB. Delete it, and end attempts that run? "
        "[y/N] "
    )


def test_question_about_an_absent_experiment_is_refused() -> None:
    with pytest.raises(InvalidInput, match="NAME: exp has no results below s3://b/w yet"):
        question(read_overview(Bucket(), EXP), EXP, "s3://b/w")


def test_results_of_the_owner_are_deleted() -> None:
    bucket = filled()
    assert delete_results(bucket, EXP, owner=ME).deleted == 4


@pytest.mark.parametrize("owner", OTHERS, ids=str)
def test_results_of_another_owner_are_left(owner: OwnerIdentity) -> None:
    bucket = filled()
    before = dict(bucket.objects)
    with pytest.raises(InvalidInput, match="the results belong to owner me of namespace team, and not to owner"):
        delete_results(bucket, EXP, owner=owner)
    assert bucket.objects == before


def test_results_that_another_owner_has_taken_over_meanwhile_are_left() -> None:
    bucket = filled()
    changed: list[FenceRequest] = []

    def send(request: FenceRequest) -> FenceAnswer:
        if isinstance(request, UpdateRecord) and request.key == "exp/owner.json" and not changed:
            changed.append(request)
            bucket.objects.pop("exp/owner.json")
            own(bucket, owner="other")
        return bucket.send(request)

    with pytest.raises(InvalidInput, match="belong to owner other of namespace team"):
        delete_results(Through(bucket, send), EXP, owner=ME)
    assert any(key.startswith("exp/train/o/") for key in bucket.objects)


def test_deletion_of_the_owner_is_continued_after_its_tombstone() -> None:
    bucket = filled()
    bucket.deletes = FenceReply.FORBIDDEN
    delete_results(bucket, EXP, owner=ME)
    bucket.deletes = FenceReply.DELETED
    assert delete_results(bucket, EXP, owner=ME).deleted == 4


@pytest.mark.parametrize("owner", OTHERS, ids=str)
def test_other_owner_is_refused_before_the_question(owner: OwnerIdentity) -> None:
    with pytest.raises(InvalidInput, match="belong to owner me of namespace team"):
        refuse_other_owner(read_overview(filled(), EXP), EXP, owner)


def test_refusal_names_the_id_that_owns_the_results_of_the_namespace() -> None:
    with pytest.raises(InvalidInput, match="if me is yours, too, add --owner-id me; to delete them nevertheless"):
        delete_results(filled(), EXP, owner=OTHERS[0])


@pytest.mark.parametrize(("owner", "given"), [("me", OTHERS[1]), ("m e; x", OTHERS[0])])
def test_refusal_names_no_id_that_would_be_refused_again(owner: str, given: OwnerIdentity) -> None:
    bucket = Bucket()
    bucket.send(CreateRecord("exp/owner.json", OwnerRecord("aa-0", OwnerIdentity(owner, "team", "exp"), 1)))
    with pytest.raises(InvalidInput, match="the results belong to owner m") as error:
        delete_results(bucket, EXP, owner=given)
    assert "add --owner-id" not in str(error.value)
