"""URLs of objects and files, ``SCHEME://CONTAINER/KEY``, and patterns of them.

Keys are literal: nothing in them is decoded. Refused are keys that the library for object storage folds or can't list:
with an empty, ``.``, or ``..`` segment, or with a control character. Errors never have the text of a URL, which may
hold a password or a signature.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput

STORE_SCHEMES = ("s3", "gs", "az")
SCHEMES = (*STORE_SCHEMES, "file")
LONGEST_KEY = 1024
"""Maximum bytes of a key in S3 and GCS (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""

LONGEST_WORKSPACE_URL = 800
"""Maximum bytes of the URL of a workspace: keys below it have the names of an experiment, a step, and a file, and an
event (at most 1,024 bytes) has the URL of a step's results."""

FORM = "s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY, or file:///PATH"
"""Forms of a URL, for messages."""

# one slash is enough for a known scheme: path functions fold two of them
URL_PATTERN = rf"[A-Za-z][A-Za-z0-9+.-]*://|(?i:{'|'.join(SCHEMES)}):/"
"""Expression for the beginning of a text that is meant as a URL, in the syntax of Python and of RE2."""
_URL = re.compile(URL_PATTERN)
_KNOWN = re.compile(rf"(?P<scheme>{'|'.join(SCHEMES)})://(?P<container>[^/]*)(?:/(?P<key>.*))?", re.DOTALL)
_CONTAINER = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"})
_WILDCARD = re.compile(r"[*?\[]")
_URL_IN_TEXT = re.compile(r"[A-Za-z0-9+.-]:/[^\s\"']*")
_LINK_IN_TEXT = re.compile(
    r"(?<![\w./%~+-])((?:[\w-]+\.)+[\w-]+(?::[0-9]+)?/[\w./%~+-]*)\?[^\s\"'=?/]*=[^\s\"']*", re.ASCII
)
"""Link without its scheme, HOST/PATH?NAME=VALUE; a path may have such a name, but begins with a slash."""
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*", re.DOTALL)
_LOCAL = "file://"


@dataclass(frozen=True, order=True)
class ObjectUrl:
    """URL of an object, of all objects below a prefix, or of a file.

    Attributes:
        scheme: one of SCHEMES.
        container: bucket or container; empty for a file.
        key: segments separated by ``/``, none of them empty; empty for the whole container.
    """

    scheme: str
    container: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.container}" + (f"/{self.key}" if self.key or not self.container else "")

    @property
    def name(self) -> str:
        """Return the last segment of the key; the name of the container for an empty one."""
        return self.key.rpartition("/")[2] or self.container

    @property
    def parent(self) -> ObjectUrl:
        """Return the URL without its last segment; that of the container for a key of one segment."""
        return ObjectUrl(self.scheme, self.container, self.key.rpartition("/")[0])

    def child(self, name: str) -> ObjectUrl:
        """Return the URL of ``name``, one or several segments, below this one.

        Raises:
            ValueError: the key would be unusable; see :func:`key_problem`.
        """
        key = f"{self.key}/{name}" if self.key else name
        if problem := key_problem(key):
            raise ValueError(problem)
        return ObjectUrl(self.scheme, self.container, key)

    def is_below(self, other: ObjectUrl) -> bool:
        """Return whether this URL is ``other`` or lies below it, by whole segments."""
        if (self.scheme, self.container) != (other.scheme, other.container):
            return False
        return not other.key or self.key == other.key or self.key.startswith(f"{other.key}/")


@dataclass(frozen=True)
class ObjectPattern:
    """Pattern of URLs with the wildcards of ``glob``.

    ``*`` and ``?`` match within a segment, ``[...]`` matches one character, and ``**`` as a whole segment matches any
    number of segments. A leading dot is matched only by a dot.

    Attributes:
        base: longest beginning of whole segments without wildcards.
        pattern: segments below ``base``; empty without wildcards, when ``base`` is the only match.
    """

    base: ObjectUrl
    pattern: str

    def __str__(self) -> str:
        return f"{str(self.base).removesuffix('/')}/{self.pattern}" if self.pattern else str(self.base)

    def matches(self, url: ObjectUrl) -> bool:
        """Return whether the pattern matches a URL."""
        if not self.pattern:
            return url == self.base
        if not url.is_below(self.base) or url == self.base:
            return False
        below = url.key[len(self.base.key) :].removeprefix("/")
        return _match(self.pattern.split("/"), below.split("/"))


def is_url(text: str) -> bool:
    """Return whether a text is meant as a URL rather than as a path, even if it is an invalid one."""
    return _URL.match(text) is not None


def local_path(text: str) -> str | None:
    """Return the path ``/P`` of ``file:///P``; None for a path and for any other URL. The URL isn't checked."""
    return text.removeprefix(_LOCAL) if text.startswith(f"{_LOCAL}/") else None


def parse_url(text: str, field: str) -> ObjectUrl:
    """Return a URL without wildcards; ``*``, ``[``, and ``]`` in it are literal.

    Args:
        text: the URL.
        field: name of its field or flag, for the error.

    Raises:
        InvalidInput: the URL is invalid; see :func:`url_problem`.
    """
    if problem := url_problem(text):
        raise InvalidInput(f"{field}: {problem}")
    return _split(text)


def parse_pattern(text: str, field: str) -> ObjectPattern:
    """Return one pattern of URLs.

    Args:
        text: the pattern, without commas that separate it from others.
        field: name of its field, for the error.

    Raises:
        InvalidInput: the pattern is invalid; see :func:`pattern_problem`.
    """
    if problem := pattern_problem(text):
        raise InvalidInput(f"{field}: {problem}")
    url = _split(text)
    segments = url.key.split("/")
    literal = next((at for at, segment in enumerate(segments) if _WILDCARD.search(segment)), len(segments))
    base = ObjectUrl(url.scheme, url.container, "/".join(segments[:literal]))
    return ObjectPattern(base, "/".join(segments[literal:]))


