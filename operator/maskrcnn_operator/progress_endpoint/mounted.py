"""Certificate of the report endpoint from mounted files that another controller, such as cert-manager, renews."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from maskrcnn_operator.progress_endpoint.certificates import CertificateError, signs_others

log = logging.getLogger(__name__)

FILE_CHECK_SECONDS = 60.0
CERTIFICATE_FILE, KEY_FILE, AUTHORITY_FILE = "tls.crt", "tls.key", "ca.crt"


class MountedCertificate:
    """TLS context whose certificate is reloaded from a directory.

    Args:
        directory: has ``tls.crt``, ``tls.key``, and ``ca.crt``, as in a mounted Secret of type kubernetes.io/tls.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: tuple[bytes, bytes, bytes] | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """TLS context for a server after the first :meth:`refresh`; new connections get the newest certificate."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def ca_pem(self) -> str:
        """Trust anchor for steps, as PEM; RuntimeError before the first :meth:`refresh`."""
        if self._loaded is None:
            raise RuntimeError("refresh() has not been awaited yet")
        return self._loaded[2].decode()

    async def refresh(self) -> bool:
        """Load the files if they have changed; return whether they had.

        Raises:
            CertificateError: they cannot be used; the previous certificate stays in use.
        """
        try:
            names = (CERTIFICATE_FILE, KEY_FILE, AUTHORITY_FILE)
            certificate, key, authority = ((self._directory / name).read_bytes() for name in names)
            if self._loaded == (certificate, key, authority):
                return False
            lasts = signs_others(authority)
            self.context.load_cert_chain(self._directory / CERTIFICATE_FILE, self._directory / KEY_FILE)
        except OSError as error:
            # this includes SSLError, for a certificate and a key that do not belong together
            raise CertificateError(f"--report-certificate {self._directory}: {error}") from error
        except CertificateError as error:
            raise CertificateError(f"--report-certificate {self._directory}: {AUTHORITY_FILE} holds {error}") from error
        self._loaded = (certificate, key, authority)
        log.info("The report endpoint uses the certificate in %s", self._directory)
        if not lasts:
            log.warning(
                "%s isn't a certificate authority: running steps will no longer be able to report when %s is renewed;"
                " use an issuer with a CA instead of a self-signed certificate",
                self._directory / AUTHORITY_FILE,
                CERTIFICATE_FILE,
            )
        return True

    async def keep(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Refresh every minute until canceled."""
        failing = False
        while True:
            await sleep(FILE_CHECK_SECONDS)
            try:
                await self.refresh()
                failing = False
            except CertificateError as error:
                if not failing:
                    log.warning(
                        "Could not reload the certificate of the report endpoint, keeping the previous one, retrying "
                        "every %g s: %s",
                        FILE_CHECK_SECONDS,
                        error,
                    )
                failing = True
