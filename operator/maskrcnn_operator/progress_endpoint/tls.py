"""The endpoint's side of TLS: a context whose certificate is replaced before it expires, without a restart."""

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

CHECK_SECONDS = 3600.0
RETRY_SECONDS = 60.0


class ServerCertificate:
    """Keeps a TLS context served.

    Args:
        client: reads and writes the authority's Secret.
        namespace: that of the Secret.
        names: DNS names and addresses that clients know the endpoint by.
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
        """Good for a server after the first :meth:`refresh`; connections made later see the newest certificate."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def ca_pem(self) -> str:
        """What steps are given to trust; RuntimeError before the first :meth:`refresh`."""
        if self._authority is None:
            raise RuntimeError("refresh() has not been awaited yet")
        return self._authority.certificate_pem

    async def refresh(self) -> bool:
        """Reads the authority and replaces the certificate where it is due; whether it was replaced.

        Raises:
            CertificateError, ApiError: the authority cannot be had; what was served before is served on.
        """
        self._authority = await obtain_authority(self._client, self._namespace, SECRET_NAME, self._now())
        if self._leaf is not None and self._leaf.serves(self._authority, self._now()):
            return False
        leaf = issue(self._authority, self._names, self._now())
        load(self.context, leaf)
        self._leaf = leaf
        log.info("Reports are served with a certificate until %s", leaf.not_after.isoformat(timespec="seconds"))
        return True

    async def keep(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Refreshes for ever, an hour apart, a minute apart while that fails. Ends by cancellation only."""
        failing = False
        while True:
            await sleep(RETRY_SECONDS if failing else CHECK_SECONDS)
            try:
                await self.refresh()
                failing = False
            except (ApiError, CertificateError) as error:
                if not failing:
                    log.warning("The certificate of the report endpoint could not be checked: %s", error)
                failing = True


def load(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Makes a context show ``leaf`` to connections from now on."""
    # OpenSSL reads files only: one that exists in memory alone keeps the key off every disk
    descriptor = os.memfd_create("report-certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(leaf.certificate + leaf.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
