"""Inputs by URL next to a workspace in object storage, whose files are read as ``/workspace/...`` only.

A file of the workspace is found through the pointer of its step. By URL it would be found as an object, whose key holds
something else than the path.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from maskrcnn_trainer.shared.object_url import (
    ObjectPattern,
    ObjectUrl,
    is_url,
    local_path,
    parse_pattern,
    parse_url,
    pattern_problem,
    url_problem,
)
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.spec.url_fields import InputKind


def workspace_problem(value: str, workspace_url: str, kind: InputKind = InputKind.DIRECTORY) -> str | None:
    """Return a sentence about an input by URL that lies below the URL of the workspace, equals it, or contains it.

    Args:
        value: paths or URLs as the user wrote them; several are separated by commas if they are patterns.
        workspace_url: valid URL that ``/workspace`` stands for.
        kind: kind of the input.

    Returns:
        The sentence, with the ``/workspace`` form to write instead; None without such a URL. Paths and invalid URLs
        have no sentence.
    """
    workspace = parse_url(workspace_url, "")
    if kind is not InputKind.PATTERNS:
        if _is_of_store(value) and not url_problem(value):
            return _problem(parse_url(value, ""), workspace)
        return None
    parts = [part.strip() for part in value.split(",") if part.strip()]
    for number, part in enumerate(parts, 1):
        if not _is_of_store(part) or pattern_problem(part):
            continue
        if problem := _pattern_problem(part, workspace):
            return f"pattern {number} of {len(parts)}: {problem}" if len(parts) > 1 else problem
    return None


def pattern_reaches(pattern: ObjectPattern, directory: ObjectUrl) -> bool:
    """Return whether a pattern may match an object below a URL."""
    base = pattern.base
    if (base.scheme, base.container) != (directory.scheme, directory.container):
        return False
    segments = [*filter(None, base.key.split("/")), *filter(None, pattern.pattern.split("/"))]
    return _reaches(segments, [*filter(None, directory.key.split("/"))])


def _is_of_store(value: str) -> bool:
    return is_url(value) and local_path(value) is None


def _problem(url: ObjectUrl, workspace: ObjectUrl) -> str | None:
    if url.is_below(workspace):
        below = url.key[len(workspace.key) :].removeprefix("/")
        return _write_instead(str(url), below, workspace)
    return _contains(str(url), workspace) if workspace.is_below(url) else None


def _pattern_problem(text: str, workspace: ObjectUrl) -> str | None:
    pattern = parse_pattern(text, "")
    base = pattern.base
    if base.is_below(workspace):
        below = text.removeprefix(str(workspace)).removeprefix("/")
        return _write_instead(text, below, workspace)
    return _contains(text, workspace) if pattern_reaches(pattern, workspace) else None


def _reaches(pattern: Sequence[str], directory: Sequence[str]) -> bool:
    for part, segment in zip(pattern, directory, strict=False):
        if part == "**":
            return True
        if not fnmatch.fnmatchcase(segment, part):
            return False
    return len(pattern) > len(directory)


def _write_instead(url: str, below: str, workspace: ObjectUrl) -> str:
    path = f"{WORKSPACE_MOUNT}/{below}" if below else WORKSPACE_MOUNT
    return f"{url} is in the workspace {workspace}, whose files are read by their paths: write {path}"


def _contains(url: str, workspace: ObjectUrl) -> str:
    return (
        f"{url} contains the workspace {workspace}, whose files are read by their paths: write {WORKSPACE_MOUNT}/... "
        "for those, and give a URL outside of the workspace for others"
    )
