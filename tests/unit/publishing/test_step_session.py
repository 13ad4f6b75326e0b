"""Tests of sessions with the store: publishing, restoring, and cleaning, also after requests that failed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.object_store.fence.memory_store import MemoryStore
from tests.unit.publishing.file_store import (
    FINGERPRINT,
    IDENTITY,
    KEYS,
    FileStore,
    Outage,
    claimed,
    session_of,
    write_file,
    write_result,
)

from maskrcnn_trainer.errors import InvalidInput, Superseded, TryAgain, WorkspaceFull
from maskrcnn_trainer.object_store.fence.exchange_types import (
    DeleteKeys,
    FenceReply,
    FenceRequest,
    FetchFiles,
    GetRecord,
    PutFiles,
    PutRecord,
    UpdateRecord,
)
from maskrcnn_trainer.object_store.fence.keys import NUMBERS_PER_NODE
from maskrcnn_trainer.object_store.fence.records import ClaimName, PublishedFile, PublishedSet
from maskrcnn_trainer.publishing.snapshot import FileStamp, KnownFile, Snapshots
from maskrcnn_trainer.publishing.step_session import LARGEST_PART, StepSession, _parts
from maskrcnn_trainer.results.run_file import read_run

B = "bb"
CHECKPOINT, LATER = "model.step-1.tlt", "model.step-2.tlt"


@pytest.fixture
def store() -> FileStore:
    return FileStore()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "train").mkdir()
    return tmp_path / "train"


@pytest.fixture
def session(store: FileStore) -> StepSession:
    return claimed(store)


def publish(session: StepSession, results: Path) -> PublishedSet:
    """Publish the directory as it is now."""
    snapshots = Snapshots(results, FINGERPRINT)
    try:
        return session.publish(snapshots.take(session.known))
    finally:
        snapshots.clear()


def uploaded(store: FileStore) -> list[str]:
    """Return the paths that were uploaded, in order."""
    return [file.path for request in store.requests(PutFiles) for file in request.files]  # type: ignore[union-attr]


def keys_of(published: PublishedSet) -> dict[str, str]:
    return {file.path: file.key for file in published.files}


def test_published_files_are_named_with_their_content(store: FileStore, session: StepSession, results: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    assert publish(session, results) == store.published()
    assert store.contents() == {CHECKPOINT: b"one"}


def test_unchanged_file_keeps_its_object_and_is_not_uploaded_again(
    store: FileStore, session: StepSession, results: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    first = publish(session, results)
    write_file(results, "status.json", "1\n")
    second = publish(session, results)
    assert keys_of(second)[CHECKPOINT] == keys_of(first)[CHECKPOINT]
    assert uploaded(store) == [CHECKPOINT, "status.json"]


def test_log_is_one_object_under_a_new_key(store: FileStore, session: StepSession, results: Path) -> None:
    log = "logs/attempt-1.node-0.log"
    write_file(results, log, "a\n")
    first = publish(session, results)
    with (results / log).open("a") as stream:
        stream.write("b\n")
    second = publish(session, results)
    assert keys_of(second)[log] != keys_of(first)[log]
    assert store.contents() == {log: b"a\nb\n"}


def test_removed_file_leaves_the_set(store: FileStore, session: StepSession, results: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    (results / CHECKPOINT).unlink()
    write_file(results, LATER, "two")
    publish(session, results)
    assert list(store.contents()) == [LATER]


def test_published_files_are_known_by_their_stamps(store: FileStore, session: StepSession, results: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    published = publish(session, results)
    stamp = FileStamp.of((results / CHECKPOINT).lstat())
    assert dict(session.known) == {CHECKPOINT: KnownFile(stamp, published.files[0])}


def test_unchanged_directory_sends_no_request(store: FileStore, session: StepSession, results: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    first = publish(session, results)
    store.memory.requests.clear()
    assert publish(session, results) == first
    assert store.memory.requests == []


def test_shards_need_one_upload_request_and_one_manifest(store: FileStore, session: StepSession, results: Path) -> None:
    for shard in range(256):
        write_file(results, f"train-{shard:05d}-of-00256.tfrecord", str(shard))
    store.memory.requests.clear()
    publish(session, results)
    assert [type(request) for request in store.memory.requests] == [PutFiles, PutRecord, UpdateRecord]


def test_result_makes_the_step_done(store: FileStore, session: StepSession, results: Path) -> None:
    write_result(results)
    published = publish(session, results)
    claim = session_of(store, "bb").claim()
    assert (claim.is_done, claim.published) == (True, published)


def test_session_of_a_done_step_publishes_nothing(store: FileStore, session: StepSession, results: Path) -> None:
    write_result(results)
    publish(session, results)
    done = session_of(store, "bb")
    done.claim()
    with pytest.raises(RuntimeError, match="finished step"):
        publish(done, results)


def test_second_claim_of_a_session_is_a_mistake(session: StepSession) -> None:
    with pytest.raises(RuntimeError, match="claims its step once"):
        session.claim()


def test_publish_of_a_superseded_session_names_the_later_attempt(
    store: FileStore, session: StepSession, results: Path
) -> None:
    claimed(store, "bb", attempt=2)
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(Superseded) as error:
        publish(session, results)
    assert (error.value.attempt, store.pointer().current) == (2, None)


def test_superseded_session_sends_nothing_any_more(store: FileStore, session: StepSession, results: Path) -> None:
    claimed(store, "bb", attempt=2)
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(Superseded):
        publish(session, results)
    store.memory.requests.clear()
    with pytest.raises(Superseded):
        publish(session, results)
    with pytest.raises(Superseded):
        session.clean()
    assert store.memory.requests == []
    assert isinstance(session.ended, Superseded)


def test_deleted_pointer_ends_the_session(store: FileStore, session: StepSession, results: Path) -> None:
    del store.memory.objects[KEYS.pointer]
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain) as error:
        publish(session, results)
    assert (error.value.reason, session.ended) == ("PointerDeleted", error.value)


def test_pointer_write_without_an_answer_is_finished_before_the_next_publish(
    store: FileStore, session: StepSession, results: Path
) -> None:
    outage = Outage(UpdateRecord)
    store.lose = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    outage.lasts = False
    store.memory.requests.clear()
    write_file(results, LATER, "two")
    publish(session, results)
    assert [type(request) for request in store.memory.requests] == [GetRecord, PutFiles, PutRecord, UpdateRecord]
    assert uploaded(store) == [LATER]
    assert store.contents() == {CHECKPOINT: b"one", LATER: b"two"}


def test_pointer_write_that_was_not_carried_out_is_repeated_first(
    store: FileStore, session: StepSession, results: Path
) -> None:
    outage = Outage(UpdateRecord)
    store.fail = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    outage.lasts = False
    write_file(results, LATER, "two")
    publish(session, results)
    assert store.pointer().seq == 3
    assert store.contents() == {CHECKPOINT: b"one", LATER: b"two"}


def test_superseded_while_a_pointer_write_was_unknown(store: FileStore, session: StepSession, results: Path) -> None:
    outage = Outage(UpdateRecord)
    store.fail = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    outage.lasts = False
    claimed(store, "bb", attempt=2)
    with pytest.raises(Superseded):
        publish(session, results)


def test_files_uploaded_before_a_failure_are_not_uploaded_again(
    store: FileStore, session: StepSession, results: Path
) -> None:
    outage = Outage(PutRecord)
    store.fail = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    outage.lasts = False
    write_file(results, LATER, "two")
    publish(session, results)
    assert uploaded(store) == [CHECKPOINT, LATER]


def test_pictures_uploaded_before_a_failure_are_not_uploaded_again(
    store: FileStore, session: StepSession, results: Path
) -> None:
    for number in range(600):
        write_file(results, f"labels/{number:03d}.json", "[]")

    def fail(request: FenceRequest) -> None:
        if isinstance(request, PutFiles) and len(uploaded(store)) == 512:
            raise TryAgain("the store has failed")

    store.fail = fail
    with pytest.raises(TryAgain):
        publish(session, results)
    store.fail = lambda _: None
    publish(session, results)
    assert len(uploaded(store)) == 600
    assert len(store.contents()) == 600


def test_large_files_are_uploaded_one_by_one() -> None:
    files = [PublishedFile(f"{number}", "", size, "") for number, size in enumerate((9, 8, LARGEST_PART, 1, 2))]
    assert [[file.path for file in part] for part in _parts(files)] == [["0", "1"], ["2"], ["3", "4"]]


def test_file_replaced_after_its_upload_is_uploaded_again(
    store: FileStore, session: StepSession, results: Path
) -> None:
    outage = Outage(PutRecord)
    store.fail = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    outage.lasts = False
    write_file(results, CHECKPOINT, "new")
    publish(session, results)
    assert store.contents() == {CHECKPOINT: b"new"}


@pytest.mark.parametrize("kind", [PutFiles, PutRecord])
def test_name_of_an_upload_without_an_answer_is_not_used_again(
    store: FileStore, session: StepSession, results: Path, kind: type
) -> None:
    outage = Outage(kind)
    store.lose = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    before = set(store.memory.objects)
    outage.lasts = False
    publish(session, results)
    named = {slot.manifest for slot in store.pointer().slots}
    assert not named & before


def test_cleaning_spares_files_that_were_uploaded_and_not_published_yet(
    store: FileStore, session: StepSession, results: Path
) -> None:
    outage = Outage(PutRecord)
    store.fail = outage
    write_file(results, CHECKPOINT, "one")
    with pytest.raises(TryAgain):
        publish(session, results)
    outage.lasts = False
    session.clean()
    assert store.pointer().garbage == ()
    publish(session, results)
    assert uploaded(store) == [CHECKPOINT]
    assert store.contents() == {CHECKPOINT: b"one"}


def test_cleaning_deletes_what_nothing_names_after_an_hour(
    store: FileStore, session: StepSession, results: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    first = publish(session, results)
    write_file(results, CHECKPOINT, "two")
    publish(session, results)
    session.clean()
    session.clean()
    assert keys_of(first)[CHECKPOINT] in store.memory.objects
    store.memory.now += 3601
    write_file(results, LATER, "x")
    publish(session, results)
    session.clean()
    assert keys_of(first)[CHECKPOINT] not in store.memory.objects
    assert store.contents() == {CHECKPOINT: b"two", LATER: b"x"}


def test_cleaning_without_an_answer_is_finished_before_the_next_publish(
    store: FileStore, session: StepSession, results: Path
) -> None:
    for content in ("one", "two"):
        write_file(results, CHECKPOINT, content)
        publish(session, results)
    outage = Outage(UpdateRecord)
    store.lose = outage
    with pytest.raises(TryAgain):
        session.clean()
    outage.lasts = False
    write_file(results, LATER, "two")
    publish(session, results)
    assert len(store.pointer().garbage) == 2
    assert sorted(store.contents()) == [CHECKPOINT, LATER]


def test_missing_permission_to_delete_is_logged_once(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FileStore(MemoryStore(deletes=FenceReply.FORBIDDEN))
    session = claimed(store)
    for content in ("one", "two"):
        write_file(results, CHECKPOINT, content)
        publish(session, results)
    session.clean()
    caplog.clear()
    for _ in range(2):
        store.memory.now += 3601
        write_file(results, LATER, f"{store.memory.now}")
        publish(session, results)
        session.clean()
    assert caplog.text.count("may not delete objects") == 1


def test_keys_that_cannot_be_listed_are_logged_once(
    results: Path, session: StepSession, store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.memory.complete = False
    session.clean()
    session.clean()
    assert caplog.text.count("can't be listed") == 1
    assert store.requests(DeleteKeys)[1:] == []


def restored(store: FileStore, into: Path, attempt: int = 2) -> StepSession:
    session = session_of(store, f"t{attempt}", attempt=attempt)
    session.restore(session.claim().published, into)
    return session


def files_in(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_next_attempt_restores_what_was_published(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    write_file(results, "labels/below/1.json", "[]")
    publish(session, results)
    restored(store, tmp_path / "new")
    assert files_in(tmp_path / "new") == {CHECKPOINT: b"one", "labels/below/1.json": b"[]"}


def test_restored_directory_is_claimed_for_the_attempt(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    restored(store, tmp_path / "new")
    run = read_run(tmp_path / "new")
    assert run is not None
    assert (run.experiment_uid, run.attempt, run.fingerprint) == ("uid-1", 2, FINGERPRINT)


def test_restored_files_are_not_uploaded_again(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    again = restored(store, tmp_path / "new")
    write_file(tmp_path / "new", LATER, "two")
    publish(again, tmp_path / "new")
    assert uploaded(store) == [CHECKPOINT, LATER]


def test_files_of_the_last_attempt_are_replaced_by_the_published_ones(
    store: FileStore, session: StepSession, results: Path
) -> None:
    session.restore(None, results)
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    write_file(results, CHECKPOINT, "six")
    write_file(results, LATER, "two")
    restored(store, results)
    assert files_in(results) == {CHECKPOINT: b"one"}


def test_equal_files_are_not_loaded_again(store: FileStore, session: StepSession, results: Path) -> None:
    session.restore(None, results)
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    restored(store, results)
    assert store.requests(FetchFiles) == []


def test_interrupted_restoring_continues(store: FileStore, session: StepSession, results: Path, tmp_path: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    write_result(results)
    publish(session, results)
    again = session_of(store, "bb", attempt=2)
    published = again.claim().published
    fetched = 0

    def stop(request: FenceRequest) -> None:
        nonlocal fetched
        fetched += isinstance(request, FetchFiles)
        if fetched == 2 and isinstance(request, FetchFiles):
            raise TryAgain("the store has failed")

    store.fail = stop
    with pytest.raises(TryAgain):
        again.restore(published, tmp_path / "new")
    assert list(files_in(tmp_path / "new")) == [CHECKPOINT]
    again.restore(published, tmp_path / "new")
    assert [len(request.files) for request in store.requests(FetchFiles)] == [1, 1]  # type: ignore[union-attr]
    assert files_in(tmp_path / "new") == store.contents()


def test_progress_ends_with_all_bytes(store: FileStore, session: StepSession, results: Path, tmp_path: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    write_result(results)
    published = publish(session, results)
    seen: list[tuple[int, int]] = []
    session.restore(published, tmp_path / "new", on_progress=lambda done, total: seen.append((done, total)))
    total = sum(file.size for file in published.files)
    assert seen == [(3, total), (total, total)]


def test_single_file_is_loaded_and_nothing_else_changes(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    write_result(results)
    published = publish(session, results)
    session.restore(published, tmp_path / "new", frozenset({"result.json"}))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["result.json"]


def test_superseded_while_files_are_loaded(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    again = session_of(store, "bb", attempt=2)
    published = again.claim().published
    third = claimed(store, "cc", attempt=3)
    write_file(results, CHECKPOINT, "new")
    publish(third, results)
    with pytest.raises(Superseded):
        again.restore(published, tmp_path / "new")


def test_object_that_is_gone_though_the_pointer_names_it_is_refused(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    published = publish(session, results)
    del store.memory.objects[keys_of(published)[CHECKPOINT]]
    with pytest.raises(InvalidInput, match="doesn't exist"):
        session.restore(published, tmp_path / "new")


def test_edit_and_its_reversal_restore_the_first_results(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    publish(session, results)
    edited = StepSession(store, replace(IDENTITY, attempt=2, fingerprint="f2"), token=B)
    assert edited.claim().published is None
    edited.restore(None, tmp_path / "edited")
    write_file(tmp_path / "edited", CHECKPOINT, "two")
    publish(edited, tmp_path / "edited")
    restored(store, tmp_path / "edited", attempt=3)
    assert files_in(tmp_path / "edited") == {CHECKPOINT: b"one"}


def other_nodes_log(store: FileStore, number: int, *, epoch: int = 1) -> PublishedFile:
    """Return a log that node 1 has uploaded under the claim of the session."""
    key = KEYS.written_once(epoch, "aa", NUMBERS_PER_NODE + number, "log")
    store.memory.put(key, b"log")
    return PublishedFile("logs/attempt-1.node-1.log", key, 3, hashlib.sha256(b"log").hexdigest())


def test_log_of_another_node_is_named_and_not_uploaded(store: FileStore, session: StepSession, results: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    log = other_nodes_log(store, 0)
    snapshot = Snapshots(results, FINGERPRINT).take(session.known)
    assert log in session.publish(snapshot, (log,)).files
    assert store.contents()[log.path] == b"log"
    assert uploaded(store) == [CHECKPOINT]


def test_later_log_of_another_node_replaces_the_named_one(
    store: FileStore, session: StepSession, results: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    for number in range(2):
        log = other_nodes_log(store, number)
        snapshot = Snapshots(results, FINGERPRINT).take(session.known)
        assert [file.key for file in session.publish(snapshot, (log,)).files if file.path == log.path] == [log.key]
    assert uploaded(store) == [CHECKPOINT]


def test_log_of_another_node_of_an_earlier_attempt_stays_named_without_a_copy(store: FileStore, results: Path) -> None:
    first = claimed(store)
    first.restore(None, results)
    write_file(results, CHECKPOINT, "one")
    log = other_nodes_log(store, 0)
    published = first.publish(Snapshots(results, FINGERPRINT).take(first.known), (log,))
    second = claimed(store, B, attempt=2)
    second.restore(published, results, left_out=frozenset({log.path}))
    assert not (results / log.path).exists()
    assert second.publish(Snapshots(results, FINGERPRINT).take(second.known), (log,)) == published


def test_log_under_another_claim_is_never_named(store: FileStore, session: StepSession, results: Path) -> None:
    write_file(results, CHECKPOINT, "one")
    snapshot = Snapshots(results, FINGERPRINT).take(session.known)
    with pytest.raises(ValueError, match="is neither of this process"):
        session.publish(snapshot, (other_nodes_log(store, 0, epoch=2),))


def test_claim_is_named_by_epoch_and_token(store: FileStore) -> None:
    claimed(store)
    assert claimed(store, B, attempt=2).claim_name == ClaimName(2, B)


def test_files_whose_bytes_are_refused_are_not_loaded(
    store: FileStore, session: StepSession, results: Path, tmp_path: Path
) -> None:
    write_file(results, CHECKPOINT, "one")
    write_file(results, LATER, "three")
    publish(session, results)
    again = session_of(store, "bb", attempt=2)
    published = again.claim().published
    sizes: list[int] = []

    def refuse(size: int) -> None:
        sizes.append(size)
        raise WorkspaceFull("the limit is reached")

    with pytest.raises(WorkspaceFull):
        again.restore(published, tmp_path / "new", before_load=refuse)
    assert sizes == [8]
    assert store.requests(FetchFiles) == []
    again.restore(published, tmp_path / "new", before_load=sizes.append)
    assert sizes == [8, 8]
