"""Posting the records of a task to a report server, beside the task and never in its way."""

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
from typing import Any, Protocol

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
    """Takes records without waiting; ``close`` gives up what has not been sent."""

    def offer(self, record: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


class HttpPoster:
    """Posts the newest record as JSON from a thread of its own, at most one in ``interval`` seconds.

    A record that a newer one overtakes is dropped, its ``kpi`` kept when the newer one has none. The bearer token is
    read again at every post (a projected token is rotated) and sent over HTTPS only. A failed post is logged once.
    """

    def __init__(self, environment: TaskEnvironment, *, interval: float = POST_INTERVAL_SECONDS) -> None:
        url = environment.report_url or ""
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise InvalidInput(f"{REPORT_URL_VARIABLE}: {url!r} is not an http:// or https:// address")
        self._url = url
        self._token_file = environment.report_token_file if url.startswith("https://") else None
        self._ca_file = environment.report_ca_file
        self._interval = interval
        self._pending: dict[str, Any] | None = None
        self._closed = False
        self._failing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="report-post", daemon=True)
        self._thread.start()

    def offer(self, record: Mapping[str, Any]) -> None:
        """Make ``record`` the next one to be sent; returns at once."""
        with self._changed:
            kpi = (self._pending or {}).get(StatusKey.KPI)
            self._pending = dict(record)
            if kpi and not self._pending.get(StatusKey.KPI):
                self._pending[StatusKey.KPI] = kpi
            self._changed.notify_all()

    def close(self, patience: float = 2.0) -> None:
        """Stop; a post that is due or on its way gets ``patience`` seconds."""
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
        except Exception as error:  # noqa: BLE001 - training continues whatever the report server does
            if not self._failing:
                logger.warning("Progress could not be posted to %s: %s", self._url, _explained(error))
            self._failing = True


def _explained(error: Exception) -> str:
    """The error, with the beginning of what a server said about it."""
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.suppress(Exception):
            return f"{error} {error.read(EXPLANATION_BYTES).decode('utf-8', 'replace')}".strip()
    return str(error)
