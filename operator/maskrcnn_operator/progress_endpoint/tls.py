"""TLS context of the endpoint whose certificate is replaced before it expires, without a restart."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.progress_endpoint.authority_secret import SECRET_NAME, SecretClient, obtain_authority
from maskrcnn_operator.progress_endpoint.certificates import Authority, CertificateError, Leaf, issue

log = logging.getLogger(__name__)

EXPIRY_CHECK_SECONDS = 3600.0
RENEWAL_RETRY_SECONDS = 60.0


class ServerCertificate:
    """TLS context with a certificate of the operator's own CA.

    Args:
        client: reads and writes the CA's Secret.
        namespace: namespace of the Secret.
        names: DNS names and addresses by which clients reach the endpoint.
        now: time of day, aware.
    """

    def __init__(
        self,
        client: SecretClient,
        namespace: str,
        names: Sequence[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._namespace, self._names, self._now = client, namespace, names, now
        self._authority: Authority | None = None
        self._leaf: Leaf | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """TLS context for a server after the first :meth:`refresh`; new connections get the newest certificate."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def ca_pem(self) -> str:
        """Trust anchor for steps, as PEM; RuntimeError before the first :meth:`refresh`."""
        if self._authority is None:
            raise RuntimeError("refresh() has not been awaited yet")
        return self._authority.certificate_pem

    async def refresh(self) -> bool:
        """Read the CA and replace the certificate if it is due; return whether it was replaced.

        Raises:
            CertificateError, ApiError: the CA is not available; the previous certificate stays in use.
        """
        self._authority = await obtain_authority(self._client, self._namespace, SECRET_NAME, self._now())
        if self._leaf is not None and self._leaf.serves(self._authority, self._now()):
            return False
        leaf = issue(self._authority, self._names, self._now())
        load(self.context, leaf)
        self._leaf = leaf
        log.info(
            "The report endpoint uses a new certificate, valid until %s", leaf.not_after.isoformat(timespec="seconds")
        )
        return True

    async def keep(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Refresh every hour, or every minute while that fails, until canceled."""
        failing = False
        while True:
            await sleep(RENEWAL_RETRY_SECONDS if failing else EXPIRY_CHECK_SECONDS)
            try:
                await self.refresh()
                failing = False
            except (ApiError, CertificateError) as error:
                if not failing:
                    log.warning(
                        "Could not renew the certificate of the report endpoint, keeping the previous one, retrying "
                        "every %g s: %s",
                        RENEWAL_RETRY_SECONDS,
                        error,
                    )
                failing = True


def load(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Set the certificate that a context uses for new connections."""
    # OpenSSL only reads files; a file in memory keeps the key off the disk
    descriptor = os.memfd_create("report-certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(leaf.certificate + leaf.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
