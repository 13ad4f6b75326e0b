"""Store of experiments on real servers: conditional writes, races, uploads in parts, losses, and refusals."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.object_storage.conftest import ONE_OF_EACH_SCHEME, GetServer
from tests.object_storage.proxy import Answer, Fault, FaultProxy, Request
from tests.object_storage.servers import account_sas
from tests.object_storage.user_stores import UserStore
from tests.unit.object_store.clients import AT_ONCE
from tests.unit.object_store.fence_stores import KEYS, owner, pointer, published_file, published_set

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.exchange import StoreRequest
from maskrcnn_trainer.object_store.fence.claiming import AlreadyDone, ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.cleaning import CleanedStep, clean_step
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
    UpdateRecord,
    UploadedKeys,
    WrittenRecord,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, StepHolder, publish
from maskrcnn_trainer.object_store.fence.ownership import OwnedPrefix, OwnershipTerms, own_prefix
from maskrcnn_trainer.object_store.fence.probing import ProbedStore, probe_store
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    OwnerIdentity,
    PublishedFile,
    PublishedSet,
    StepPointer,
)
from maskrcnn_trainer.object_store.fence.result_reading import ReadResults, ReadTerms, read_results
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set
from maskrcnn_trainer.object_store.fence_store import FenceStore
from maskrcnn_trainer.object_store.helper_writes import UPLOAD_PART
from maskrcnn_trainer.object_store.writing import create_request, update_request

OWNER = KEYS.owner
RACERS = 16
SERVERS_FOR_RACES = ("versitygw", "azurite", "gcs")
"""All but moto, which compares and writes without a lock, so that two writers can win."""
MEGABYTE = 1024 * 1024
InFrontOf = Callable[..., FaultProxy]


@contextmanager
def opened(store: UserStore, proxy: FaultProxy | None = None, **options: Any) -> Iterator[FenceStore]:
    """Open the store of experiments below a prefix of a container; writes aren't a second apart."""
    with store.client(proxy, **options) as client:
        yield FenceStore(client, "ws", pause=lambda _: None)


def new_store(get_server: GetServer, name: str, directory: Path) -> UserStore:
    """Return a new container of a server."""
    server = get_server(name)
    return UserStore(server, server.new_container(), directory)


def files_in(directory: Path, contents: dict[str, bytes]) -> tuple[PublishedFile, ...]:
    """Write files, and return their records."""
    for path, content in contents.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tuple(published_file(content, path, n) for n, (path, content) in enumerate(contents.items()))


def test_create_and_update_are_conditional(store: UserStore) -> None:
    with opened(store) as fence:
        send = fence.sender()
        assert send(GetRecord(OWNER)) is FenceReply.NOT_FOUND
        first = send(CreateRecord(OWNER, owner()))
        assert isinstance(first, WrittenRecord)
        assert send(CreateRecord(OWNER, owner("w-2"))) is FenceReply.ALREADY_EXISTS
        second = send(UpdateRecord(OWNER, owner("w-3"), first.version))
        assert isinstance(second, WrittenRecord)
        assert send(UpdateRecord(OWNER, owner("w-4"), first.version)) is FenceReply.PRECONDITION
        found = send(GetRecord(OWNER))
        assert isinstance(found, FoundRecord)
        assert (found.content, found.version) == (owner("w-3"), second.version)
        assert isinstance(send(UpdateRecord(OWNER, owner("w-5"), found.version)), WrittenRecord)


def test_update_of_an_absent_record_is_refused(store: UserStore) -> None:
    with opened(store) as fence:
        send = fence.sender()
        written = send(CreateRecord(OWNER, owner()))
        assert isinstance(written, WrittenRecord)
        assert send(DeleteKeys((OWNER,))) is FenceReply.DELETED
        answer = send(UpdateRecord(OWNER, owner("w-2"), written.version))
        assert answer in (FenceReply.NOT_FOUND, FenceReply.PRECONDITION)
        assert send(GetRecord(OWNER)) is FenceReply.NOT_FOUND


