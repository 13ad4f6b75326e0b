"""Certificate that another controller renews: it is served, and its renewal noticed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maskrcnn_operator.progress_endpoint.certificates import (
    AUTHORITY_LIFETIME,
    Authority,
    CertificateError,
    issue,
    new_authority,
    renewed,
)
from maskrcnn_operator.progress_endpoint.mounted import MountedCertificate

NOW = datetime.now(UTC)


def mount(directory: Path, authority: Authority | None = None) -> str:
    authority = authority or new_authority(NOW)
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


async def test_unusable_files_are_reported_and_the_old_certificate_served(tmp_path: Path) -> None:
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


def verifies(server: ssl.SSLContext, authority: str) -> bool:
    """Return whether a client that trusts a CA, as a step trusts its ca.crt, completes a handshake with a server."""
    client = ssl.create_default_context(cadata=authority)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname="operator.svc")
    right = server.wrap_bio(to_server, to_client, server_side=True)
    unfinished = [left, right]
    for _ in range(10):
        for side in list(unfinished):
            try:
                side.do_handshake()
                unfinished.remove(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    assert not unfinished
    return True


async def test_a_step_verifies_what_its_authority_signs_after_it_was_started(tmp_path: Path) -> None:
    authority = new_authority(NOW - AUTHORITY_LIFETIME + timedelta(days=365))
    mounted = MountedCertificate(tmp_path)
    mount(tmp_path, authority)
    await mounted.refresh()
    given = mounted.ca_pem
    assert verifies(mounted.context, given)

    mount(tmp_path, authority)
    assert await mounted.refresh()
    assert verifies(mounted.context, given)

    # the CA itself is renewed with the same key: rotationPolicy Never
    mount(tmp_path, renewed(authority, NOW))
    assert await mounted.refresh()
    assert mounted.ca_pem != given
    assert verifies(mounted.context, given)

    # with another key, as in the renewal of a self-signed certificate
    mount(tmp_path)
    assert await mounted.refresh()
    assert not verifies(mounted.context, given)


async def test_self_signed_certificate_is_logged_as_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mounted = MountedCertificate(tmp_path)
    mount(tmp_path)
    with caplog.at_level(logging.WARNING):
        await mounted.refresh()
        assert caplog.text == ""
        (tmp_path / "ca.crt").write_bytes((tmp_path / "tls.crt").read_bytes())
        await mounted.refresh()
        await mounted.refresh()
    (record,) = caplog.records
    assert "isn't a certificate authority" in record.getMessage()


@pytest.mark.parametrize("content", [b"", b"no certificate", "caf\u00e9".encode()])
async def test_ca_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    mount(tmp_path)
    (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(CertificateError, match=r"--report-certificate .*: ca\.crt holds an invalid PEM certificate"):
        await MountedCertificate(tmp_path).refresh()
