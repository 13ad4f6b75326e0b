"""The endpoint that running steps report to: ``POST /v1/report``, one line of status.json in the body."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import ssl
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, Protocol

from aiohttp import web

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.jobs.views import JobView, PodView
from maskrcnn_operator.progress_endpoint.authorise import Peer, authorise, speaks_for_current
from maskrcnn_operator.progress_endpoint.bounds import Bounds
from maskrcnn_operator.progress_endpoint.listener import BoundedListener
from maskrcnn_operator.progress_endpoint.refusal import Refused, ReportRefusal
from maskrcnn_operator.progress_endpoint.report import MAX_REPORT_BYTES, parse_report
from maskrcnn_operator.progress_endpoint.tokens import TokenChecker
from maskrcnn_operator.progress_endpoint.writer import ProgressWriter

log = logging.getLogger(__name__)

REPORT_PATH = "/v1/report"
POD_INTERVAL_SECONDS = 10.0
POD_BURST = 10
"""A pod may send so many at once, and then one in POD_INTERVAL_SECONDS: more than a trainer ever does."""
BODY_SECONDS = 10.0
LINGERING_SECONDS = 1.0
"""Seconds for which the rest of a refused client's request is read, so that the client can read the answer."""
READ_BUFFER_BYTES = 16 * 1024

OnReport = Callable[[int], None]
"""Told of every answer: its HTTP status."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ClusterView(Protocol):
    """What the endpoint reads of :class:`maskrcnn_operator.cluster.cache.Cache`."""

    listed: bool

    def pod(self, uid: str) -> PodView | None: ...

    def job(self, uid: str) -> JobView | None: ...

    def experiment(self, namespace: str, name: str) -> MaskRCNNExperiment | None: ...


class ReportEndpoint:
    """Takes reports: proves who speaks, checks what is said, hands it to the writer."""

    def __init__(
        self, cache: ClusterView, tokens: TokenChecker, writer: ProgressWriter, clock: Callable[[], float]
    ) -> None:
        self._cache, self._tokens, self._writer = cache, tokens, writer
        self._pods = RateLimit(POD_INTERVAL_SECONDS, POD_BURST, clock)

    async def report(self, request: web.Request) -> web.Response:
        """Answers one report: 200 with ``{"accepted": true}``, or false with a reason where it is not written."""
        if not self._cache.listed:
            _refuse(503, "NotReady", "the operator has just started and does not know the pods yet", retry_after=5.0)
        peer = await self._peer(request)
        wait = self._pods.wait(peer.pod_uid)
        if wait > 0:
            _refuse(429, "TooManyReports", f"a pod may report once in {POD_INTERVAL_SECONDS:.0f} s", retry_after=wait)
        report = parse_report(await _body(request))
        pod = self._cache.pod(peer.pod_uid)
        job = self._cache.job(pod.job_uid) if pod is not None and pod.job_uid else None
        experiment = self._cache.experiment(job.namespace, job.experiment) if job is not None else None
        grant = authorise(peer, report, pod, job, experiment)
        if isinstance(grant, ReportRefusal):
            raise Refused(grant)
        if self._writer.offer(grant, report.record):
            return web.json_response({"accepted": True})
        current = speaks_for_current(grant, experiment)
        return web.json_response({"accepted": False, "reason": "NothingNew" if current else "NotCurrentStep"})

    async def _peer(self, request: web.Request) -> Peer:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            _refuse(401, "NoToken", "send the pod's projected token as Authorization: Bearer TOKEN")
        try:
            found = await self._tokens.check(token.strip(), request.remote or "")
        except ApiError as error:
            log.warning("A token could not be reviewed: %s", error)
            _refuse(503, "NotReady", "the API server cannot be asked about the token now", retry_after=10.0)
        if isinstance(found, ReportRefusal):
            raise Refused(found)
        return found


def progress_app(
    cache: ClusterView,
    tokens: TokenChecker,
    writer: ProgressWriter,
    *,
    clock: Callable[[], float] = time.monotonic,
    on_report: OnReport | None = None,
) -> web.Application:
    """The endpoint as an application; it answers in JSON, errors too: ``{"error": {"reason", "message"}}``."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await _answered(request, handler)
        except ConnectionError as error:
            # the client is gone: aiohttp would log a traceback, whose frames hold the body, which holds the error
            error.__traceback__ = None
            return web.Response(status=400)
        response.force_close()  # one report a connection: a client that keeps it open would take another's place
        if on_report is not None:
            on_report(response.status)
        return response

    application = web.Application(middlewares=[answer], client_max_size=MAX_REPORT_BYTES)
    application.router.add_post(REPORT_PATH, ReportEndpoint(cache, tokens, writer, clock).report)
    return application


