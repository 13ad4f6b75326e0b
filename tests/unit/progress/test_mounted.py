"""A certificate that somebody else renews is served, and its renewal noticed."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maskrcnn_operator.progress.certificates import CertificateError, issue, new_authority
from maskrcnn_operator.progress.mounted import MountedCertificate

NOW = datetime.now(UTC)


def mount(directory: Path) -> str:
    authority = new_authority(NOW)
    leaf = issue(authority, ("operator.svc",), NOW)
    (directory / "tls.crt").write_bytes(leaf.certificate)
    (directory / "tls.key").write_bytes(leaf.key)
    (directory / "ca.crt").write_text(authority.certificate_pem)
    return authority.certificate_pem


async def test_a_renewed_certificate_is_loaded_once(tmp_path: Path) -> None:
    authority = mount(tmp_path)
    mounted = MountedCertificate(tmp_path)
    with pytest.raises(RuntimeError):
        _ = mounted.ca_pem
    assert [await mounted.refresh(), await mounted.refresh()] == [True, False]
    assert mounted.ca_pem == authority
    renewed = mount(tmp_path)
    assert await mounted.refresh() is True
    assert mounted.ca_pem == renewed != authority


async def test_what_cannot_be_used_is_told_and_the_old_one_served(tmp_path: Path) -> None:
    mounted = MountedCertificate(tmp_path)
    with pytest.raises(CertificateError, match=r"tls\.crt"):
        await mounted.refresh()
    authority = mount(tmp_path)
    await mounted.refresh()
    (tmp_path / "tls.key").write_bytes(b"no key")
    with pytest.raises(CertificateError, match="--report-certificate"):
        await mounted.refresh()
    assert mounted.ca_pem == authority


async def test_files_that_stay_unusable_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mount(tmp_path)
    mounted = MountedCertificate(tmp_path)
    checks = iter(["broken", "broken", "mended", "broken"])

    async def sleep(_: float) -> None:
        check = next(checks, None)
        if check is None:
            raise asyncio.CancelledError
        mount(tmp_path)
        if check == "broken":
            (tmp_path / "tls.key").write_bytes(b"no key")

    with pytest.raises(asyncio.CancelledError):
        await mounted.keep(sleep)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2
