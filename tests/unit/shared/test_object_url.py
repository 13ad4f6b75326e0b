"""URLs of objects, patterns of them, and texts without what may be a secret in a URL."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import (
    LONGEST_KEY,
    LONGEST_WORKSPACE_URL,
    SCHEMES,
    ObjectPattern,
    ObjectUrl,
    is_url,
    key_problem,
    local_path,
    parse_pattern,
    parse_url,
    pattern_problem,
    url_problem,
    without_secrets,
    workspace_url_problem,
)

SECRET = "s3cr3t"  # noqa: S105 - stands for a signature


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://data/train/a.jpg", ObjectUrl("s3", "data", "train/a.jpg")),
        ("gs://data", ObjectUrl("gs", "data")),
        ("az://data/a", ObjectUrl("az", "data", "a")),
        ("az://$web/a", ObjectUrl("az", "$web", "a")),
        ("file:///data/a.jpg", ObjectUrl("file", "", "data/a.jpg")),
        ("file:///", ObjectUrl("file", "")),
        ("s3://my.bucket_1/k", ObjectUrl("s3", "my.bucket_1", "k")),
    ],
)
def test_url_has_scheme_container_and_key(text: str, url: ObjectUrl) -> None:
    assert parse_url(text, "imageDir") == url
    assert str(url) == text


@pytest.mark.parametrize(
    "key", ["a%20b", "%2e%2e", "a+b", "a b", "ä/日本", "a\\b", "a*b", "a[1]", "user@host", "a:b", "...", ".a", "a\x80b"]
)
def test_key_is_literal(key: str) -> None:
    assert parse_url(f"s3://data/{key}", "imageDir").key == key
    assert str(parse_url(f"s3://data/{key}", "imageDir")) == f"s3://data/{key}"


REFUSED = [
    (f"s3://{SECRET}@data/a", "user info"),
    (f"s3://AKIA:{SECRET}@data/a", "user info"),
    (f"s3://AKIA:{SECRET}/x@data/a", "the name of the bucket"),
    (f"file://{SECRET}@/a", "user info"),
    (f"s3://data/a?X-Amz-Signature={SECRET}", "with a ?"),
    (f"s3://data?{SECRET}", "with a ?"),
    (f"file:///data/a?{SECRET}", "with a ?"),
    (f"s3://data/a#{SECRET}", "with a #"),
    (f"s3://data#{SECRET}", "with a #"),
    (f"s3://data//{SECRET}", "an empty, '.', or '..' segment"),
    (f"s3://data/{SECRET}/", "an empty, '.', or '..' segment"),
    ("s3://data/", "an empty, '.', or '..' segment"),
    (f"s3://data/./{SECRET}", "an empty, '.', or '..' segment"),
    (f"s3://data/{SECRET}/..", "an empty, '.', or '..' segment"),
    (f"s3://data/../{SECRET}", "an empty, '.', or '..' segment"),
    (f"file:///data/../{SECRET}", "an empty, '.', or '..' segment"),
    (f"file:////{SECRET}", "an empty, '.', or '..' segment"),
    (f"s3:///{SECRET}", "the name of the bucket"),
    (f"s3://-{SECRET}/a", "the name of the bucket"),
    (f"s3://localhost:9000/{SECRET}", "the name of the bucket"),
    (f"s3://../{SECRET}", "the name of the bucket"),
    (f"s3://{SECRET * 50}/a", "the name of the bucket"),
    (f"s3://data/{SECRET}\n", "a control character"),
    (f"s3://data/{SECRET}\x00", "a control character"),
    (f"s3://data/{SECRET}\x7f", "a control character"),
    (f"s3://data/{SECRET}\udcff", "valid UTF-8"),
    (f"file://{SECRET}/a", "must begin with file:///"),
    ("file://", "must begin with file:///"),
    (f"https://data/{SECRET}", "a URL must be s3://BUCKET/KEY"),
    (f"S3://data/{SECRET}", "a URL must be s3://BUCKET/KEY"),
    (f"s3:/data/{SECRET}", "a URL must be s3://BUCKET/KEY"),
    (f"file:/{SECRET}", "a URL must be s3://BUCKET/KEY"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_invalid_url_is_refused_without_its_text(text: str, message: str) -> None:
    assert is_url(text)
    with pytest.raises(InvalidInput) as refused:
        parse_url(text, "steps[0].modelPath")
    assert str(refused.value).startswith("steps[0].modelPath: ")
    assert message in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(("text", "message"), [case for case in REFUSED if "with a ?" not in case[1]])
def test_invalid_pattern_is_refused_without_its_text(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_pattern(text, "trainingFilePattern")
    assert str(refused.value).startswith("trainingFilePattern: ")
    assert message in str(refused.value)
    assert SECRET not in str(refused.value)


def test_query_of_a_pattern_is_refused_without_its_text() -> None:
    problem = pattern_problem(f"s3://data/train-*.tfrecord?versionId={SECRET}")
    assert problem is not None
    assert "a = follows it" in problem
    assert SECRET not in problem


def test_question_mark_of_a_pattern_is_a_wildcard() -> None:
    pattern = parse_pattern("s3://data/day=1/part-0?.tfrecord", "trainingFilePattern")
    assert pattern == ObjectPattern(ObjectUrl("s3", "data", "day=1"), "part-0?.tfrecord")


def test_pattern_must_have_a_key() -> None:
    assert pattern_problem("s3://data") == "the URL must have a key or a pattern after the bucket"


def test_key_is_at_most_as_long_as_stores_allow() -> None:
    assert url_problem(f"s3://data/{'a' * LONGEST_KEY}") is None
    assert url_problem(f"s3://data/{'ä' * 513}") == "the key has 1026 bytes: at most 1024 are possible"
    assert url_problem(f"file:///{'a' * 2000}") is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_url_is_distinguished_from_a_path_by_its_scheme(scheme: str) -> None:
    assert is_url(f"{scheme}://data/a")
    assert not is_url(f"/{scheme}://data/a")


@pytest.mark.parametrize(
    "text", ["/workspace/a", "a/b", "", "s3", "s3:a", "C:\\a", "data:/a", "./s3://data/a", " s3://a"]
)
def test_path_is_not_a_url(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///data/a%20b", "/data/a%20b"),
        ("file:///", "/"),
        ("/data", None),
        ("s3://data/a", None),
        ("file://a/b", None),
    ],
)
def test_url_of_a_file_is_its_path(text: str, path: str | None) -> None:
    assert local_path(text) == path


def test_child_has_one_or_several_segments_more() -> None:
    bucket = ObjectUrl("s3", "data")
    assert str(bucket.child("train").child("a/b.jpg")) == "s3://data/train/a/b.jpg"


@pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a//b", "."])
def test_child_with_an_unusable_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="segment"):
        ObjectUrl("s3", "data", "train").child(name)


@pytest.mark.parametrize(
    ("url", "other", "below"),
    [
        ("s3://data/train/a", "s3://data/train", True),
        ("s3://data/train", "s3://data/train", True),
        ("s3://data/train", "s3://data", True),
        ("s3://data/training", "s3://data/train", False),
        ("s3://data", "s3://data/train", False),
        ("gs://data/train/a", "s3://data/train", False),
        ("s3://data2/train", "s3://data", False),
        ("file:///data/a", "file:///", True),
    ],
)
def test_url_is_below_another_by_whole_segments(url: str, other: str, below: bool) -> None:
    assert parse_url(url, "").is_below(parse_url(other, "")) is below


@pytest.mark.parametrize(
    ("text", "base", "pattern"),
    [
        ("s3://data/train/*.tfrecord", "s3://data/train", "*.tfrecord"),
        ("s3://data/*/v-?", "s3://data", "*/v-?"),
        ("s3://data/a[0-9]/b/*", "s3://data", "a[0-9]/b/*"),
        ("s3://data/train/a.tfrecord", "s3://data/train/a.tfrecord", ""),
        ("file:///data/**", "file:///data", "**"),
        ("file:///*", "file:///", "*"),
    ],
)
def test_pattern_is_split_before_its_first_wildcard(text: str, base: str, pattern: str) -> None:
    found = parse_pattern(text, "")
    assert (str(found.base), found.pattern) == (base, pattern)
    assert str(found) == text


def test_pattern_without_wildcards_matches_its_url_alone() -> None:
    pattern = parse_pattern("s3://data/train/a", "")
    assert pattern.matches(parse_url("s3://data/train/a", ""))
    assert not pattern.matches(parse_url("s3://data/train/a/b", ""))


NAMES = (
    "a.tfrecord",
    "b.txt",
    ".hidden",
    "[1]",
    "x/a.tfrecord",
    "x/y/a.tfrecord",
    ".x/a.tfrecord",
    "x/.y/a",
    "a1",
    "a-",
)
PATTERNS = (
    "*",
    "*.tfrecord",
    "**",
    "**/*.tfrecord",
    "x/**",
    "*/*",
    "?.txt",
    "a[0-9]",
    "a[!0-9]",
    "[[]1]",
    ".*",
    "**/a*",
)


@pytest.mark.parametrize(
    "pattern", [*PATTERNS, "**/a*", "x/*", "x/**/a*", ".x/*", "**/.y/*", "a**d", "A.*", "none*", "**/x/**"]
)
def test_pattern_matches_the_objects_that_glob_finds_as_files(pattern: str, tmp_path: Path) -> None:
    for name in NAMES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = glob.glob(pattern, root_dir=tmp_path, recursive=True)  # noqa: PTH207 - the function that records are found by
    files = {os.path.normpath(name) for name in found if (tmp_path / name).is_file()}
    url = parse_pattern(f"s3://data/base/{pattern}", "")
    assert {name for name in NAMES if url.matches(ObjectUrl("s3", "data", f"base/{name}"))} == files


def test_pattern_matches_nothing_outside_its_base() -> None:
    pattern = parse_pattern("s3://data/base/**", "")
    assert not pattern.matches(ObjectUrl("s3", "data", "other/a"))
    assert not pattern.matches(ObjectUrl("s3", "data", "base"))
    assert not pattern.matches(ObjectUrl("gs", "data", "base/a"))


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "./a", "a/..", "a\tb", ""])
def test_key_that_the_library_folds_or_cannot_list_is_refused(key: str) -> None:
    assert key_problem(key)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (f"s3://data/a?sig={SECRET}", "s3://data/a?..."),
        (f"found 's3://data/a?sig={SECRET}'; it", "found 's3://data/a?...'; it"),
        (f"s3:/data/a?sig={SECRET}", "s3:/data/a?..."),
        (f"http://user:{SECRET}@proxy:80/x", "http://...@proxy:80/x"),
        (f"s3://user:{SECRET}/{SECRET},@data/a", "s3://...@data/a"),
        (f"s3://{SECRET}@data/a", "s3://...@data/a"),
        (f"s3://data/*,s3://k:{SECRET}@data/*", "s3://...@data/*"),
        (f"/a,s3://data/a?a?sig={SECRET}/b", "/a,s3://data/a?..."),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}", "-----BEGIN RSA PRIVATE KEY-----..."),
        (f"found 'd.blob.core.windows.net/c/k?a=b&sig={SECRET}'; it", "found 'd.blob.core.windows.net/c/k?...'; it"),
        (f"store.test:9000/a?X-Amz-Signature={SECRET}", "store.test:9000/a?..."),
        ("s3://data/part-?.tfrecord", "s3://data/part-?.tfrecord"),
        ("s3://data/user@host", "s3://data/user@host"),
        ("/workspace/a?b=c", "/workspace/a?b=c"),
    ],
)
def test_text_has_no_secret_of_a_url(text: str, safe: str) -> None:
    assert without_secrets(text) == safe


def test_long_text_is_searched_for_secrets_in_linear_time() -> None:
    """With the quadratic time of nested expressions this would take hours."""
    for part in ("?", "://:", "a:/?", "s3://@", "PRIVATE KEY", "a.", "a.a/", ",a.a/", "a.a/?", " a.a:1/"):
        assert without_secrets(f"{part * 200_000}?")


NO_WORKSPACES = {
    "blank at the end": ("s3://lab/x ", "a blank at the end"),
    "no-break space": ("s3://lab/a\u00a0b", "the invisible character U\\+00A0"),
    "turned around": ("s3://lab/\u202estluser", "the invisible character U\\+202E"),
    "no width": ("s3://lab/x\u200b", "the invisible character U\\+200B"),
    "line separator": ("s3://lab/x\u2028y", "the invisible character U\\+2028"),
    "private use": ("s3://lab/\ue000", "the invisible character U\\+E000"),
    "too long": (f"s3://lab/{'k' * 792}", "has 801 bytes: a workspace can have at most 800"),
    "too many bytes": ("s3://lab/" + "\u00e9" * 396, "has 801 bytes"),
}


@pytest.mark.parametrize(("text", "message"), NO_WORKSPACES.values(), ids=NO_WORKSPACES)
def test_input_may_have_a_url_that_a_workspace_may_not(text: str, message: str) -> None:
    assert url_problem(text) is None
    found = workspace_url_problem(text)
    assert found is not None
    assert re.search(message, found)


@pytest.mark.parametrize("text", ["s3://lab/../x", "s3://lab/a\nb", "s3://lab?a=b", "s3://id:key@lab", "\udce9"])
def test_url_of_a_workspace_also_keeps_the_rules_of_an_input(text: str) -> None:
    assert workspace_url_problem(text) == url_problem(text) is not None


@pytest.mark.parametrize(
    "text", ["s3://lab", "gs://lab/a b/c", "az://lab/\u00fcber/\u6a21\u578b", f"s3://lab/{'k' * 791}"]
)
def test_url_of_a_workspace_may_have_blanks_within_and_letters_of_any_language(text: str) -> None:
    assert len(text.encode()) <= LONGEST_WORKSPACE_URL
    assert workspace_url_problem(text) is None
