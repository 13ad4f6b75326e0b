"""Binaries from the Kubernetes project's release site, verified with the published checksums."""

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
    """The release site cannot be reached, lacks a file, or sent a file with another checksum."""


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

    A site that hasn't answered after ``reach_seconds`` counts as unreachable.

    Raises:
        SiteError: a download failed; ``folder`` may contain some of the files.
    """
    base = f"{site}/v{version}/bin/linux/{architecture}"
    checksums = {names[0]: _within(reach_seconds, lambda: _checksum(f"{base}/{names[0]}", reach_seconds))}
    for name in names:
        checksum = checksums.get(name) or _checksum(f"{base}/{name}", STALL_SECONDS)
        say(f"Downloading {name} {version} from {urllib.parse.urlsplit(site).hostname}")
        found = _fetch(f"{base}/{name}", folder / name)
        if found != checksum:
            raise SiteError(f"{name}: SHA-256 is {found}, expected {checksum}")
        (folder / name).chmod(0o755)


def _within(seconds: float, call: Callable[[], str]) -> str:
    """Return the result of ``call``; give up after ``seconds``, because DNS lookups have no time limit."""
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
        with urllib.request.urlopen(f"{url}.sha256", timeout=timeout) as answer:  # noqa: S310 - https, or a test's own server
            content: bytes = answer.read(4096)
    except (OSError, http.client.HTTPException) as error:
        raise SiteError(f"{url}.sha256: {error}") from error
    text = content.decode("ascii", "replace").split()
    if not text or len(text[0]) != 64:
        raise SiteError(f"{url}.sha256: invalid SHA-256 checksum")
    return text[0].lower()


def _fetch(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=STALL_SECONDS) as answer,  # noqa: S310 - https, or a test's own server
            target.open("wb") as file,
        ):
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise SiteError(f"{url}: {error}") from error
    return digest.hexdigest()
