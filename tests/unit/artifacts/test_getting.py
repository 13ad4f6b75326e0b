"""Tests of loading results: places, verification, resumption, and hostile paths."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.artifacts.bucket import Bucket, attempt, own

from maskrcnn_trainer.artifacts import getting
from maskrcnn_trainer.artifacts.getting import LoadedResults, get_results
from maskrcnn_trainer.artifacts.names import parse_name
from maskrcnn_trainer.errors import InvalidInput, TryAgain, WorkspaceFull
from maskrcnn_trainer.object_store.fence.exchange_types import FenceAnswer, FenceRequest, FetchFiles
from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.object_store.fence_store import StoreLevel

FILES = {"result.json": b"{}", "logs/a.log": b"log", "checkpoints/model": b"weights"}


class Source:
    """Store in memory, as loading gets it."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.resumed: list[str] = []

    def level(self, prefix: str) -> StoreLevel:
        return self.bucket.level(prefix)

    def resume(
        self, file: PublishedFile, folder: Path, *, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Path | None:
        self.resumed.append(file.path)
        if file.key not in self.bucket.objects:
            return None
        folder.mkdir(exist_ok=True)
        content = self.bucket.objects[file.key][0]
        (folder / "data").write_bytes(content)
        on_bytes(len(content))
        return folder / "data"

    def sender(
        self, *, into: Path | None = None, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Callable[[FenceRequest], FenceAnswer]:
        self.bucket.into = into

        def send(request: FenceRequest) -> FenceAnswer:
            before = len(self.bucket.fetched)
            answer = self.bucket.send(request)
            if isinstance(request, FetchFiles):
                on_bytes(sum(len(self.bucket.objects[key][0]) for key in self.bucket.fetched[before:]))
            return answer

        return send


def filled() -> Bucket:
    bucket = Bucket()
    own(bucket)
    attempt(bucket).publish(FILES, complete=True)
    return bucket


def get(bucket: Bucket, name: str, directory: Path, *, overwrite: bool = False) -> LoadedResults:
    return get_results(Source(bucket), parse_name(name), directory, overwrite=overwrite)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_step_is_loaded_with_its_directories_and_nothing_else(tmp_path: Path) -> None:
    done = get(filled(), "exp/train", tmp_path / "new")
    assert tree(tmp_path / "new") == FILES
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["checkpoints", "logs", "result.json"]
    assert done == LoadedResults(3, 12, 12)


def test_experiment_is_loaded_with_a_directory_for_each_step(tmp_path: Path) -> None:
    bucket = filled()
    attempt(bucket, "evaluate").publish({"metrics.json": b"1"})
    get(bucket, "exp", tmp_path)
    assert tree(tmp_path) == {f"train/{path}": content for path, content in FILES.items()} | {
        "evaluate/metrics.json": b"1"
    }


def test_directory_of_a_step_is_loaded_without_its_name(tmp_path: Path) -> None:
    get(filled(), "exp/train/logs", tmp_path)
    assert tree(tmp_path) == {"a.log": b"log"}


def test_file_of_a_step_is_loaded_under_its_name(tmp_path: Path) -> None:
    get(filled(), "exp/train/logs/a.log", tmp_path)
    assert tree(tmp_path) == {"a.log": b"log"}


@pytest.mark.parametrize("name", ["exp/evaluate", "exp/train/absent", "other", "exp/train/log"])
def test_absent_results_are_refused_and_nothing_is_made(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="NAME: .* has no "):
        get(filled(), name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_interrupted_load_leaves_no_file_in_its_place_and_is_continued(tmp_path: Path) -> None:
    bucket = filled()
    bucket.most_loads = 2
    with pytest.raises(TryAgain):
        get(bucket, "exp/train", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".maskrcnn-partial"]
    bucket.most_loads = None
    done = get(bucket, "exp/train", tmp_path)
    assert len(bucket.fetched) == len(set(bucket.fetched)) == 3
    assert tree(tmp_path) == FILES
    assert done.loaded < done.size


def test_unfinished_file_with_another_content_is_loaded_again(tmp_path: Path) -> None:
    bucket = filled()
    bucket.most_loads = 2
    with pytest.raises(TryAgain):
        get(bucket, "exp/train", tmp_path)
    for path in (tmp_path / ".maskrcnn-partial").iterdir():
        path.write_bytes(b"x" * path.stat().st_size)
    bucket.most_loads = None
    get(bucket, "exp/train", tmp_path)
    assert tree(tmp_path) == FILES


def test_second_call_loads_nothing(tmp_path: Path) -> None:
    bucket = filled()
    get(bucket, "exp/train", tmp_path)
    bucket.fetched.clear()
    assert get(bucket, "exp/train", tmp_path).loaded == 0
    assert bucket.fetched == []


def test_file_with_another_content_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"mine")
    bucket = filled()
    with pytest.raises(InvalidInput, match=r"result\.json exists with another content; .*--overwrite"):
        get(bucket, "exp/train", tmp_path)
    assert (tmp_path / "result.json").read_bytes() == b"mine"
    assert bucket.fetched == []


def test_overwrite_replaces_a_file_with_another_content(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"mine")
    get(filled(), "exp/train", tmp_path, overwrite=True)
    assert tree(tmp_path) == FILES


def test_link_in_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "logs").symlink_to(outside)
    with pytest.raises(InvalidInput, match="logs: must be a directory, not a link"):
        get(filled(), "exp/train", inside, overwrite=True)
    assert list(outside.iterdir()) == []


def test_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    inside.mkdir()
    outside.write_bytes(b"mine")
    (inside / "result.json").symlink_to(outside)
    with pytest.raises(InvalidInput, match=r"result\.json: exists and isn't a plain file"):
        get(filled(), "exp/train", inside, overwrite=True)
    assert outside.read_bytes() == b"mine"


def test_link_in_place_of_the_unfinished_files_is_refused(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / ".maskrcnn-partial").symlink_to(outside)
    with pytest.raises(InvalidInput, match="must be a directory"):
        get(filled(), "exp/train", inside)
    assert list(outside.iterdir()) == []


def with_path(path: bytes) -> Bucket:
    """Return a bucket whose manifest has another path for one file."""
    bucket = filled()
    manifest = next(key for key in bucket.objects if key.endswith("manifest.json"))
    bucket.put(manifest, bucket.objects[manifest][0].replace(b'"logs/a.log"', path))
    return bucket


@pytest.mark.parametrize(
    "path", [b'"../a.log"', b'"/tmp/a.log"', b'"a/../../b"', b'"logs\\\\a.log"', b'"a\\u0000b"', b'"./a"', b'""']
)
def test_path_that_leaves_the_directory_is_refused(path: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="path"):
        get(with_path(path), "exp/train", tmp_path / "deep" / "new")
    assert tree(tmp_path) == {}


def test_path_among_the_unfinished_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be a place"):
        get(with_path(b'".maskrcnn-partial/x"'), "exp/train", tmp_path)
    assert tree(tmp_path) == {}


def test_size_that_the_disk_has_no_room_for_is_refused_before_loading(tmp_path: Path) -> None:
    bucket = filled()
    manifest = next(key for key in bucket.objects if key.endswith("manifest.json"))
    bucket.put(manifest, bucket.objects[manifest][0].replace(b'"bytes":7', b'"bytes":99999999999999999'))
    with pytest.raises(WorkspaceFull, match="are to be loaded"):
        get(bucket, "exp/train", tmp_path)
    assert bucket.fetched == []


def test_set_that_is_replaced_during_the_load_is_loaded_whole(tmp_path: Path) -> None:
    bucket = Bucket()
    own(bucket)
    running = attempt(bucket)
    first = running.publish({"a": b"1", "b": b"1"})
    source = Source(bucket)
    sender = source.sender

    def replacing(**options):  # type: ignore[no-untyped-def]
        send = sender(**options)

        def sent(request: FenceRequest) -> FenceAnswer:
            if isinstance(request, FetchFiles) and first.files[0].key in bucket.objects:
                running.publish({"a": b"22", "b": b"22"})
                for file in first.files:
                    del bucket.objects[file.key]
            return send(request)

        return sent

    source.sender = replacing  # type: ignore[method-assign]
    get_results(source, parse_name("exp/train"), tmp_path)
    assert tree(tmp_path) == {"a": b"22", "b": b"22"}


def test_directory_that_another_process_fills_is_refused(tmp_path: Path) -> None:
    partial = tmp_path / ".maskrcnn-partial"
    partial.mkdir()
    held = os.open(partial, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(TryAgain, match="another command"):
            get(filled(), "exp/train", tmp_path)
    finally:
        os.close(held)


def test_damaged_step_of_an_experiment_is_named(tmp_path: Path) -> None:
    bucket = filled()
    bucket.put("exp/broken/run.json", b"{")
    with pytest.raises(InvalidInput, match="step broken can't be read: exp/broken/run.json isn't JSON"):
        get(bucket, "exp", tmp_path / "new")


def test_large_files_are_loaded_part_by_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(getting, "is_resumable", lambda file: file.size == len(FILES["checkpoints/model"]))
    source = Source(filled())
    done = get_results(source, parse_name("exp/train"), tmp_path)
    assert source.resumed == ["checkpoints/model"]
    assert tree(tmp_path) == FILES
    assert done.loaded == done.size


def test_large_file_that_is_gone_makes_the_pointer_be_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(getting, "is_resumable", lambda file: True)
    bucket = filled()
    key = next(key for key in bucket.objects if key.endswith("-model"))
    del bucket.objects[key]
    with pytest.raises(InvalidInput, match="names an object that doesn't exist"):
        get(bucket, "exp/train", tmp_path)


def test_parts_of_a_file_that_was_replaced_are_removed(tmp_path: Path) -> None:
    bucket = filled()
    old = tmp_path / ".maskrcnn-partial" / f"{'0' * 64}.parts"
    old.mkdir(parents=True)
    (old / "data").write_bytes(b"x")
    bucket.most_loads = 0
    with pytest.raises(TryAgain):
        get(bucket, "exp/train", tmp_path)
    assert list((tmp_path / ".maskrcnn-partial").iterdir()) == []


def test_file_in_place_of_the_directory_is_refused_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(InvalidInput, match="taken: is a file; give a directory"):
        get(filled(), "exp", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"