async def serve(
    application: web.Application,
    port: int,
    context: ssl.SSLContext,
    host: str | None = None,
    *,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    on_cut: Callable[[], None] = lambda: None,
) -> BoundedListener:
    """Serve until ``cleanup`` of what is returned is awaited.

    Args:
        port: 0 for any free one; ``addresses`` of what is returned has it.
        host: address to listen at; all of them when None.
        bounds: on connections.
        on_cut: called for every connection that is closed before its answer because of a bound.

    Raises:
        OSError: the address cannot be listened at.
    """
    runner = web.AppRunner(application, shutdown_timeout=2.0)
    await runner.setup()
    server, loop = runner.server, asyncio.get_running_loop()
    if server is None:
        raise RuntimeError("the application has not been set up")

    def new_handler() -> asyncio.Protocol:
        return _HttpHandler(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None turns it off, as the documentation of AppRunner has it
            keepalive_timeout=0.0,
            tcp_keepalive=False,
            auto_decompress=False,
            lingering_time=LINGERING_SECONDS,
            read_bufsize=READ_BUFFER_BYTES,
        )

    listener = BoundedListener(new_handler, runner.cleanup, context, bounds, on_cut)
    try:
        await listener.start(host, port)
    except OSError:
        await runner.cleanup()
        raise
    return listener


class _HttpHandler(web.RequestHandler):
    """aiohttp's protocol; it answers a malformed request without a traceback in the log."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status != 400 or exc is None:
            return super().handle_error(request, status, exc, message)
        log.debug("A malformed request of %s: %s", request.remote, exc)
        # the error's frames hold the connection with its TLS buffer, and the error: a cycle of 256 KiB
        traceback.clear_frames(exc.__traceback__)
        response = _error(ReportRefusal(400, "BadRequest", f"the request cannot be read: {type(exc).__name__}"))
        response.force_close()
        return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused.refusal)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(
            ReportRefusal(error.status, error.reason.replace(" ", ""), f"{error.reason}: POST {REPORT_PATH}"), headers
        )
    except ConnectionError:
        raise
    except Exception:
        log.exception("A report could not be answered")
        return _error(
            ReportRefusal(500, "InternalError", "the report could not be handled; the operator's log says why")
        )


async def _body(request: web.Request) -> bytes:
    too_large = ReportRefusal(413, "ReportTooLarge", f"a report has at most {MAX_REPORT_BYTES} bytes")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        _refuse(415, "UnsupportedEncoding", "send the report without a content encoding")
    if (request.content_length or 0) > MAX_REPORT_BYTES:
        raise Refused(too_large)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(too_large) from None
    except TimeoutError:
        _refuse(408, "TooSlow", f"a report must arrive within {BODY_SECONDS:.0f} s")
    except (web.RequestPayloadError, ValueError) as error:
        _refuse(400, "InvalidReport", f"the body cannot be read: {type(error).__name__}")


def _refuse(status: int, reason: str, message: str, retry_after: float | None = None) -> NoReturn:
    raise Refused(ReportRefusal(status, reason, message, retry_after))


def _error(refusal: ReportRefusal, headers: Mapping[str, str] | None = None) -> web.Response:
    sent = dict(headers or {})
    if refusal.retry_after is not None:
        sent["Retry-After"] = str(max(1, math.ceil(refusal.retry_after)))
    if refusal.status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    body = json.dumps({"error": {"reason": refusal.reason, "message": refusal.message}})
    return web.Response(status=refusal.status, text=body, content_type="application/json", headers=sent)
