"""Store of experiments on the stub server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, SCHEMES, Clock, connection_to
from tests.unit.object_store.fence_stores import (
    KEYS,
    fence_store,
    owner,
    pointer,
    published_file,
    published_set,
)
from tests.unit.object_store.stub_server import Answer, Plan, Seen, StubServer, refusal, serving
from tests.unit.object_store.stub_writes import BATCH

from maskrcnn_trainer.errors import InvalidInput, Stopped, TryAgain, WorkspaceFull
from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.fence import untrusted
from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceReply,
    FetchedKeys,
    FetchFiles,
    FoundRecord,
    GetRecord,
    ListedKeys,
    ListKeys,
    PutFiles,
    PutRecord,
    UpdateRecord,
    UploadedKeys,
    WrittenRecord,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.probing import probe_store
from maskrcnn_trainer.object_store.fence.records import ObjectVersion
from maskrcnn_trainer.object_store.fence_store import FenceStore, open_fence_store
from maskrcnn_trainer.object_store.helper_writes import UPLOAD_PART
from maskrcnn_trainer.shared.object_url import ObjectUrl

OWNER = "exp/owner.json"
STORED = "ws/exp/owner.json"


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={}) as server:
        yield server


def writes(server: StubServer) -> list[Seen]:
    return [seen for seen in server.seen if seen.method == "PUT"]


def test_absent_record_is_not_found(server: StubServer, tmp_path: Path) -> None:
    assert fence_store(server, tmp_path).sender()(GetRecord(OWNER)) is FenceReply.NOT_FOUND


@pytest.mark.parametrize("scheme", SCHEMES)
def test_record_is_created_below_the_prefix_and_read(server: StubServer, tmp_path: Path, scheme: str) -> None:
    send = fence_store(server, tmp_path, scheme).sender()
    written = send(CreateRecord(OWNER, owner()))
    found = send(GetRecord(OWNER))
    assert isinstance(written, WrittenRecord)
    assert isinstance(found, FoundRecord)
    assert found.content == owner()
    assert found.version == written.version
    assert found.modified == 1445412480.0  # the server's Last-Modified
    assert server.objects["b"][STORED] == encode_record(owner())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_second_creation_is_refused(server: StubServer, tmp_path: Path, scheme: str) -> None:
    send = fence_store(server, tmp_path, scheme).sender()
    send(CreateRecord(OWNER, owner()))
    assert send(CreateRecord(OWNER, owner("w-2"))) is FenceReply.ALREADY_EXISTS
    assert server.objects["b"][STORED] == encode_record(owner())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_update_from_the_right_version_passes_and_from_a_stale_one_is_refused(
    server: StubServer, tmp_path: Path, scheme: str
) -> None:
    send = fence_store(server, tmp_path, scheme).sender()
    first = send(CreateRecord(OWNER, owner()))
    assert isinstance(first, WrittenRecord)
    second = send(UpdateRecord(OWNER, owner("w-2"), first.version))
    assert isinstance(second, WrittenRecord)
    assert send(UpdateRecord(OWNER, owner("w-3"), first.version)) is FenceReply.PRECONDITION
    assert isinstance(send(UpdateRecord(OWNER, owner("w-4"), second.version)), WrittenRecord)
    assert server.objects["b"][STORED] == encode_record(owner("w-4"))


@pytest.mark.parametrize(
    ("scheme", "reply"),
    [("s3", FenceReply.NOT_FOUND), ("gs", FenceReply.PRECONDITION), ("az", FenceReply.PRECONDITION)],
)
def test_update_of_an_absent_record_is_refused(
    server: StubServer, tmp_path: Path, scheme: str, reply: FenceReply
) -> None:
    send = fence_store(server, tmp_path, scheme).sender()
    assert send(UpdateRecord(OWNER, owner(), ObjectVersion('"x"', "7"))) is reply


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", ""])
def test_409_of_s3_is_a_refusal_and_not_a_failure(server: StubServer, tmp_path: Path, code: str) -> None:
    server.plan = lambda seen: refusal(409, code) if seen.method == "PUT" else None
    send = fence_store(server, tmp_path).sender()
    assert send(CreateRecord(OWNER, owner())) is FenceReply.ALREADY_EXISTS
    assert send(UpdateRecord(OWNER, owner(), ObjectVersion('"x"'))) is FenceReply.ALREADY_EXISTS
    assert len(writes(server)) == 2


def test_lost_answer_of_a_creation_ends_as_a_refusal_with_one_s_own_content(server: StubServer, tmp_path: Path) -> None:
    """Sends the same content again, which rule 4 of the fence resolves; the loss itself is never a success."""
    lost = [True]

    def lose_the_first(seen: Seen) -> Answer | None:
        if seen.method != "PUT" or not lost:
            return None
        lost.clear()
        server.objects["b"][STORED] = seen.body
        return Answer(200, cut=0)

    server.plan = lose_the_first
    send = fence_store(server, tmp_path).sender()
    assert send(CreateRecord(OWNER, owner())) is FenceReply.ALREADY_EXISTS
    found = send(GetRecord(OWNER))
    assert isinstance(found, FoundRecord)
    assert found.content == owner()
    assert len({seen.body for seen in writes(server)}) == 1


def test_write_that_stays_unanswered_is_75(server: StubServer, tmp_path: Path) -> None:
    server.plan = lambda seen: Answer(200, cut=0) if seen.method == "PUT" else None
    with pytest.raises(TryAgain, match="ws/exp/owner.json: writing failed"):
        fence_store(server, tmp_path, policy=AT_ONCE).sender()(CreateRecord(OWNER, owner()))


@pytest.mark.parametrize(
    ("scheme", "answer", "right"),
    [
        ("s3", refusal(403, "AccessDenied"), "s3:PutObject"),
        ("gs", refusal(403, "AccessDenied"), "storage.objects.create"),
        ("az", refusal(403, "AuthorizationPermissionMismatch"), "Storage Blob Data Contributor"),
        ("az", refusal(409, "BlobImmutableDueToPolicy"), "immutability policy"),
        ("az", refusal(412, "LeaseIdMissing"), "lease"),
        ("s3", refusal(404, "NoSuchBucket"), "bucket's name"),
    ],
)
def test_refused_write_is_64_although_reads_were_answered(
    server: StubServer, tmp_path: Path, scheme: str, answer: Answer, right: str
) -> None:
    server.plan = lambda seen: answer if seen.method == "PUT" else None
    server.objects["b"][STORED] = encode_record(owner())
    send = fence_store(server, tmp_path, scheme, policy=AT_ONCE).sender()
    assert isinstance(send(GetRecord(OWNER)), FoundRecord)
    with pytest.raises(InvalidInput, match=right):
        send(UpdateRecord(OWNER, owner(), ObjectVersion('"x"', "7")))


def test_write_that_is_refused_after_another_one_was_allowed_is_64(server: StubServer, tmp_path: Path) -> None:
    send = fence_store(server, tmp_path, policy=AT_ONCE).sender()
    send(CreateRecord(OWNER, owner()))
    server.plan = lambda _: refusal(403, "AccessDenied")
    with pytest.raises(InvalidInput) as error:
        send(CreateRecord("exp/train/run.json", pointer()))
    assert error.value.reason == "StorePermissionDenied"


def test_writes_of_one_record_are_a_second_apart(server: StubServer, tmp_path: Path) -> None:
    clock = Clock()
    send = fence_store(server, tmp_path, clock=clock).sender()
    send(CreateRecord(OWNER, owner()))
    send(CreateRecord(KEYS.pointer, pointer()))
    assert clock.now == 0.0
    send(CreateRecord(OWNER, owner()))
    assert clock.now == 1.0


def test_creation_after_a_refusal_waits_for_a_random_time(server: StubServer, tmp_path: Path) -> None:
    clock = Clock()
    fence_store(server, tmp_path, clock=clock).sender()(CreateRecord(OWNER, owner(), after_jitter=True))
    assert clock.now == 0.5


def test_record_that_is_refused_for_five_minutes_is_given_up(server: StubServer, tmp_path: Path) -> None:
    clock = Clock()
    server.plan = lambda seen: refusal(409, "ConditionalRequestConflict") if seen.method == "PUT" else None
    send = fence_store(server, tmp_path, clock=clock).sender()
    with pytest.raises(TryAgain, match="refused for 300 s"):
        for _ in range(1000):
            assert send(CreateRecord(OWNER, owner())) is FenceReply.ALREADY_EXISTS
            clock.now += 30.0
    assert 300.0 <= clock.now <= 400.0


def test_refusals_far_apart_are_no_series(server: StubServer, tmp_path: Path) -> None:
    clock = Clock()
    server.plan = lambda seen: refusal(409, "ConditionalRequestConflict") if seen.method == "PUT" else None
    send = fence_store(server, tmp_path, clock=clock).sender()
    for _ in range(20):
        assert send(CreateRecord(OWNER, owner())) is FenceReply.ALREADY_EXISTS
        clock.now += 100.0


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"writeId":"w","owner":7,"ownerEpoch":1}', b"\xff"])
def test_damaged_record_is_refused_with_its_url(server: StubServer, tmp_path: Path, content: bytes) -> None:
    server.objects["b"][STORED] = content
    with pytest.raises(InvalidInput, match="^s3://b/ws/exp/owner.json") as caught:
        fence_store(server, tmp_path).sender()(GetRecord(OWNER))
    assert caught.value.exit_code == 64


def test_record_that_is_too_large_is_not_loaded(server: StubServer, tmp_path: Path) -> None:
    endless = Answer(
        200, b"x" * 1000, {"ETag": '"e"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, announced=10**9
    )
    server.plan = lambda _: endless
    with pytest.raises(InvalidInput, match="has 1000000000 bytes; at most 1048576 are expected; remove all objects"):
        fence_store(server, tmp_path).sender()(GetRecord(KEYS.pointer))
    assert len(server.seen) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_large_manifest_is_written_and_read(server: StubServer, tmp_path: Path, scheme: str) -> None:
    files = [published_file(b"x", f"pictures/{number:05}.png", number) for number in range(8000)]
    large = published_set(*files)
    assert len(encode_record(large)) > 1024 * 1024
    send = fence_store(server, tmp_path, scheme).sender()
    key = KEYS.written_once(1, "t", 9999, "manifest.json")
    assert isinstance(send(PutRecord(key, large)), WrittenRecord)
    found = send(GetRecord(key))
    assert isinstance(found, FoundRecord)
    assert found.content == large


def test_manifest_above_its_limit_is_refused(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrusted, "LARGEST_MANIFEST", 2 * 1024 * 1024)
    key = KEYS.written_once(1, "t", 0, "manifest.json")
    server.objects["b"][f"ws/{key}"] = b" " * (3 * 1024 * 1024)
    with pytest.raises(InvalidInput, match="at most 2097152"):
        fence_store(server, tmp_path).sender()(GetRecord(key))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_files_are_uploaded_small_ones_and_ones_of_several_parts(
    server: StubServer, tmp_path: Path, scheme: str
) -> None:
    contents = {"status.json": b"{}", "empty": b"", "models/m.h5": bytes(range(256)) * 81 * 1024}
    assert len(contents["models/m.h5"]) > 2 * UPLOAD_PART
    files = []
    for number, (path, content) in enumerate(contents.items()):
        file = tmp_path / "results" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        files.append(published_file(content, path, number))
    sent: list[int] = []
    send = fence_store(server, tmp_path, scheme).sender(sources=tmp_path / "results", on_bytes=sent.append)
    assert send(PutFiles(tuple(files))) == UploadedKeys(frozenset(file.key for file in files))
    assert {file.path: server.objects["b"][f"ws/{file.key}"] for file in files} == contents
    assert sum(sent) == sum(len(content) for content in contents.values())


def test_file_that_has_changed_since_its_snapshot_is_not_reported_as_uploaded(
    server: StubServer, tmp_path: Path
) -> None:
    (tmp_path / "model.h5").write_bytes(b"new")
    send = fence_store(server, tmp_path).sender(sources=tmp_path)
    with pytest.raises(TryAgain, match="has changed since its SHA-256"):
        send(PutFiles((published_file(b"old"),)))


def test_upload_of_a_link_is_refused(server: StubServer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "model.h5").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        fence_store(server, tmp_path).sender(sources=tmp_path)(PutFiles((published_file(b"x"),)))
    assert not server.objects["b"]


def test_listing_has_keys_below_the_prefix_with_times(server: StubServer, tmp_path: Path) -> None:
    keys = ["exp/train/run.json", "exp/train/o/1-t-0-a", "exp/train2/run.json"]
    server.objects["b"].update({f"ws/{key}": b"x" for key in keys} | {"exp/train/other": b"x"})
    listed = fence_store(server, tmp_path).sender()(ListKeys("exp/train/"))
    assert isinstance(listed, ListedKeys)
    assert listed.complete
    assert {entry.key: entry.modified for entry in listed.entries} == dict.fromkeys(keys[:2], 1445412480.0)


def test_marker_of_the_listed_folder_is_left_out(server: StubServer, tmp_path: Path) -> None:
    server.objects["b"]["ws/exp/train/"] = b""
    assert fence_store(server, tmp_path).sender()(ListKeys("exp/train/")) == ListedKeys(())


def test_listing_without_a_prefix_is_that_of_the_container(server: StubServer, tmp_path: Path) -> None:
    server.objects["b"].update({"exp/owner.json": b"x"})
    listed = fence_store(server, tmp_path, prefix="").sender()(ListKeys(""))
    assert isinstance(listed, ListedKeys)
    assert [entry.key for entry in listed.entries] == ["exp/owner.json"]


def test_listing_with_a_key_that_cannot_be_listed_is_incomplete(server: StubServer, tmp_path: Path) -> None:
    server.objects["b"].update({"ws/exp/train/run.json": b"x", "ws/exp/train//odd": b"x"})
    listed = fence_store(server, tmp_path).sender()(ListKeys("exp/train/"))
    assert isinstance(listed, ListedKeys)
    assert not listed.complete


def test_endless_listing_is_incomplete(server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_trainer.object_store.fence_store.MOST_LISTED", 1500)
    server.objects["b"].update({f"ws/exp/{number:05}": b"x" for number in range(4000)})
    listed = fence_store(server, tmp_path).sender()(ListKeys("exp/"))
    assert isinstance(listed, ListedKeys)
    assert (len(listed.entries), listed.complete) == (1500, False)
    assert len(server.seen) == 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_keys_are_deleted_also_those_that_do_not_exist(server: StubServer, tmp_path: Path, scheme: str) -> None:
    server.objects["b"].update({"ws/exp/a": b"x", "ws/exp/b": b"x", "ws/exp/c": b"x"})
    send = fence_store(server, tmp_path, scheme).sender()
    assert send(DeleteKeys(("exp/a", "exp/none", "exp/c"))) is FenceReply.DELETED
    assert set(server.objects["b"]) == {"ws/exp/b"}


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (403, ""), (409, "ObjectLocked"), (403, "RetentionPolicyNotMet")]
)
def test_refused_deletion_is_forbidden_at_once(server: StubServer, tmp_path: Path, status: int, code: str) -> None:
    server.plan = lambda seen: refusal(status, code) if seen.method == "DELETE" else None
    keys = tuple(f"exp/{number}" for number in range(100))
    assert fence_store(server, tmp_path).sender()(DeleteKeys(keys)) is FenceReply.FORBIDDEN
    assert 16 <= len(server.seen) <= 32


def test_deletion_that_azure_refuses_in_a_batch_is_forbidden(server: StubServer, tmp_path: Path) -> None:
    part = f"--{BATCH}\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\nHTTP/1.1 403 Refused\r\n"
    code = "x-ms-error-code: AuthorizationPermissionMismatch\r\n\r\n"
    headers = {"Content-Type": f"multipart/mixed; boundary={BATCH}"}
    server.plan = lambda _: Answer(202, f"{part}{code}--{BATCH}--\r\n".encode(), headers)
    assert fence_store(server, tmp_path, "az").sender()(DeleteKeys(("exp/a",))) is FenceReply.FORBIDDEN


def test_one_protected_key_does_not_keep_the_others(server: StubServer, tmp_path: Path) -> None:
    keys = [f"exp/{number:02}" for number in range(60)]
    server.objects["b"].update({f"ws/{key}": b"x" for key in keys})
    server.plan = lambda seen: refusal(403, "AccessDenied") if seen.path.endswith("/00") else None
    assert fence_store(server, tmp_path).sender()(DeleteKeys(tuple(keys))) is FenceReply.FORBIDDEN
    assert set(server.objects["b"]) == {"ws/exp/00"}


def test_deletion_by_an_identity_that_has_expired_is_no_lack_of_permission(server: StubServer, tmp_path: Path) -> None:
    server.plan = lambda _: refusal(403, "ExpiredToken")
    with pytest.raises(InvalidInput, match="renew"):
        fence_store(server, tmp_path, policy=AT_ONCE).sender()(DeleteKeys(("exp/a",)))


def test_files_are_fetched(server: StubServer, tmp_path: Path) -> None:
    file = published_file(b"content", "models/m.h5")
    server.objects["b"][f"ws/{file.key}"] = b"content"
    send = fence_store(server, tmp_path).sender(into=tmp_path)
    gone = published_file(b"gone", "gone", 1)
    assert send(FetchFiles((file, gone))) == FetchedKeys(frozenset({file.key}))
    assert (tmp_path / "models/m.h5").read_bytes() == b"content"


def test_full_disk_is_70(server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maskrcnn_trainer.object_store.fence_store.fetch_verified", full)
    with pytest.raises(WorkspaceFull):
        fence_store(server, tmp_path).sender(into=tmp_path)(FetchFiles((published_file(b"x"),)))


def test_stop_ends_a_write_that_is_tried_again(server: StubServer, tmp_path: Path) -> None:
    server.plan = lambda _: refusal(503, "SlowDown")
    with pytest.raises(Stopped):
        fence_store(server, tmp_path, stop=lambda: len(server.seen) > 2).sender()(CreateRecord(OWNER, owner()))


def test_requests_for_files_need_a_directory(server: StubServer, tmp_path: Path) -> None:
    send = fence_store(server, tmp_path).sender()
    with pytest.raises(ValueError, match="sources"):
        send(PutFiles((published_file(b"x"),)))
    with pytest.raises(ValueError, match="into"):
        send(FetchFiles((published_file(b"x"),)))


def test_link_names_the_object_and_its_time(server: StubServer, tmp_path: Path) -> None:
    link = fence_store(server, tmp_path).link("exp/train/o/1-t-0-a", 3600)
    assert link.startswith(f"{server.url}/b/ws/exp/train/o/1-t-0-a?")
    assert "X-Amz-Expires=3600" in link


def test_link_by_an_identity_that_cannot_sign_is_64(server: StubServer, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="use the account's key"):
        fence_store(server, tmp_path, "az").link("exp/a", 3600)


def test_store_is_opened_at_a_url() -> None:
    with open_fence_store(ObjectUrl("s3", "b", "ws"), (), {}) as store:
        assert store.url == "s3://b/ws"


def test_environment_cannot_turn_conditions_off(server: StubServer, tmp_path: Path) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_CONDITIONAL_PUT": "disabled",
        "AWS_DISABLE_BULK_DELETE": "false",
    }
    connection = connection_to(server, tmp_path, secret_dir=None, environment=environment)
    with StoreClient(connection, policy=AT_ONCE) as client:
        send = FenceStore(client, "ws").sender()
        assert isinstance(send(CreateRecord(OWNER, owner())), WrittenRecord)
        assert send(CreateRecord(OWNER, owner("w-2"))) is FenceReply.ALREADY_EXISTS
        assert send(DeleteKeys((OWNER,))) is FenceReply.DELETED
    assert [seen.method for seen in server.seen] == ["PUT", "PUT", "DELETE"]


def without_condition(name: str, answer: Answer) -> Plan:
    """Return a plan of a store that lacks writes with a condition of a header."""
    return lambda seen: answer if seen.method == "PUT" and name in seen.headers else None


@pytest.mark.parametrize("answer", [refusal(501, "NotImplemented"), refusal(400, "InvalidArgument"), Answer(501)])
@pytest.mark.parametrize("name", ["if-none-match", "if-match"])
def test_store_that_refuses_conditions_is_found_by_the_probe_at_once(
    server: StubServer, tmp_path: Path, name: str, answer: Answer
) -> None:
    server.plan = without_condition(name, answer)
    send = fence_store(server, tmp_path).sender()
    with pytest.raises(InvalidInput, match="^s3://b/ws can't hold results: the store refuses a conditional") as error:
        run_decision(probe_store("exp/", "t"), send)
    assert error.value.reason == "ConditionalWritesMissing"
    assert len(writes(server)) <= 4


def test_object_of_the_trial_is_deleted(server: StubServer, tmp_path: Path) -> None:
    server.plan = without_condition("if-none-match", refusal(501, "NotImplemented"))
    with pytest.raises(InvalidInput):
        fence_store(server, tmp_path).sender()(CreateRecord("exp/probe-t-0", b"x"))
    assert server.objects["b"] == {}


def test_store_of_results_that_moved_to_one_without_conditions_is_found(server: StubServer, tmp_path: Path) -> None:
    server.plan = without_condition("if-match", refusal(501, "NotImplemented"))
    server.objects["b"][STORED] = encode_record(owner())
    with pytest.raises(InvalidInput) as error:
        fence_store(server, tmp_path).sender()(UpdateRecord(OWNER, owner("w-2"), ObjectVersion('"x"')))
    assert error.value.reason == "ConditionalWritesMissing"


def test_store_that_refuses_every_write_is_not_one_without_conditions(server: StubServer, tmp_path: Path) -> None:
    server.plan = lambda seen: refusal(400, "InvalidRequest") if seen.method == "PUT" else None
    with pytest.raises(InvalidInput) as error:
        fence_store(server, tmp_path).sender()(CreateRecord("exp/probe-t-0", b"x"))
    assert error.value.reason == "StoreRefused"
