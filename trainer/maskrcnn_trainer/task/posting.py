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
from maskrcnn_trainer.shared.messages import PostedKey, StatusKey
from maskrcnn_trainer.shared.variables import REPORT_URL_VARIABLE
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import compact_json
from maskrcnn_trainer.task.publication import TaskPublication

logger = logging.getLogger(__name__)

POST_INTERVAL_SECONDS = 30.0
POST_TIMEOUT_SECONDS = 10.0
SECONDS_OF_A_USUAL_PUBLISH = 120.0
"""Time for which a checkpoint may wait to be published without a post about it."""
SECONDS_BETWEEN_CHECKS = 5.0
"""Time between two looks at what is published, while there is nothing to post."""
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

    Args:
        environment: URL of the report server, and how to reach it.
        interval: shortest time between two posts, in seconds.
        publication: channel to the launcher that publishes the results. With it, a post has the published checkpoint
            and, after SECONDS_OF_A_USUAL_PUBLISH, :class:`PostedKey` as they are when it is sent. The last record is
            posted again once that has changed: until its next record, a task may compute for a long time.

    Raises:
        InvalidInput: the URL isn't one of HTTP.
    """

    def __init__(
        self,
        environment: TaskEnvironment,
        *,
        interval: float = POST_INTERVAL_SECONDS,
        publication: TaskPublication | None = None,
    ) -> None:
        url = environment.report_url or ""
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise InvalidInput(f"{REPORT_URL_VARIABLE}: {url!r} must be an http:// or https:// URL")
        self._url = url
        self._token_file = environment.report_token_file if url.startswith("https://") else None
        self._ca_file = environment.report_ca_file
        self._interval = interval
        self._publication = publication
        self._last: dict[str, Any] | None = None
        self._posted: tuple[int | None, bool] = (None, False)
        """Published checkpoint of the last post that succeeded, and whether it stated a wait."""
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
                while time.monotonic() < earliest or not self._is_due():
                    if self._closed:
                        return
                    self._changed.wait(self._pause(earliest - time.monotonic()))
                if self._pending is not None:
                    self._last, self._pending = self._pending, None
            earliest = time.monotonic() + self._interval
            step, seconds = self._published()
            if self._post({**(self._last or {}), **_members(step, seconds)}):
                self._posted = (step, seconds is not None)

    def _is_due(self) -> bool:
        if self._pending is not None:
            return True
        step, seconds = self._published()
        return self._last is not None and (step, seconds is not None) != self._posted

    def _pause(self, rest: float) -> float | None:
        """Return the seconds until the next look, or None until a record is offered.

        Args:
            rest: seconds until a post is allowed.
        """
        if self._pending is not None:
            return max(0.0, rest)
        return None if self._publication is None else max(SECONDS_BETWEEN_CHECKS, rest)

    def _published(self) -> tuple[int | None, float | None]:
        """Return the published checkpoint, and for how many seconds a newer one has waited if that is unusual."""
        if self._publication is None:
            return None, None
        step, seconds = self._publication.published_step, self._publication.unpublished_seconds
        return step, None if seconds is None or seconds < SECONDS_OF_A_USUAL_PUBLISH else seconds

    def _post(self, record: Mapping[str, Any]) -> bool:
        """Send a record; return whether the server has accepted it."""
        try:
            headers = {"Content-Type": "application/json"}
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {Path(self._token_file).read_text(encoding='utf-8').strip()}"
            context = ssl.create_default_context(cafile=self._ca_file) if self._url.startswith("https://") else None
            payload = compact_json(record)
            request = urllib.request.Request(self._url, data=payload, headers=headers)  # noqa: S310 - checked
            opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
            opener.open(request, timeout=POST_TIMEOUT_SECONDS).close()
        except Exception as error:  # noqa: BLE001 - no failure of the report server may stop the training
            if not self._failing:
                logger.warning("Progress could not be posted to %s: %s", self._url, _explained(error))
            self._failing = True
            return False
        self._failing = False
        return True


def _members(step: int | None, seconds: float | None) -> dict[str, int]:
    """Return the members of a post about what is published."""
    found = {} if step is None else {StatusKey.CHECKPOINT_STEP.value: step}
    return found if seconds is None else {**found, PostedKey.UNPUBLISHED_SECONDS.value: int(seconds)}


def _explained(error: Exception) -> str:
    """Return the text of an error, with the beginning of the server's response."""
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.suppress(Exception):
            return f"{error} {error.read(EXPLANATION_BYTES).decode('utf-8', 'replace')}".strip()
    return str(error)
