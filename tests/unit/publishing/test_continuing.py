"""Tests of the decision between a working copy and the published set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.publishing.file_store import FINGERPRINT, IDENTITY

from maskrcnn_trainer.object_store.fence.records import PublishedSet
from maskrcnn_trainer.publishing.continuing import CopyUse, use_of_left_copy
from maskrcnn_trainer.results.run_file import RunRecord, StoreClaim

RUN = RunRecord("uid-1", 1, FINGERPRINT, "t", store_claim=StoreClaim(1, 1))
NOW = StoreClaim(1, 2)


def decided(
    run: RunRecord | None = RUN,
    *,
    claim: StoreClaim = NOW,
    has_result: bool = False,
    checkpoint: int | None = 20,
    published: int | None = 10,
) -> CopyUse:
    found = None if published is None else PublishedSet(FINGERPRINT, (), (f"model.step-{published}.tlt",))
    return use_of_left_copy(run, IDENTITY, claim, has_result=has_result, checkpoint=checkpoint, published=found)


def test_result_is_published() -> None:
    assert decided(has_result=True) is CopyUse.RESULT


def test_newer_checkpoint_is_continued() -> None:
    assert decided() is CopyUse.CHECKPOINT


def test_first_checkpoint_is_continued() -> None:
    assert decided(published=None) is CopyUse.CHECKPOINT


@pytest.mark.parametrize("checkpoint", [None, 5, 10])
def test_published_set_with_as_new_a_checkpoint_is_restored(checkpoint: int | None) -> None:
    assert decided(checkpoint=checkpoint) is CopyUse.REPLACED


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(None, id="absent"),
        pytest.param(replace(RUN, experiment_uid="uid-2"), id="another experiment"),
        pytest.param(replace(RUN, fingerprint="f" * 32), id="another fingerprint"),
        pytest.param(replace(RUN, attempt=2), id="a later attempt"),
        pytest.param(replace(RUN, store_claim=None), id="an interrupted restore"),
    ],
)
def test_other_working_copy_is_replaced(run: RunRecord | None) -> None:
    assert decided(run, has_result=True) is CopyUse.REPLACED


@pytest.mark.parametrize(
    "claim", [pytest.param(StoreClaim(2, 2), id="another owner"), pytest.param(StoreClaim(1, 1), id="another pointer")]
)
def test_working_copy_of_deleted_results_is_replaced(claim: StoreClaim) -> None:
    assert decided(claim=claim, has_result=True) is CopyUse.REPLACED


def test_run_of_several_fingerprints_is_recognized_by_the_oldest() -> None:
    run = replace(RUN, fingerprint="f" * 32, older_fingerprints=(FINGERPRINT,))
    assert decided(run) is CopyUse.CHECKPOINT
