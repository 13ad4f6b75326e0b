"""Tests of the claim of a step in the store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import MemoryStore
from tests.unit.publishing.file_store import IDENTITY, KEYS, FileStore

from maskrcnn_trainer.errors import InvalidInput, Superseded, TryAgain
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    FenceReply,
    FenceRequest,
    GetRecord,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.records import ObjectVersion, OwnerIdentity, OwnerRecord
from maskrcnn_trainer.publishing.step_claiming import StepIdentity
from maskrcnn_trainer.publishing.step_session import Claim, StepSession


def claim(store: FileStore, identity: StepIdentity = IDENTITY, token: str = "aa") -> Claim:  # noqa: S107
    return StepSession(store, identity, token=token).claim()


def test_first_claim_of_an_empty_store_has_nothing_published() -> None:
    store = FileStore()
    assert claim(store) == Claim(None, is_done=False)
    assert store.pointer().order == IDENTITY.order(1)


def test_store_is_probed_before_the_first_claim_only() -> None:
    store = FileStore()
    claim(store)
    probes = [r for r in store.requests(CreateRecord) if isinstance(r, CreateRecord) and "/probe-" in r.key]
    claim(store, replace(IDENTITY, attempt=2), "bb")
    again = [r for r in store.requests(CreateRecord) if isinstance(r, CreateRecord) and "/probe-" in r.key]
    assert (len(probes), len(again)) == (2, 2)
    assert [key for key in store.memory.objects if "/probe-" in key] == []


def test_probe_that_cannot_be_deleted_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    claim(FileStore(MemoryStore(deletes=FenceReply.FORBIDDEN)))
    assert "may not delete objects" in caplog.text


def test_store_without_conditional_writes_is_refused() -> None:
    class Careless(MemoryStore):
        def send(self, request: FenceRequest) -> object:  # type: ignore[override]
            return WrittenRecord(ObjectVersion("1")) if isinstance(request, CreateRecord) else super().send(request)

    with pytest.raises(InvalidInput, match="two attempts could mix") as error:
        claim(FileStore(Careless()))
    assert error.value.reason == "ConditionalWritesMissing"


def test_prefix_of_another_owner_is_refused_with_the_value_to_pass() -> None:
    store = FileStore()
    claim(store)
    other = replace(IDENTITY, owner=OwnerIdentity("other", "", "exp"))
    with pytest.raises(InvalidInput, match="MASKRCNN_TAKE_OVER_FROM=me/1 "):
        claim(store, other, "bb")


def test_other_owner_takes_over_the_state_that_it_names() -> None:
    store = FileStore()
    claim(store)
    other = replace(IDENTITY, owner=OwnerIdentity("other", "", "exp"), take_over_from="me/1")
    claim(store, other, "bb")
    assert store.pointer().order.owner_epoch == 2


def test_malformed_state_to_take_over_is_refused_by_the_name_of_its_variable() -> None:
    with pytest.raises(InvalidInput, match="MASKRCNN_TAKE_OVER_FROM: 'me'"):
        claim(FileStore(), replace(IDENTITY, take_over_from="me"))


def test_higher_attempt_of_the_experiment_is_named() -> None:
    store = FileStore()
    claim(store, replace(IDENTITY, attempt=5))
    with pytest.raises(Superseded) as error:
        claim(store, replace(IDENTITY, attempt=4), "bb")
    assert error.value.attempt == 5


def test_newer_state_of_the_same_owner_is_named_with_the_value_to_pass() -> None:
    store = FileStore()
    claim(store, replace(IDENTITY, uid="uid-2", created="2026-02-01T12:00:00Z"))
    with pytest.raises(Superseded, match="results of exp/train .* uid uid-2, .*MASKRCNN_TAKE_OVER_FROM=me/1 "):
        claim(store, token="bb")  # noqa: S106


def test_experiment_whose_deletion_begins_during_the_claim_is_superseded() -> None:
    store = FileStore()
    claim(store)

    def delete(request: FenceRequest) -> None:
        if isinstance(request, GetRecord) and request.key == KEYS.pointer:
            store.memory.put(KEYS.owner, OwnerRecord("dd-0", None, 2))

    store.fail = delete
    with pytest.raises(Superseded, match="was deleted"):
        claim(store, replace(IDENTITY, attempt=2), "bb")


@pytest.mark.parametrize(
    ("field", "value"),
    [("created", "yesterday"), ("uid", "a\nb"), ("fingerprint", "a b"), ("attempt", -1)],
)
def test_value_that_could_not_be_read_back_is_refused_before_it_is_written(field: str, value: object) -> None:
    store = FileStore()
    with pytest.raises(InvalidInput):
        claim(store, replace(IDENTITY, **{field: value}))  # type: ignore[arg-type]
    assert store.memory.requests == []


def test_name_that_no_key_can_contain_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'a b' of the step"):
        claim(FileStore(), replace(IDENTITY, step="a b"))


def test_store_that_fails_ends_the_claim() -> None:
    def fail(_: FenceRequest) -> None:
        raise TryAgain("the store has failed for 300 s")

    with pytest.raises(TryAgain, match="300 s"):
        claim(FileStore(fail=fail))