def test_probe_finds_the_store_able(store: UserStore) -> None:
    with opened(store) as fence:
        assert run_decision(probe_store("exp/", "t"), fence.sender()) == ProbedStore()
        assert fence.sender()(ListKeys("exp/")) == ListedKeys(())


def test_times_of_a_listing_are_those_of_a_read(store: UserStore) -> None:
    with opened(store) as fence:
        send = fence.sender()
        send(CreateRecord(KEYS.pointer, pointer()))
        found, listed = send(GetRecord(KEYS.pointer)), send(ListKeys(KEYS.prefix))
        assert isinstance(found, FoundRecord)
        assert isinstance(listed, ListedKeys)
        # a listing of S3 has milliseconds, which the header of a read has not
        assert [int(entry.modified) for entry in listed.entries] == [int(found.modified)]


def winners(store: UserStore, requests: Iterable[StoreRequest]) -> int:
    """Send requests at once, and return the number of those that were carried out."""
    with store.client(options={"concurrency": RACERS}) as client:
        answers = [answer for _, answer in client._exchange.run(iter(requests))]
    assert len(answers) == RACERS
    return sum(isinstance(answer, dict) for answer in answers)


@pytest.mark.parametrize("server", SERVERS_FOR_RACES, indirect=True)
@pytest.mark.parametrize("key", [f"race/{number}" for number in range(3)])
def test_one_of_sixteen_creators_wins(store: UserStore, key: str) -> None:
    contents = [f"creator {number}".encode() for number in range(RACERS)]
    assert winners(store, [create_request(key, content, store.server.scheme) for content in contents]) == 1


@pytest.mark.parametrize("server", SERVERS_FOR_RACES, indirect=True)
@pytest.mark.parametrize("key", [f"race/{number}" for number in range(3)])
def test_one_of_sixteen_updaters_wins(store: UserStore, key: str) -> None:
    with store.client() as client:
        version = client.overwrite(key, b"before")
    contents = [f"updater {number}".encode() for number in range(RACERS)]
    requests = [update_request(key, content, version, store.server.scheme) for content in contents]
    assert winners(store, requests) == 1


def test_files_are_uploaded_and_fetched(store: UserStore, tmp_path: Path) -> None:
    contents = {"status.json": b"{}", "empty": b"", "models/m.h5": secrets.token_bytes(2 * UPLOAD_PART + 1000)}
    files = files_in(tmp_path / "from", contents)
    (tmp_path / "to").mkdir()
    with opened(store) as fence:
        send = fence.sender(sources=tmp_path / "from", into=tmp_path / "to")
        keys = frozenset(file.key for file in files)
        assert send(PutFiles(files)) == UploadedKeys(keys)
        assert send(FetchFiles(files)) == FetchedKeys(keys)
    assert {path: (tmp_path / "to" / path).read_bytes() for path in contents} == contents