def url_problem(text: str) -> str | None:
    """Return a sentence about why a text isn't a valid URL, without any part of it; None if it is valid."""
    if "?" in text:
        return "a URL with a ? (a query, such as a signature) isn't accepted: give the object without it"
    return _problem(text)


def workspace_url_problem(text: str) -> str | None:
    """Return a sentence about why a text can't be the URL of a workspace, without any part of it; None if it can.

    Messages, conditions, and events show this URL, and results are written below it. So it has rules that the URL of an
    input doesn't have: a limit of its own, and no invisible characters.
    """
    if problem := url_problem(text):
        return problem
    size = len(text.encode())
    if size > LONGEST_WORKSPACE_URL:
        return f"the URL has {size} bytes: a workspace can have at most {LONGEST_WORKSPACE_URL}"
    if found := next((character for character in text if _is_invisible(character)), None):
        return f"the invisible character U+{ord(found):04X} isn't accepted in the URL of a workspace"
    return "a blank at the end isn't accepted in the URL of a workspace" if text.endswith(" ") else None


def _is_invisible(character: str) -> bool:
    """Return whether a character is a control or format character, or blank without being a space.

    The CustomResourceDefinition has the same categories, which leave out code points without a character.
    """
    return character != " " and unicodedata.category(character) in _INVISIBLE


def pattern_problem(text: str) -> str | None:
    """Return a sentence about why a text isn't a valid pattern, without any part of it; None if it is valid."""
    if _query_start(text) is not None:
        return "? is a wildcard here, but a = follows it, as in a query: give the pattern without a query"
    problem = _problem(text)
    return "the URL must have a key or a pattern after the bucket" if not problem and not _split(text).key else problem


def key_problem(key: str) -> str | None:
    """Return a sentence about why a key can't be used, without any part of it; None if it can."""
    if problem := _segments_problem(key):
        return problem
    size = len(key.encode())
    return f"the key has {size} bytes: at most {LONGEST_KEY} are possible" if size > LONGEST_KEY else None


def without_secrets(text: str) -> str:
    """Return a text without the user info and the queries of its URLs, and without a private key in PEM."""
    if ":/" in text:
        text = _URL_IN_TEXT.sub(lambda url: _without_query(_without_user_info(url[0])), text)
    if "?" in text:
        text = _LINK_IN_TEXT.sub(r"\1?...", text)
    return _PRIVATE_KEY.sub(r"\1...", text) if "PRIVATE KEY" in text else text


def _without_user_info(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    # a password may have a slash and a comma, so the last @ of all URLs in a list of them ends it
    user_info, at, after = rest.rpartition("@")
    return f"{scheme}{slashes}...@{after}" if at and (":" in user_info or "/" not in user_info) else url


def _without_query(url: str) -> str:
    start = _query_start(url)
    return url if start is None else f"{url[:start]}?..."


def _query_start(text: str) -> int | None:
    """Return the position of the first ``?`` that an ``=`` follows in the same segment; None without one."""
    start = 0
    for segment in text.split("/"):
        mark = segment.find("?")
        if mark >= 0 and "=" in segment[mark:]:
            return start + mark
        start += len(segment) + 1
    return None


def _problem(text: str) -> str | None:
    parts = _KNOWN.fullmatch(text)
    if parts is None:
        return f"a URL must be {FORM}, with the scheme in lowercase"
    scheme, container, key = parts["scheme"], parts["container"], parts["key"]
    if "@" in container:
        return "user info (before an @) isn't accepted: keys of a store belong in its Secret"
    if "#" in text:
        return "a URL with a # (a fragment) isn't accepted: give the object without it"
    if scheme == "file":
        return _file_problem(container, key)
    if not _CONTAINER.fullmatch(container):
        return (
            "the name of the bucket or container must be letters, digits, '-', '_', and '.', a letter or digit first, "
            "without a port"
        )
    return None if key is None else key_problem(key)


def _file_problem(host: str, path: str | None) -> str | None:
    if host or path is None:
        return "a URL of a file must begin with file:///, followed by its path"
    return _segments_problem(path) if path else None


def _segments_problem(key: str) -> str | None:
    if _CONTROL.search(key):
        return "a control character isn't accepted"
    if not {"", ".", ".."}.isdisjoint(key.split("/")):
        return "an empty, '.', or '..' segment isn't accepted, and neither is a slash at the end"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "the text isn't valid UTF-8"
    return None


def _split(text: str) -> ObjectUrl:
    scheme, _, rest = text.partition("://")
    container, _, key = rest.partition("/")
    return ObjectUrl(scheme, container, key)


def _match(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    """Return whether the segments of a pattern match those of a key, without the backtracking of an expression."""
    reached = {0}
    for position, part in enumerate(pattern):
        last = position == len(pattern) - 1
        if part == "**":
            reached = {
                end
                for start in reached
                for end in range(start, len(segments) + 1)
                if not any(segment.startswith(".") for segment in segments[start:end])
                # at the end of a pattern it matches names, not only directories
                and (not last or end > start)
            }
        else:
            reached = {at + 1 for at in reached if at < len(segments) and _segment_matches(part, segments[at])}
    return len(segments) in reached


def _segment_matches(part: str, segment: str) -> bool:
    if not _WILDCARD.search(part):
        return part == segment
    return (part.startswith(".") or not segment.startswith(".")) and fnmatch.fnmatchcase(segment, part)
