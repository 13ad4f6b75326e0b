"""JSON client of an API server over HTTPS, as the admin of a bed, without a client library."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.apiserver.certificates import Pair

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPE = MERGE_PATCH
TIMEOUT_SECONDS = 30.0


class RestError(Exception):
    """Error response of the API server: ``status`` is the HTTP code, ``body`` the Status object."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {body.get('message', body)}")
        self.status = status
        self.body = body


class Rest:
    """Client with one persistent connection per thread; if the server has closed it, it is reopened once."""

    def __init__(self, host: str, port: int, authority: Path, client: Pair) -> None:
        self.host = host
        self.port = port
        self.context = ssl.create_default_context(cafile=str(authority))
        self.context.load_cert_chain(client.certificate, client.key)
        self._local = threading.local()

    def call(self, method: str, path: str, body: Any = None, content_type: str | None = None) -> Any:
        """Return the API server's response, decoded; as text if it isn't JSON. A body of bytes is sent unchanged.

        Raises:
            RestError: the HTTP status is 400 or more.
            OSError: the server cannot be reached.
        """
        status, text = self._exchange(method, path, body, content_type or (PATCH_TYPE if method == "PATCH" else JSON))
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = text.decode(errors="replace")
        if status >= 400:
            raise RestError(status, decoded if isinstance(decoded, dict) else {"message": decoded})
        return decoded

    def _exchange(self, method: str, path: str, body: Any, content_type: str) -> tuple[int, bytes]:
        encoded = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        for last in (False, True):
            kept: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
            connection = kept or http.client.HTTPSConnection(
                self.host, self.port, context=self.context, timeout=TIMEOUT_SECONDS
            )
            self._local.connection = connection
            try:
                connection.request(method, path, encoded, {"Content-Type": content_type, "Accept": JSON})
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._local.connection = None
                if last or kept is None:
                    raise ConnectionError(f"{method} {path}: {error!r}") from error
        raise AssertionError("unreachable")