def test_helper_that_uploads_350_mb_stays_below_200_mb(get_server: GetServer, tmp_path: Path) -> None:
    store = new_store(get_server, "versitygw", tmp_path)
    digest, piece = sha256(), secrets.token_bytes(MEGABYTE)
    with (tmp_path / "large").open("wb") as file:
        for _ in range(350):
            digest.update(piece)
            file.write(piece)
    large = PublishedFile("large", KEYS.written_once(1, "t", 99, "large"), 350 * MEGABYTE, digest.hexdigest())
    small = files_in(tmp_path, {f"small/{number}": piece for number in range(64)})
    with store.client() as client:
        FenceStore(client, "ws").sender(sources=tmp_path)(PutFiles((large, *small)))
        status = Path(f"/proc/{client.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    assert peak * 1024 < 200e6


def test_keys_that_do_not_exist_are_deleted_like_others(store: UserStore) -> None:
    store.server.fill(store.container, {"ws/exp/a": b"x", "ws/exp/b": b"x"})
    with opened(store) as fence:
        send = fence.sender()
        assert send(DeleteKeys(("exp/a", "exp/none"))) is FenceReply.DELETED
        listed = send(ListKeys("exp/"))
    assert isinstance(listed, ListedKeys)
    assert [entry.key for entry in listed.entries] == ["exp/b"]


@pytest.mark.parametrize("name", ["moto", "gcs"])
def test_listing_with_a_key_that_cannot_be_listed_is_incomplete(
    get_server: GetServer, tmp_path: Path, name: str
) -> None:
    store = new_store(get_server, name, tmp_path)
    assert store.server.put_raw
    store.server.put_raw(store.container, "ws/exp/train//x", b"x")
    with opened(store) as fence:
        listed = fence.sender()(ListKeys("exp/train/"))
    assert isinstance(listed, ListedKeys)
    assert not listed.complete


def test_link_reads_the_object_without_a_key(store: UserStore) -> None:
    store.server.fill(store.container, {"ws/exp/a": b"content"})
    with opened(store) as fence:
        parts = urlsplit(fence.link("exp/a", 3600))
    if store.server.scheme == "gs":  # the stub knows no signatures
        assert "X-Goog-Expires=3600" in parts.query
        return
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("GET", f"{parts.path}?{parts.query}")
    assert connection.getresponse().read() == b"content"
    connection.close()


def test_identity_that_may_only_read_is_refused(get_server: GetServer, tmp_path: Path) -> None:
    store = new_store(get_server, "azurite", tmp_path)
    store.server.fill(store.container, {"ws/exp/a": b"x"})
    sas = account_sas(store.server.secret["AZURE_STORAGE_ACCOUNT_KEY"], "rl")
    with opened(store, secret={"AZURE_STORAGE_SAS_TOKEN": sas}, options={"policy": AT_ONCE}) as fence:
        send = fence.sender()
        assert send(GetRecord(OWNER)) is FenceReply.NOT_FOUND
        with pytest.raises(InvalidInput, match="Storage Blob Data Contributor"):
            send(CreateRecord(OWNER, owner()))
        with pytest.raises(InvalidInput, match="use the account's key"):
            fence.link("exp/a", 3600)


def terms(token: str, attempt: int = 0) -> ClaimTerms:
    """Return the terms of an attempt."""
    return ClaimTerms(KEYS, AttemptOrder(1, "2026-01-31T12:00:00Z", "u", attempt), "f", token)


def claimed(fence: FenceStore, token: str, attempt: int = 0) -> StepHolder:
    """Claim the step."""
    outcome = run_decision(claim_step(terms(token, attempt)), fence.sender())
    assert isinstance(outcome, ClaimedStep)
    return outcome.holder


def uploaded(fence: FenceStore, holder: StepHolder, directory: Path, contents: dict[str, bytes]) -> UploadedSet:
    """Upload a set with its manifest."""
    published = published_set(*files_in(directory, contents))
    names = UploadNames(KEYS, holder.pointer.epoch, holder.pointer.token, holder.writes * 1000)
    outcome = run_decision(upload_set(names, published, contents), fence.sender(sources=directory))
    assert isinstance(outcome, UploadedSet)
    return outcome


def published_by(fence: FenceStore, holder: StepHolder, uploads: UploadedSet) -> StepHolder:
    """Publish a set that was uploaded."""
    outcome = run_decision(publish(holder, uploads.slot, uploads.published), fence.sender())
    assert isinstance(outcome, HeldOutcome)
    return outcome.holder


def test_claim_publish_read_and_clean(store: UserStore, tmp_path: Path) -> None:
    with opened(store) as fence:
        terms_of_owner = OwnershipTerms("exp", OwnerIdentity("id", "", "exp"), "t0", store="conditional-writes")
        assert isinstance(run_decision(own_prefix(terms_of_owner), fence.sender()), OwnedPrefix)
        holder = claimed(fence, "t1")
        first = uploaded(fence, holder, tmp_path / "1", {"models/m": b"1"})
        holder = published_by(fence, holder, first)
        second = uploaded(fence, holder, tmp_path / "2", {"models/m": b"2", "result.json": b"{}"})
        holder = published_by(fence, holder, second)
        (tmp_path / "into").mkdir()
        read = run_decision(read_results(ReadTerms(KEYS, "f")), fence.sender(into=tmp_path / "into"))
        assert read == ReadResults(second.published)
        assert (tmp_path / "into/models/m").read_bytes() == b"2"
        cleaned = run_decision(clean_step(holder, seconds=0.0), fence.sender())
        assert isinstance(cleaned, CleanedStep)
        assert set(cleaned.holder.pointer.garbage) == {first.slot.manifest, first.published.files[0].key}
        cleaned = run_decision(clean_step(cleaned.holder, seconds=0.0), fence.sender())
        assert isinstance(cleaned, CleanedStep)
        assert cleaned.holder.pointer.garbage == ()


def writes_of(name: str) -> Callable[[Request], bool]:
    """Return whether a request writes an object with an end of its key."""
    return lambda request: request.method in ("PUT", "POST") and request.key.endswith(name)


@pytest.fixture(params=ONE_OF_EACH_SCHEME)
def lossy(request: pytest.FixtureRequest, get_server: GetServer, tmp_path: Path) -> UserStore:
    """Return a new container of a server of each scheme."""
    return new_store(get_server, request.param, tmp_path)


@pytest.mark.parametrize("losses", [1, 3])
def test_claim_whose_answers_are_lost_is_in_effect(lossy: UserStore, in_front_of: InFrontOf, losses: int) -> None:
    proxy = in_front_of(lossy)
    with opened(lossy, proxy) as fence:
        proxy.faults = [Fault(writes_of("run.json"), times=losses, lost=True)]
        holder = claimed(fence, "t1")
        found = fence.sender()(GetRecord(KEYS.pointer))
    assert isinstance(found, FoundRecord)
    assert (found.content, found.version) == (holder.pointer, holder.version)
    assert len([one for one in proxy.passed if writes_of("run.json")(one.request)]) == losses + 1


@pytest.mark.parametrize("status", [409, 503])
def test_claim_that_is_refused_for_a_moment_is_in_effect(lossy: UserStore, in_front_of: InFrontOf, status: int) -> None:
    proxy = in_front_of(lossy)
    with opened(lossy, proxy) as fence:
        proxy.faults = [Fault(writes_of("run.json"), times=3, answer=Answer(status))]
        holder = claimed(fence, "t1")
        found = fence.sender()(GetRecord(KEYS.pointer))
    assert isinstance(found, FoundRecord)
    assert (found.content, found.version) == (holder.pointer, holder.version)


def test_publish_whose_answers_are_lost_is_in_effect(lossy: UserStore, in_front_of: InFrontOf, tmp_path: Path) -> None:
    proxy = in_front_of(lossy)
    with opened(lossy, proxy) as fence:
        holder = claimed(fence, "t1")
        proxy.faults = [Fault(writes_of("run.json"), lost=True), Fault(writes_of("manifest.json"), lost=True)]
        uploads = uploaded(fence, holder, tmp_path / "results", {"models/m": b"1", "result.json": b"{}"})
        holder = published_by(fence, holder, uploads)
        found = fence.sender()(GetRecord(KEYS.pointer))
        assert isinstance(found, FoundRecord)
        assert (found.content, found.version) == (holder.pointer, holder.version)
        assert isinstance(found.content, StepPointer)
        assert found.content.current == FingerprintSlot("f", uploads.slot.manifest)
    assert all(fault.times == 0 for fault in proxy.faults)


def test_claim_that_was_overtaken_while_its_answer_was_lost_is_no_success(
    lossy: UserStore, in_front_of: InFrontOf
) -> None:
    """A later attempt replaces the pointer between the write and its repetition."""
    proxy = in_front_of(lossy)
    with opened(lossy, proxy) as late, opened(lossy) as other:
        claimed(other, "t0")
        taken: list[StepHolder] = []
        lost = Fault(writes_of("run.json"), lost=True)
        overtaken = Fault(writes_of("run.json"), before=lambda _: taken.append(claimed(other, "t2", attempt=2)))
        proxy.faults = [lost, overtaken]
        outcome = run_decision(claim_step(terms("t1", attempt=1)), late.sender())
        found = other.sender()(GetRecord(KEYS.pointer))
    assert not isinstance(outcome, ClaimedStep | AlreadyDone)
    assert isinstance(found, FoundRecord)
    assert found.content == taken[0].pointer


def test_upload_in_parts_survives_lost_answers(lossy: UserStore, in_front_of: InFrontOf, tmp_path: Path) -> None:
    proxy = in_front_of(lossy)
    content = secrets.token_bytes(3 * UPLOAD_PART)
    files = files_in(tmp_path / "from", {"m.h5": content})
    (tmp_path / "to").mkdir()
    sent: list[int] = []
    with opened(lossy, proxy) as fence:
        proxy.faults = [Fault(writes_of("m.h5"), times=2, lost=True)]
        send = fence.sender(sources=tmp_path / "from", into=tmp_path / "to", on_bytes=sent.append)
        assert send(PutFiles(files)) == UploadedKeys(frozenset({files[0].key}))
        assert sum(sent) == len(content)
        send(FetchFiles(files))
    assert (tmp_path / "to/m.h5").read_bytes() == content


def test_deletion_whose_answers_are_lost_is_in_effect(lossy: UserStore, in_front_of: InFrontOf) -> None:
    lossy.server.fill(lossy.container, {"ws/exp/a": b"x", "ws/exp/b": b"x"})
    proxy = in_front_of(lossy)
    with opened(lossy, proxy) as fence:
        proxy.faults = [Fault(lambda request: request.method in ("DELETE", "POST"), times=3, lost=True)]
        assert fence.sender()(DeleteKeys(("exp/a", "exp/b"))) is FenceReply.DELETED
        assert fence.sender()(ListKeys("exp/")) == ListedKeys(())


def completes(request: Request) -> bool:
    """Return whether a request makes an object of its parts."""
    return request.query.get("comp") == "blocklist" or (request.method == "POST" and "uploadId" in request.query)


@pytest.mark.parametrize("losses", [1, 8])
def test_upload_whose_completion_has_no_answer_is_completed_or_repeated(
    lossy: UserStore, in_front_of: InFrontOf, tmp_path: Path, losses: int
) -> None:
    proxy = in_front_of(lossy)
    files = files_in(tmp_path, {"m.h5": secrets.token_bytes(UPLOAD_PART + 1)})
    with opened(lossy, proxy) as fence:
        proxy.faults = [Fault(completes, times=losses, lost=True)]
        assert fence.sender(sources=tmp_path)(PutFiles(files)) == UploadedKeys(frozenset({files[0].key}))
    assert proxy.faults[0].times == 0


def test_manifest_of_thousands_of_files_is_written_and_read(store: UserStore) -> None:
    files = [published_file(b"x", f"pictures/{number:05}.png", number) for number in range(8000)]
    large = PublishedSet("f", tuple(files))
    with opened(store) as fence:
        holder = claimed(fence, "t1")
        names = UploadNames(KEYS, holder.pointer.epoch, holder.pointer.token)
        outcome = run_decision(upload_set(names, large, ()), fence.sender())
        assert isinstance(outcome, UploadedSet)
        found = fence.sender()(GetRecord(outcome.slot.manifest))
    assert isinstance(found, FoundRecord)
    assert found.content == large
