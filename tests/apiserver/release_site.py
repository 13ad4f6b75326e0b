"""Binaries from the Kubernetes project's release site, each checked against the checksum published beside it."""

from __future__ import annotations

import hashlib
import http.client
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

SITE = "https://dl.k8s.io/release"
REACH_SECONDS = 5.0
STALL_SECONDS = 30.0
CHUNK = 1 << 20


class SiteError(Exception):
    """The release site cannot be reached, lacks a file, or gave something else than it published."""


def download(
    names: Sequence[str],
    folder: Path,
    *,
    version: str,
    architecture: str,
    say: Callable[[str], None],
    site: str = SITE,
    reach_seconds: float = REACH_SECONDS,
) -> None:
    """Put the binaries ``names`` of Kubernetes ``version`` (such as ``1.36.3``) into ``folder``, executable.

    A site that has not answered after ``reach_seconds`` counts as out of reach.

    Raises:
        SiteError: with the reason; ``folder`` may then hold some of the files.
    """
    base = f"{site}/v{version}/bin/linux/{architecture}"
    checksums = {names[0]: _within(reach_seconds, lambda: _checksum(f"{base}/{names[0]}", reach_seconds))}
    for name in names:
        checksum = checksums.get(name) or _checksum(f"{base}/{name}", STALL_SECONDS)
        say(f"Downloading {name} {version} from {urllib.parse.urlsplit(site).hostname}")
        found = _fetch(f"{base}/{name}", folder / name)
        if found != checksum:
            raise SiteError(f"{name}: SHA-256 {found}, published is {checksum}")
        (folder / name).chmod(0o755)


def _within(seconds: float, call: Callable[[], str]) -> str:
    """What ``call`` returns; given up on after ``seconds``, because looking a name up has no time limit of its own."""
    result: list[str] = []
    failure: list[SiteError] = []

    def work() -> None:
        try:
            result.append(call())
        except SiteError as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise SiteError(f"no answer within {seconds:g} s")
    return result[0]


def _checksum(url: str, timeout: float) -> str:
    try:
        with urllib.request.urlopen(f"{url}.sha256", timeout=timeout) as answer:  # noqa: S310 - the site is ours to name
            content: bytes = answer.read(4096)
    except (OSError, http.client.HTTPException) as error:
        raise SiteError(f"{url}.sha256: {error}") from error
    text = content.decode("ascii", "replace").split()
    if not text or len(text[0]) != 64:
        raise SiteError(f"{url}.sha256 is no SHA-256 checksum")
    return text[0].lower()


def _fetch(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=STALL_SECONDS) as answer, target.open("wb") as file:  # noqa: S310
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise SiteError(f"{url}: {error}") from error
    return digest.hexdigest()
