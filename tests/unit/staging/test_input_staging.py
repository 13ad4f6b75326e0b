"""Inputs by URL become files that a task finds: loaded once, with what changes, is absent, or doesn't fit."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.object_store.clients import secret_in
from tests.unit.object_store.stub_server import StubServer, serving

from maskrcnn_trainer.errors import CacheFull, InvalidInput, Stopped, TryAgain
from maskrcnn_trainer.shared.variables import STAGED_INPUTS_VARIABLE
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.spelling import as_written
from maskrcnn_trainer.staging.cache_owner import CacheOwner
from maskrcnn_trainer.staging.input_staging import InputStaging, StagingSettings
from maskrcnn_trainer.staging.object_cache import ObjectCache
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.task.staged_inputs import staged_inputs, staged_path, use_inputs_of_parent

OBJECTS = {"models/m.tlt": b"m" * 500, "records/t-0": b"0" * 300, "records/t-1": b"1" * 300, "records/v-0": b"v" * 100}
MODEL = UrlInput("s3://b/models/m.tlt", InputKind.FILE, "-m")
TRAINING = UrlInput("s3://b/records/t-*", InputKind.PATTERNS, "trainingFilePattern")


class Silent:
    """Display that records what it shows."""

    def __init__(self) -> None:
        self.begun: list[dict[str, int]] = []
        self.bytes = 0
        self.files = 0
        self.waits: list[str] = []
        self.corrections: list[int] = []

    def listed(self, url: str) -> None:
        pass

    def begin(self, files: int, size: int, *, files_to_load: int, bytes_to_load: int) -> None:
        self.begun.append({"files": files, "size": size, "files_to_load": files_to_load, "bytes": bytes_to_load})

    def loaded(self, size: int) -> None:
        self.bytes += size

    def whole(self) -> None:
        self.files += 1

    def correct(self, size: int) -> None:
        self.corrections.append(size)

    def waiting(self, sentence: str) -> None:
        self.waits.append(sentence)

    def end(self) -> None:
        pass


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b=dict(OBJECTS)) as started:
        yield started


def settings_of(server: StubServer, directory: Path, **changes: Any) -> StagingSettings:
    store = ObjectStoreSpec(
        prefix="s3://b",
        endpoint=server.url,
        allow_http=True,
        secret_dir=str(secret_in(directory / "secret", "s3")),
    )
    return StagingSettings(**{"stores": (store,), "cache": directory / "cache", "environment": {}, **changes})


def test_task_finds_files_at_the_paths_of_its_urls(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging:
        staging.stage([MODEL, TRAINING])
        model = Path(staged_path(MODEL.written))
        assert (model.name, model.read_bytes()) == ("m.tlt", OBJECTS["models/m.tlt"])
        pattern = Path(staged_path(TRAINING.written))
        assert sorted(path.name for path in pattern.parent.glob(pattern.name)) == ["t-0", "t-1"]
        assert not (pattern.parent / "v-0").exists()


def test_messages_name_the_urls(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging:
        staging.stage([MODEL, TRAINING])
        model, pattern = staged_path(MODEL.written), staged_path(TRAINING.written)
        assert as_written(f"{model}: damaged") == "s3://b/models/m.tlt: damaged"
        assert as_written(f"{pattern} and {Path(pattern).parent}/t-0") == "s3://b/records/t-* and s3://b/records/t-0"
        assert as_written(f"{Path(model).parent}x") == f"{Path(model).parent}x"
    assert as_written(model) == model


def test_second_task_loads_nothing(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging:
        staging.stage([MODEL])
    display, reads = Silent(), len(server.reads("models/m.tlt"))
    with InputStaging(settings_of(server, tmp_path), display) as staging:
        staging.stage([MODEL])
        assert Path(staged_path(MODEL.written)).read_bytes() == OBJECTS["models/m.tlt"]
    assert display.begun == [{"files": 1, "size": 500, "files_to_load": 0, "bytes": 0}]
    assert len([seen for seen in server.reads("models/m.tlt") if seen.method == "GET"]) <= reads


def test_same_object_of_two_inputs_is_loaded_once(server: StubServer, tmp_path: Path) -> None:
    display = Silent()
    folder = UrlInput("s3://b/records", InputKind.DIRECTORY, "-i")
    with InputStaging(settings_of(server, tmp_path), display) as staging:
        staging.stage([folder, TRAINING])
        assert Path(staged_path(folder.written), "t-0").read_bytes() == OBJECTS["records/t-0"]
        assert Path(staged_path(TRAINING.written)).with_name("t-0").read_bytes() == OBJECTS["records/t-0"]
    assert display.bytes == 700


def test_result_has_the_objects_of_each_url(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging:
        staging.stage([MODEL])
        staging.stage([TRAINING])
        summaries = staged_inputs().summaries
        assert {url: (found["objects"], found["bytes"]) for url, found in summaries.items()} == {
            MODEL.written: (1, 500),
            TRAINING.written: (2, 600),
        }
        listed = json.loads(gzip.decompress(Path(staged_inputs().list_file).read_bytes()))
        assert [one["key"] for one in listed[TRAINING.written]] == ["records/t-0", "records/t-1"]


def test_process_that_is_started_finds_the_same_files(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging:
        staging.stage([MODEL])
        found = staged_path(MODEL.written)
        use_inputs_of_parent()
        assert staged_path(MODEL.written) == found
    assert STAGED_INPUTS_VARIABLE not in os.environ
    assert staged_path(MODEL.written) == MODEL.written


def test_copies_are_gone_after_the_task_and_the_cache_keeps_the_objects(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging:
        staging.stage([MODEL])
        path = Path(staged_path(MODEL.written))
    assert not path.exists()
    assert len(list((tmp_path / "cache" / "objects").glob("*/*"))) == 1
    assert not list((tmp_path / "cache" / "owners").iterdir())


def test_absent_object_is_refused_by_field_and_url(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging, pytest.raises(InvalidInput) as refusal:
        staging.stage([UrlInput("s3://b/models/other.tlt", InputKind.FILE, "-m")])
    assert str(refusal.value).startswith("-m: s3://b/models/other.tlt does not exist")


def test_object_that_changes_while_it_is_read_is_loaded_again(server: StubServer, tmp_path: Path) -> None:
    display = Silent()
    staging = InputStaging(settings_of(server, tmp_path), display)

    def change(*_: Any, **__: Any) -> None:
        server.objects["b"]["models/m.tlt"] = b"n" * 400

    display.begin = change  # type: ignore[method-assign]
    with staging:
        staging.stage([MODEL])
        assert Path(staged_path(MODEL.written)).read_bytes() == b"n" * 400
        assert staged_inputs().summaries[MODEL.written]["bytes"] == 400
    assert any("s3://b/models/m.tlt has changed" in wait for wait in display.waits)
    assert display.corrections == [400]


def test_object_that_is_deleted_after_it_was_listed_ends_the_attempt(server: StubServer, tmp_path: Path) -> None:
    display = Silent()
    display.begin = lambda *_, **__: server.objects["b"].pop("models/m.tlt")  # type: ignore[assignment]
    with InputStaging(settings_of(server, tmp_path), display) as staging, pytest.raises(TryAgain) as ended:
        staging.stage([MODEL])
    assert (ended.value.reason, "s3://b/models/m.tlt" in str(ended.value)) == ("InputChanged", True)


def test_inputs_that_do_not_fit_into_the_limit_are_refused_before_anything_is_loaded(
    server: StubServer, tmp_path: Path
) -> None:
    settings = settings_of(server, tmp_path, limit=550)
    with InputStaging(settings, Silent()) as staging, pytest.raises(CacheFull, match="500 bytes.*495"):
        staging.stage([MODEL])
    assert not [seen for seen in server.reads("models/m.tlt") if seen.method == "GET"]


def test_full_disk_of_the_cache_is_reported_as_a_full_cache(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/objects/x")

    monkeypatch.setattr(ObjectCache, "stage", full)
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging, pytest.raises(CacheFull) as ended:
        staging.stage([MODEL])
    assert (ended.value.exit_code, ended.value.reason) == (70, "CacheFull")
    assert str(ended.value).startswith(f"the cache {tmp_path / 'cache'}: no space left")


def test_objects_used_least_recently_make_room(server: StubServer, tmp_path: Path) -> None:
    for limit, given in ((10_000, TRAINING), (10_000, MODEL), (1_000, MODEL)):
        with InputStaging(settings_of(server, tmp_path, limit=limit), Silent()) as staging:
            staging.stage([given])
    with InputStaging(settings_of(server, tmp_path, limit=1_000), Silent()) as staging:
        staging.stage([UrlInput("s3://b/records/v-0", InputKind.FILE, "-a")])
    sizes = sorted(path.stat().st_size for path in (tmp_path / "cache" / "objects").glob("*/*"))
    assert sizes == [100, 300, 500]


def test_object_that_another_process_loads_is_awaited(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(server, tmp_path)
    display = Silent()
    with CacheOwner(tmp_path / "cache") as owner:
        other = ObjectCache(tmp_path / "cache", owner)
        display.begin = lambda *_, **__: [other.claim(name) for name in names]  # type: ignore[assignment]
        names: list[str] = []
        with InputStaging(settings, Silent()) as staging:
            staging.stage([MODEL])
        (whole,) = (tmp_path / "cache" / "objects").glob("*/*")
        names.append(whole.name)
        other.remove(whole.name)

        def finish(_: float) -> None:
            other.partial(whole.name).write_bytes(OBJECTS["models/m.tlt"])
            other.complete(whole.name)

        monkeypatch.setattr("maskrcnn_trainer.staging.input_staging.time.sleep", finish)
        with InputStaging(settings, display) as staging:
            staging.stage([MODEL])
            assert Path(staged_path(MODEL.written)).read_bytes() == OBJECTS["models/m.tlt"]
    assert display.bytes == 0
    assert "another process loads 1" in display.waits[0]
    assert (display.corrections, display.files) == ([-500], 1)


def test_object_that_changes_between_two_listings_is_staged_in_its_last_form(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    display = Silent()

    def listed(url: str) -> None:
        if url == TRAINING.written:
            server.objects["b"]["records/t-0"] = b"n" * 200

    display.listed = listed  # type: ignore[method-assign]
    folder = UrlInput("s3://b/records", InputKind.DIRECTORY, "-i")
    with InputStaging(settings_of(server, tmp_path), display) as staging:
        staging.stage([folder, TRAINING])
        assert Path(staged_path(folder.written), "t-0").read_bytes() == b"n" * 200
        assert Path(staged_path(TRAINING.written)).with_name("t-0").read_bytes() == b"n" * 200


def test_cache_without_hard_links_is_refused(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with InputStaging(settings_of(server, tmp_path), Silent()) as staging, pytest.raises(InvalidInput) as refusal:
        staging.stage([MODEL])
    assert str(refusal.value).startswith(f"--cache {tmp_path}/cache: its file system has no hard links")


def test_stop_ends_a_staging(server: StubServer, tmp_path: Path) -> None:
    with InputStaging(settings_of(server, tmp_path), Silent(), stop=lambda: True) as staging, pytest.raises(Stopped):
        staging.stage([MODEL])
