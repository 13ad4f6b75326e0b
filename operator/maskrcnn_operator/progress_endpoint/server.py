"""HTTP endpoint for reports of running steps: ``POST /v1/report`` with one line of status.json as the body."""

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
from maskrcnn_operator.progress_endpoint.authorize import Peer, authorize, current_grant
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
"""Reports that a pod may send at once; after that, one per POD_INTERVAL_SECONDS. A trainer never sends more."""
BODY_SECONDS = 10.0
LINGERING_SECONDS = 1.0
"""Seconds for which the rest of a refused request is read, so that the client can read the response."""
READ_BUFFER_BYTES = 16 * 1024

OnReport = Callable[[int], None]
"""Called with the HTTP status of every response."""

RequestHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ClusterView(Protocol):
    """Part of :class:`maskrcnn_operator.cluster.cache.Cache` that the endpoint reads."""

    listed: bool

    def pod(self, uid: str) -> PodView | None:
        """Return the pod of that uid."""

    def job(self, uid: str) -> JobView | None:
        """Return the Job of that uid."""

    def experiment(self, namespace: str, name: str) -> MaskRCNNExperiment | None:
        """Return the experiment; None if it does not exist or cannot be read."""


class ReportEndpoint:
    """Handler of reports, which authenticates the pod, validates the report, and passes it to the writer."""

    def __init__(
        self, cache: ClusterView, tokens: TokenChecker, writer: ProgressWriter, clock: Callable[[], float]
    ) -> None:
        self._cache, self._tokens, self._writer = cache, tokens, writer
        self._pods = RateLimit(POD_INTERVAL_SECONDS, POD_BURST, clock)

    async def report(self, request: web.Request) -> web.Response:
        """Handle one report; respond 200 with ``{"accepted": true}``, or false with the reason if it isn't written."""
        if not self._cache.listed:
            _refuse(503, "NotReady", "the operator is starting and has not listed the pods yet", retry_after=5.0)
        peer = await self._peer(request)
        wait = self._pods.wait(peer.pod_uid)
        if wait > 0:
            message = f"too many reports from this pod, one per {POD_INTERVAL_SECONDS:.0f} s is allowed"
            _refuse(429, "TooManyReports", message, retry_after=wait)
        report = parse_report(await _body(request))
        pod = self._cache.pod(peer.pod_uid)
        job = self._cache.job(pod.job_uid) if pod is not None and pod.job_uid else None
        experiment = self._cache.experiment(job.namespace, job.experiment) if job is not None else None
        grant = authorize(peer, report, pod, job, experiment)
        if isinstance(grant, ReportRefusal):
            raise Refused(grant)
        if self._writer.offer(grant, report.record):
            return web.json_response({"accepted": True})
        current = experiment is not None and current_grant(experiment) == grant
        return web.json_response({"accepted": False, "reason": "NothingNew" if current else "NotCurrentStep"})

    async def _peer(self, request: web.Request) -> Peer:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            message = "the bearer token is missing; send the pod's projected token as Authorization: Bearer TOKEN"
            _refuse(401, "NoToken", message)
        try:
            found = await self._tokens.check(token.strip(), request.remote or "")
        except ApiError as error:
            log.warning(
                "Could not review the token of a report from %s, refusing it with 503: %s", request.remote, error
            )
            _refuse(503, "NotReady", "the API server could not review the token; retry later", retry_after=10.0)
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
    """Return the application of the endpoint. All responses are JSON; errors: ``{"error": {"reason", "message"}}``."""

    @web.middleware
    async def answer(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        try:
            response = await _answered(request, handler)
        except ConnectionError as error:
            # the client has disconnected: aiohttp would log a traceback, whose frames hold the body, which holds the
            # error
            error.__traceback__ = None
            return web.Response(status=400)
        response.force_close()  # one report per connection, since an idle open connection would block another client
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
    """Serve until ``cleanup`` of the returned listener is awaited.

    Args:
        application: the application from :func:`progress_app`.
        port: 0 for any free port, which is in ``addresses`` of the returned listener.
        context: TLS context of new connections.
        host: address to listen on; None for all.
        bounds: limits on the connections.
        on_cut: called for every connection that is closed before its response because of a limit.

    Raises:
        OSError: the address does not belong to this machine, or is in use.
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
            access_log=None,  # type: ignore[arg-type] # None turns it off, according to the documentation of AppRunner
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
    """HTTP protocol of aiohttp that handles a malformed request without a traceback in the log."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status != 400 or exc is None:
            return super().handle_error(request, status, exc, message)
        log.debug("Malformed request from %s, refusing it with 400: %s", request.remote, exc)
        # the error's frames hold the connection with its TLS buffer, and the error: a reference cycle of 256 KiB
        traceback.clear_frames(exc.__traceback__)
        response = _error(ReportRefusal(400, "BadRequest", f"malformed HTTP request: {type(exc).__name__}"))
        response.force_close()
        return response


async def _answered(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused.refusal)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(
            ReportRefusal(error.status, error.reason.replace(" ", ""), f"{error.reason}: use POST {REPORT_PATH}"),
            headers,
        )
    except ConnectionError:
        raise
    except Exception:
        log.exception("Could not handle a report because of an unexpected error, responding with 500")
        return _error(
            ReportRefusal(500, "InternalError", "the report could not be handled; the operator's log has the error")
        )


async def _body(request: web.Request) -> bytes:
    too_large = ReportRefusal(413, "ReportTooLarge", f"the report is too large, at most {MAX_REPORT_BYTES} bytes")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        _refuse(415, "UnsupportedEncoding", "unsupported Content-Encoding; send the report without one")
    if (request.content_length or 0) > MAX_REPORT_BYTES:
        raise Refused(too_large)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(too_large) from None
    except TimeoutError:
        _refuse(408, "TooSlow", f"the report did not arrive within {BODY_SECONDS:.0f} s")
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
