"""Cache of objects that several processes share: links, renames, and what killed processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.staging.cache_names import cached_name
from maskrcnn_trainer.staging.cache_owner import CacheOwner, remove_dead_owners
from maskrcnn_trainer.staging.object_cache import ObjectCache

NAME = cached_name("store", "images/a.jpg", "etag", 3)

KILLED = """
import os, signal, sys
from pathlib import Path
from maskrcnn_trainer.staging.cache_owner import CacheOwner
from maskrcnn_trainer.staging.object_cache import ObjectCache
owner = CacheOwner(Path(sys.argv[1]))
owner.__enter__()
cache = ObjectCache(Path(sys.argv[1]), owner)
cache.claim(sys.argv[2])
cache.partial(sys.argv[2], several=True).write_bytes(b"ab")
cache.partial(sys.argv[2], several=True).with_name("parts").write_text("0 2\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ObjectCache]:
    with CacheOwner(tmp_path) as owner:
        yield ObjectCache(tmp_path, owner)


def load(cache: ObjectCache, name: str = NAME, content: bytes = b"abc") -> None:
    cache.partial(name).write_bytes(content)
    cache.complete(name)


def names(cache: ObjectCache) -> list[str]:
    return [one.name for one in cache.objects()]


def test_object_is_seen_once_it_is_complete(cache: ObjectCache) -> None:
    cache.partial(NAME).write_bytes(b"ab")
    assert not names(cache)
    assert not cache.stage(NAME, cache.staged(0) / "a.jpg")
    load(cache)
    (one,) = cache.objects()
    assert (one.name, one.size, one.is_staged) == (NAME, 3, False)


def test_staged_object_is_read_where_the_task_expects_it_and_cannot_be_written(cache: ObjectCache) -> None:
    load(cache)
    place = cache.staged(0) / "deep" / "a.jpg"
    assert cache.stage(NAME, place)
    assert place.read_bytes() == b"abc"
    assert place.stat().st_mode & 0o222 == 0
    assert [one.is_staged for one in cache.objects()] == [True]


def test_staging_counts_as_use(cache: ObjectCache) -> None:
    load(cache)
    whole = next(cache.root.glob(f"objects/*/{NAME}"))
    os.utime(whole, (1, 1))
    assert [one.used for one in cache.objects()] == [1.0]
    cache.stage(NAME, cache.staged(0) / "a.jpg")
    assert [one.used > 1.0 for one in cache.objects()] == [True]


def test_object_that_a_process_has_staged_is_not_removed(cache: ObjectCache, tmp_path: Path) -> None:
    load(cache)
    with CacheOwner(tmp_path) as other:
        place = ObjectCache(tmp_path, other).staged(0) / "a.jpg"
        assert ObjectCache(tmp_path, other).stage(NAME, place)
        assert not cache.remove(NAME)
        assert names(cache) == [NAME]
        assert place.read_bytes() == b"abc"
    assert cache.remove(NAME)
    assert not cache.remove(NAME)
    assert not names(cache)


def test_part_of_an_object_that_a_killed_process_has_loaded_is_taken_over(cache: ObjectCache, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), NAME], check=False)
    with CacheOwner(tmp_path) as owner:
        remove_dead_owners(tmp_path, owner)
        assert cache.left_bytes(NAME) == 2
        assert cache.partial(NAME, several=True).read_bytes() == b"ab"
        assert cache.left_bytes(NAME) == 0


def test_part_of_an_object_that_a_live_process_loads_stays_its_own(cache: ObjectCache, tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as other:
        ObjectCache(tmp_path, other).partial(NAME, several=True).write_bytes(b"ab")
        with CacheOwner(tmp_path) as third:
            assert remove_dead_owners(tmp_path, third) == 0
        assert not cache.partial(NAME, several=True).exists()


def test_part_of_an_object_is_kept_when_its_process_ends(cache: ObjectCache, tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as other:
        ObjectCache(tmp_path, other).partial(NAME, several=True).write_bytes(b"ab")
    assert cache.partial(NAME, several=True).read_bytes() == b"ab"
    cache.complete(NAME)
    assert cache.size_of(NAME) == 2


def test_what_ended_processes_have_left_is_removed_on_request(cache: ObjectCache, tmp_path: Path) -> None:
    other_name = cached_name("store", "images/b.jpg", "etag", 3)
    with CacheOwner(tmp_path) as other:
        for name in (NAME, other_name):
            partial = ObjectCache(tmp_path, other).partial(name, several=True)
            partial.write_bytes(b"ab")
            partial.with_name("parts").write_text("0 2\n")
    cache.remove_left(but=[NAME])
    assert (cache.left_bytes(NAME), cache.left_bytes(other_name)) == (2, 0)


def test_object_that_a_live_process_loads_cannot_be_claimed(cache: ObjectCache, tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as owner:
        other = ObjectCache(tmp_path, owner)
        assert other.claim(NAME)
        assert other.claim(NAME)
        assert not cache.claim(NAME)
        other.partial(NAME).write_bytes(b"abc")
        other.complete(NAME)
        assert cache.claim(NAME)


def test_claim_of_a_killed_process_is_free_and_what_it_has_loaded_is_used(cache: ObjectCache, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), NAME], check=False)
    assert cache.holder(NAME) is not None
    assert cache.claim(NAME)
    assert cache.partial(NAME, several=True).read_bytes() == b"ab"


def test_object_that_another_process_is_removing_can_be_staged(
    cache: ObjectCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(cache)
    (whole,) = cache.root.glob(f"objects/*/{NAME}")
    place = cache.staged(0) / "a.jpg"
    utime = os.utime

    def removed_in_between(path: Path) -> None:
        whole.rename(tmp_path / "aside")
        utime(path)

    monkeypatch.setattr(os, "utime", removed_in_between)
    assert cache.stage(NAME, place)
    assert place.read_bytes() == b"abc"


def test_claim_of_another_process_is_not_released(cache: ObjectCache, tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as owner:
        other = ObjectCache(tmp_path, owner)
        other.claim(NAME)
        cache.release(NAME)
        assert not cache.claim(NAME)


def test_object_that_two_processes_load_at_once_is_whole(cache: ObjectCache, tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as other:
        second = ObjectCache(tmp_path, other)
        second.partial(NAME).write_bytes(b"abc")
        load(cache)
        place = cache.staged(0) / "a.jpg"
        cache.stage(NAME, place)
        second.complete(NAME)
        assert (names(cache), place.read_bytes()) == ([NAME], b"abc")


def test_links_of_a_killed_process_do_not_keep_an_object(cache: ObjectCache, tmp_path: Path) -> None:
    load(cache)
    script = KILLED.partition("cache.claim")[0] + (
        'cache.stage(sys.argv[2], owner.directory / "x")\nos.kill(os.getpid(), signal.SIGKILL)\n'
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), NAME], check=False)
    assert not cache.remove(NAME)
    with CacheOwner(tmp_path) as other:
        assert remove_dead_owners(tmp_path, other) == 1
    assert cache.remove(NAME)


def test_files_of_others_are_neither_seen_nor_removed(cache: ObjectCache) -> None:
    foreign = cache.root / "objects" / "ab" / "photo.jpg"
    foreign.parent.mkdir()
    foreign.write_bytes(b"x")
    (cache.root / "objects" / "readme").write_bytes(b"x")
    assert not names(cache)
