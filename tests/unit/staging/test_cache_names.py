"""Names in a cache differ for other stores, keys, etags, and sizes."""

from __future__ import annotations

from maskrcnn_trainer.staging.cache_names import cached_content_name, cached_name, is_cached_name


def test_each_part_changes_the_name() -> None:
    given = [("s", "k", "e", 1), ("t", "k", "e", 1), ("s", "l", "e", 1), ("s", "k", "f", 1), ("s", "k", "e", 2)]
    assert len({cached_name(*one) for one in given}) == len(given)


def test_parts_cannot_be_moved_into_each_other() -> None:
    assert cached_name("s", 'k","e', "", 1) != cached_name("s", "k", 'e","', 1)
    assert cached_name("a", "bc", "", 0) != cached_name("ab", "c", "", 0)


def test_name_of_content_differs_by_store_digest_and_size() -> None:
    given = [("s", "ab", 1), ("t", "ab", 1), ("s", "cd", 1), ("s", "ab", 2)]
    assert len({cached_content_name(*one) for one in given}) == len(given)


def test_content_cannot_have_the_name_of_an_object() -> None:
    digest = cached_name("s", "secret", "etag", 1)
    assert is_cached_name(cached_content_name("s", digest, 1))
    assert cached_content_name("s", digest, 1) not in {
        digest,
        cached_name("s", digest, "", 1),
        cached_name("s", "", digest, 1),
    }


def test_names_are_recognized_and_others_are_not() -> None:
    assert is_cached_name(cached_name("s", "k/ü\udc80", "e", 1))
    for other in ("", "a" * 63, "A" * 64, "g" * 64, "a" * 65, ".nfs" + "0" * 60):
        assert not is_cached_name(other)
