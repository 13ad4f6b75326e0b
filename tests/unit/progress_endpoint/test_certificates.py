"""CA that all replicas share, and certificates that are replaced in time."""

from __future__ import annotations

import asyncio
import base64
import copy
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from maskrcnn_operator.cluster.errors import api_error
from maskrcnn_operator.progress_endpoint.authority_secret import obtain_authority
from maskrcnn_operator.progress_endpoint.certificates import (
    AUTHORITY_LIFETIME,
    CertificateError,
    issue,
    new_authority,
    read_authority,
    renewed,
)
from maskrcnn_operator.progress_endpoint.tls import ServerCertificate

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Secrets:
    """Secrets of an API server, including conflicts; ``together`` calls of get respond at the same moment."""

    def __init__(self, together: int = 1) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.calls: list[str] = []
        self.down = False
        self.hold(together)

    def hold(self, together: int) -> None:
        """Make the next ``together`` calls of get wait for each other."""
        self._barrier, self._held = asyncio.Barrier(together), together

    async def get(self, resource: Any, namespace: str | None, name: str) -> dict[str, Any]:
        self.calls.append("get")
        if self.down:
            raise api_error(0, "TimeoutError", "")
        found = copy.deepcopy(self.kept.get(name))
        if self._held > 0:
            self._held -= 1
            await self._barrier.wait()
        if found is None:
            raise api_error(404, "NotFound", name)
        return found

    async def create(self, resource: Any, namespace: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append("create")
        if body["metadata"]["name"] in self.kept:
            raise api_error(409, "AlreadyExists", "")
        return self._keep(body)

    async def replace(self, resource: Any, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append("replace")
        if body["metadata"]["resourceVersion"] != self.kept[name]["metadata"]["resourceVersion"]:
            raise api_error(409, "Conflict", "")
        return self._keep(body)

    def _keep(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        kept: dict[str, Any] = copy.deepcopy(dict(body))
        kept["metadata"]["resourceVersion"] = str(self.version)
        self.kept[kept["metadata"]["name"]] = kept
        return kept


def handshake(server: ssl.SSLContext, trusted: str, name: str) -> x509.Certificate:
    """Make a TLS handshake in memory; return the server's certificate, or raise ssl.SSLError as a client would."""
    client = ssl.create_default_context(cadata=trusted)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname=name)
    right = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (left, right):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = left.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown)


def test_a_leaf_is_for_its_names_and_a_server() -> None:
    authority = new_authority(NOW)
    leaf = x509.load_pem_x509_certificate(issue(authority, ["reports.ops.svc", "127.0.0.1"], NOW).certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["reports.ops.svc"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    leaf.verify_directly_issued_by(authority.certificate)
    assert leaf.not_valid_after_utc - NOW == timedelta(days=30)
    assert leaf.not_valid_before_utc < NOW


def test_an_authority_is_renewed_with_its_key_long_before_it_ends() -> None:
    authority = new_authority(NOW)
    assert renewed(authority, NOW + AUTHORITY_LIFETIME - timedelta(days=731)) is authority
    later = NOW + AUTHORITY_LIFETIME - timedelta(days=729)
    again = renewed(authority, later)
    assert again.certificate.not_valid_after_utc - later == AUTHORITY_LIFETIME
    # a step that trusts the old certificate can still report, since the old key signs
    leaf = x509.load_pem_x509_certificate(issue(again, ["a.b.svc"], later).certificate)
    leaf.verify_directly_issued_by(authority.certificate)


def test_key_of_another_ca_is_refused() -> None:
    one, other = new_authority(NOW), new_authority(NOW)
    assert read_authority(one.certificate_pem.encode(), one.key_pem.encode()).key_pem == one.key_pem
    with pytest.raises(CertificateError, match="doesn't belong to the certificate"):
        read_authority(one.certificate_pem.encode(), other.key_pem.encode())


async def test_the_authority_is_made_once_and_then_read() -> None:
    secrets = Secrets()
    first = await obtain_authority(secrets, "ops", "ca", NOW)
    second = await obtain_authority(secrets, "ops", "ca", NOW)
    assert first.certificate_pem == second.certificate_pem
    assert secrets.calls == ["get", "create", "get"]


async def test_replicas_that_create_a_ca_at_once_use_the_same() -> None:
    secrets = Secrets(together=3)
    found = await asyncio.gather(*(obtain_authority(secrets, "ops", "ca", NOW) for _ in range(3)))
    assert len({authority.certificate_pem for authority in found}) == 1
    assert secrets.calls.count("create") == 3


async def test_replicas_that_renew_a_ca_at_once_use_the_same() -> None:
    secrets = Secrets()
    old = await obtain_authority(secrets, "ops", "ca", NOW)
    later = NOW + AUTHORITY_LIFETIME - timedelta(days=100)
    secrets.hold(3)
    found = await asyncio.gather(*(obtain_authority(secrets, "ops", "ca", later) for _ in range(3)))
    assert len({authority.certificate_pem for authority in found}) == 1
    assert found[0].certificate_pem != old.certificate_pem
    assert found[0].key_pem == old.key_pem
    assert secrets.calls.count("replace") == 3


async def test_secret_that_is_deleted_while_it_is_renewed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets()
    old = await obtain_authority(secrets, "ops", "ca", NOW)

    async def replace(*_: Any) -> dict[str, Any]:
        del secrets.kept["ca"]
        raise api_error(404, "NotFound", "ca")

    monkeypatch.setattr(secrets, "replace", replace)
    found = await obtain_authority(secrets, "ops", "ca", NOW + AUTHORITY_LIFETIME)
    assert found.key_pem != old.key_pem
    assert set(secrets.kept) == {"ca"}


@pytest.mark.parametrize(
    "data",
    [None, {}, {"ca.crt": "!", "ca.key": "!"}, {"ca.crt": base64.b64encode(b"x").decode(), "ca.key": "eA=="}],
)
async def test_invalid_secret_is_reported_and_not_overwritten(data: Any) -> None:
    secrets = Secrets()
    secrets.kept["ca"] = {"metadata": {"name": "ca", "resourceVersion": "1"}, "data": data}
    with pytest.raises(CertificateError, match="Secret ops/ca: .* delete the Secret"):
        await obtain_authority(secrets, "ops", "ca", NOW)
    assert secrets.calls == ["get"]


async def test_a_certificate_is_replaced_before_it_expires_and_new_connections_see_it(time: Any) -> None:
    # OpenSSL uses the real time, so this clock starts there
    start = datetime.now(UTC)
    certificate = ServerCertificate(Secrets(), "ops", ["reports.ops.svc"], now=lambda: start + (time.now() - time_zero))
    time_zero = time.now()
    assert await certificate.refresh()
    first = handshake(certificate.context, certificate.ca_pem, "reports.ops.svc")
    await time.advance(timedelta(days=19, hours=23).total_seconds())
    assert not await certificate.refresh()
    assert handshake(certificate.context, certificate.ca_pem, "reports.ops.svc") == first
    await time.advance(timedelta(hours=2).total_seconds())
    assert await certificate.refresh()
    await time.advance(-timedelta(days=20, hours=1).total_seconds())
    fresh = _leaf(certificate)
    assert fresh.serial_number != first.serial_number
    assert fresh.not_valid_after_utc - first.not_valid_after_utc > timedelta(days=19)


def _leaf(certificate: ServerCertificate) -> x509.Certificate:
    """Return the context's certificate as seen by a client that does not check it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server)
    right = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (left, right):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = left.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown)


async def test_clients_check_authority_and_name() -> None:
    certificate = ServerCertificate(Secrets(), "ops", ["reports.ops.svc"])
    await certificate.refresh()
    handshake(certificate.context, certificate.ca_pem, "reports.ops.svc")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(certificate.context, certificate.ca_pem, "reports.other.svc")
    stranger = ServerCertificate(Secrets(), "ops", ["reports.ops.svc"])
    await stranger.refresh()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificate.context, stranger.ca_pem, "reports.ops.svc")


async def test_replaced_ca_is_used() -> None:
    secrets = Secrets()
    certificate = ServerCertificate(secrets, "ops", ["reports.ops.svc"])
    await certificate.refresh()
    before = certificate.ca_pem
    secrets.kept.clear()
    assert await certificate.refresh()
    assert certificate.ca_pem != before
    handshake(certificate.context, certificate.ca_pem, "reports.ops.svc")


async def test_renewal_continues_after_an_api_outage(time: Any, caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets()
    certificate = ServerCertificate(secrets, "ops", ["reports.ops.svc"])
    await certificate.refresh()
    keeper = asyncio.create_task(certificate.keep(time.sleep))
    await time.advance(3600)
    assert secrets.calls.count("get") == 2
    secrets.down = True
    await time.advance(3600)
    for _ in range(3):
        await time.advance(60)
    assert secrets.calls.count("get") == 6
    assert len([line for line in caplog.records if "Could not renew the certificate" in line.message]) == 1
    secrets.down = False
    await time.advance(60)
    await time.advance(60)
    assert secrets.calls.count("get") == 7
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
