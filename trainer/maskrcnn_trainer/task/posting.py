"""Posting of a task's records to a report server, in the background and without failing the task."""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.messages import StatusKey
from maskrcnn_trainer.shared.variables import REPORT_URL_VARIABLE
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import compact_json

logger = logging.getLogger(__name__)

POST_INTERVAL_SECONDS = 30.0
POST_TIMEOUT_SECONDS = 10.0
EXPLANATION_BYTES = 500


class Poster(Protocol):
    """Receiver of records that doesn't block."""

    def offer(self, record: Mapping[str, Any]) -> None:
        """Accept a record to be sent."""

    def close(self) -> None:
        """Stop, and drop records that haven't been sent."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Handler that doesn't follow redirects, which would send the token to another host."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


class HttpPoster:
    """Poster that sends the newest record as JSON from its own thread, at most once in ``interval`` seconds.

    A record is dropped when a newer one arrives; its ``kpi`` is kept if the newer one has none. The bearer token is
    read again for every post (a projected token is rotated) and is sent over HTTPS only. After a failed post, further
    failures aren't logged until a post succeeds. Nothing is sent before :meth:`start`.
    """

    def __init__(self, environment: TaskEnvironment, *, interval: float = POST_INTERVAL_SECONDS) -> None:
        url = environment.report_url or ""
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise InvalidInput(f"{REPORT_URL_VARIABLE}: {url!r} must be an http:// or https:// URL")
        self._url = url
        self._token_file = environment.report_token_file if url.startswith("https://") else None
        self._ca_file = environment.report_ca_file
        self._interval = interval
        self._pending: dict[str, Any] | None = None
        self._closed = False
        self._failing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="report-post", daemon=True)

    def start(self) -> Self:
        """Start the thread that sends, and return this poster."""
        self._thread.start()
        return self

    def offer(self, record: Mapping[str, Any]) -> None:
        """Make ``record`` the next one to be sent, and return at once."""
        with self._changed:
            kpi = (self._pending or {}).get(StatusKey.KPI)
            self._pending = dict(record)
            if kpi and not self._pending.get(StatusKey.KPI):
                self._pending[StatusKey.KPI] = kpi
            self._changed.notify_all()

    def close(self, patience: float = 2.0) -> None:
        """Stop, after at most ``patience`` seconds for a post that is due or in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(patience)

    def _run(self) -> None:
        earliest = 0.0
        while True:
            with self._changed:
                while self._pending is None or time.monotonic() < earliest:
                    if self._closed:
                        return
                    wait = None if self._pending is None else max(0.0, earliest - time.monotonic())
                    self._changed.wait(wait)
                record, self._pending = self._pending, None
            earliest = time.monotonic() + self._interval
            self._post(record)

    def _post(self, record: Mapping[str, Any]) -> None:
        try:
            headers = {"Content-Type": "application/json"}
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {Path(self._token_file).read_text(encoding='utf-8').strip()}"
            context = ssl.create_default_context(cafile=self._ca_file) if self._url.startswith("https://") else None
            payload = compact_json(record)
            request = urllib.request.Request(self._url, data=payload, headers=headers)  # noqa: S310 - checked
            opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
            opener.open(request, timeout=POST_TIMEOUT_SECONDS).close()
            self._failing = False
        except Exception as error:  # noqa: BLE001 - no failure of the report server may stop the training
            if not self._failing:
                logger.warning("Progress could not be posted to %s: %s", self._url, _explained(error))
            self._failing = True


def _explained(error: Exception) -> str:
    """Return the text of an error, with the beginning of the server's response."""
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.suppress(Exception):
            return f"{error} {error.read(EXPLANATION_BYTES).decode('utf-8', 'replace')}".strip()
    return str(error)
