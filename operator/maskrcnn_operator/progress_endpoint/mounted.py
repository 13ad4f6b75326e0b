"""The report endpoint's certificate from mounted files that another controller, such as cert-manager, renews."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from maskrcnn_operator.progress_endpoint.certificates import CertificateError, signs_others

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


class MountedCertificate:
    """Keeps a TLS context served with what a directory holds.

    Args:
        directory: with ``tls.crt``, ``tls.key`` and ``ca.crt``, as a Secret of type kubernetes.io/tls is mounted.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: tuple[bytes, bytes, bytes] | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """Good for a server after the first :meth:`refresh`; connections made later see the newest certificate."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def ca_pem(self) -> str:
        """What steps are given to trust; RuntimeError before the first :meth:`refresh`."""
        if self._loaded is None:
            raise RuntimeError("refresh() has not been awaited yet")
        return self._loaded[2].decode()

    async def refresh(self) -> bool:
        """Reads the files and loads them where they have changed; whether they had.

        Raises:
            CertificateError: they cannot be used; what was served before is served on.
        """
        try:
            names = (CERTIFICATE, KEY, AUTHORITY)
            certificate, key, authority = ((self._directory / name).read_bytes() for name in names)
            if self._loaded == (certificate, key, authority):
                return False
            lasts = signs_others(authority)
            self.context.load_cert_chain(self._directory / CERTIFICATE, self._directory / KEY)
        except OSError as error:
            # an SSLError is one, too: a certificate and a key that do not belong together
            raise CertificateError(f"--report-certificate {self._directory}: {error}") from error
        except CertificateError as error:
            raise CertificateError(f"--report-certificate {self._directory}: {AUTHORITY} holds {error}") from error
        self._loaded = (certificate, key, authority)
        log.info("Reports are served with the certificate in %s", self._directory)
        if not lasts:
            log.warning(
                "%s is no certificate authority: steps that are running cannot report any more once %s is renewed;"
                " use an issuer that signs with an authority, not a self-signed one",
                self._directory / AUTHORITY,
                CERTIFICATE,
            )
        return True

    async def keep(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Refreshes for ever, a minute apart. Ends by cancellation only."""
        failing = False
        while True:
            await sleep(CHECK_SECONDS)
            try:
                await self.refresh()
                failing = False
            except CertificateError as error:
                if not failing:
                    log.warning("The certificate of the report endpoint could not be read: %s", error)
                failing = True
