"""Replica of the operator: construction of its parts, start in order, and stop in reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from maskrcnn_operator.cluster.budget import CallBudget, CallPurpose, rate_of
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.connection import connect, load_configuration
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.metrics import process as metrics
from maskrcnn_operator.metrics import server as metrics_server
from maskrcnn_operator.metrics.experiments import ExperimentCollector
from maskrcnn_operator.metrics.plain_http import PlainServer
from maskrcnn_operator.progress_endpoint import server as report_server
from maskrcnn_operator.progress_endpoint.certificates import CertificateError
from maskrcnn_operator.progress_endpoint.listener import BoundedListener
from maskrcnn_operator.progress_endpoint.mounted import MountedCertificate
from maskrcnn_operator.progress_endpoint.tls import ServerCertificate
from maskrcnn_operator.progress_endpoint.tokens import TokenChecker
from maskrcnn_operator.progress_endpoint.writer import ProgressWriter
from maskrcnn_operator.runtime import health as health_server
from maskrcnn_operator.runtime.handlers import make_handler
from maskrcnn_operator.runtime.health import Health
from maskrcnn_operator.runtime.leader import Leader
from maskrcnn_operator.runtime.options import Options
from maskrcnn_operator.runtime.relisting import Relisting
from maskrcnn_operator.runtime.supervision import Supervisor
from maskrcnn_operator.runtime.unreadable import UnreadableObjects
from maskrcnn_operator.runtime.watching import connection_info, kopf_events, watch

log = logging.getLogger(__name__)

EXIT_CANNOT_RUN = 1
EXIT_TASK_ENDED = 1
_UNREACHABLE_SECONDS = 3.0


class Operator:
    """Replica of the operator.

    Args:
        client: client to use, for tests; None to make one from ``options``.
    """

    def __init__(self, options: Options, client: Client | None = None) -> None:
        self.options, self._client = options, client
        self._unreadable = UnreadableObjects()
        self.cache = Cache(self._unreadable)
        self.stop = asyncio.Event()
        """Set it to end :meth:`run`."""
        self.ports: dict[str, int] = {}
        """Ports that are served, by name: health, metrics, reports."""
        self._identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._supervisor = Supervisor(self._task_ended)
        self._exit_code = 0
        self._certificate: ServerCertificate | MountedCertificate | None = None
        self._leader: Leader | None = None

    @property
    def leads(self) -> bool:
        """True while this replica reconciles."""
        return self._leader is not None and self._leader.leads

    async def run(self) -> int:
        """Run until :attr:`stop` is set, SIGTERM or SIGINT arrives, or a task ends too early; return an exit code.

        Returns:
            0 after a stop; 1 if it cannot run (no configuration, no permission, or the resource is not served), or if
            one of its tasks ended too early. The Lease is released in all cases.
        """
        async with AsyncExitStack() as stack:
            self._take_signals()
            try:
                client = self._client or await self._connect()
                stack.push_async_callback(client.close)
                await self._serve_health(stack)
                if not await self._can_run(client):
                    return self._exit_code if self.stop.is_set() else EXIT_CANNOT_RUN
                await self._run(client, stack)
            except (ApiError, CertificateError) as error:
                log.error("Cannot run, exiting with code %d: %s", EXIT_CANNOT_RUN, error)
                return EXIT_CANNOT_RUN
        return self._exit_code

    async def _connect(self) -> Client:
        settings = await load_configuration(self.options.kubeconfig)
        limit = CallBudget(self.options.qps, self.options.burst, on_wait=metrics.api_call_held)
        return Client(connect(settings), limit=limit, on_call=metrics.api_call)

    async def _can_run(self, client: Client) -> bool:
        """Return whether the resource is served and may be listed in at least one namespace.

        It retries while the API server is unavailable, and for a limited time after 401 and 403: an API server that has
        just started does not know all Roles and tokens yet.
        """
        namespaces = self.options.namespaces or (None,)
        patience, denied_since = self.options.denied_seconds, 0.0
        while not self.stop.is_set():
            denied: list[ApiError] = []
            for namespace in namespaces:
                try:
                    async for _ in client.list(EXPERIMENTS, namespace, page_size=1):
                        return True
                except ApiError as error:
                    if error.status == 404:
                        log.error(
                            "The API server does not serve %s.%s; exiting. "
                            "Apply the CustomResourceDefinition of this release first",
                            EXPERIMENTS.plural,
                            EXPERIMENTS.group,
                        )
                        return False
                    if error.status in (401, 403):
                        denied.append(error)
                    else:
                        log.warning("API server not available yet, retrying in %g s: %s", _UNREACHABLE_SECONDS, error)
            if len(denied) < len(namespaces):
                denied_since = 0.0
            else:
                denied_since = denied_since or time.monotonic()
                if time.monotonic() - denied_since >= patience:
                    log.error(
                        "No permission to list experiments after %g s of retries; exiting: %s", patience, denied[0]
                    )
                    return False
                log.warning("No permission to list experiments yet, retrying for %g s: %s", patience, denied[0])
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), _UNREACHABLE_SECONDS)
        return False

    async def _run(self, client: Client, stack: AsyncExitStack) -> None:
        options, cache = self.options, self.cache
        relisting = Relisting(
            client,
            cache,
            options.namespaces,
            self._changed,
            options.relist_seconds,
            full_interval=options.full_relist_seconds,
        )
        leader = self._leader = Leader(
            client,
            cache,
            options,
            relisting,
            self._supervisor,
            identity=self._identity,
            job_config=self._job_config,
            unreadable=self._unreadable,
        )
        if options.report_port is not None:
            await self._serve_reports(client, stack)
        if options.metrics_port is not None:
            collector = ExperimentCollector(cache, lambda: leader.election.held, options.experiment_metrics)
            self._listening(
                stack, "metrics", await metrics_server.serve(options.metrics_port, collector, host=options.host)
            )
        events_of = kopf_events(lambda: connection_info(lambda: load_configuration(options.kubeconfig)))
        handler = make_handler(cache, self._changed)
        await self._until_stopped(relisting.once())
        if self.stop.is_set():
            return
        watch_stop = asyncio.Event()
        leader.start()
        self._supervisor.start("relisting", relisting.run())
        watches = asyncio.create_task(
            watch(relisting, handler, events_of, options.namespaces, watch_stop), name="watching"
        )
        self._supervisor.supervise(watches)
        log.info("Watching %s", ", ".join(options.namespaces) or "all namespaces")
        try:
            await self.stop.wait()
        finally:
            await self._supervisor.stop()
            await leader.stop()
            watch_stop.set()
            await asyncio.gather(watches, asyncio.wait_for(leader.events.flush(), 2.0), return_exceptions=True)

    async def _serve_health(self, stack: AsyncExitStack) -> None:
        health = Health(lambda: self.cache.listed, self._supervisor.problems)
        metrics.last_listed(lambda: self.cache.last_listed)
        self._supervisor.start("health", health.run())
        stack.push_async_callback(self._supervisor.stop)
        if self.options.health_port is not None:
            runner = await health_server.serve(health, self.options.health_port, self.options.host)
            self._listening(stack, "health", runner)

    async def _serve_reports(self, client: Client, stack: AsyncExitStack) -> None:
        options = self.options
        host = urlsplit(options.jobs.report_url or "").hostname or "localhost"
        certificate: ServerCertificate | MountedCertificate
        if options.report_certificate is not None:
            certificate = MountedCertificate(options.report_certificate)
        else:
            certificate = ServerCertificate(client, options.lease_namespace, (host,))
        await certificate.refresh()
        self._certificate = certificate
        self._supervisor.start("certificate", certificate.keep())

        async def apply(*arguments: Any) -> Any:
            answer = await client.apply_progress(*arguments)
            key = self.cache.put_progress(answer)
            if key is not None:
                self._changed(key)
            return answer

        rate = rate_of(CallPurpose.PROGRESS, options.qps)
        writer = ProgressWriter(apply, self.cache.experiment, rate=rate, on_interval=metrics.progress_interval)
        stack.push_async_callback(writer.close)
        tokens = TokenChecker(client.token_review, time.monotonic)
        application = report_server.progress_app(self.cache, tokens, writer, on_report=metrics.report_answered)
        listener = await report_server.serve(
            application, options.report_port or 0, certificate.context, options.host,
            on_cut=metrics.report_connection_cut,
        )  # fmt: skip
        self._listening(stack, "reports", listener)
        # the stack runs this before it ends the listener, so that the end of its tasks does not count as early
        stack.push_async_callback(self._supervisor.stop)
        for task in listener.tasks:
            self._supervisor.supervise(task)

    def _changed(self, key: Key) -> None:
        if self._leader is not None:
            self._leader.look_at(key)

    def _job_config(self) -> JobConfig:
        jobs = self.options.jobs
        return replace(jobs, report_ca=self._certificate.ca_pem) if self._certificate is not None else jobs

    def _listening(self, stack: AsyncExitStack, name: str, runner: PlainServer | BoundedListener) -> None:
        stack.push_async_callback(runner.cleanup)
        self.ports[name] = runner.addresses[0][1]

    def _take_signals(self) -> None:
        """Make SIGTERM and SIGINT stop this replica in an orderly way."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop.set)

    async def _until_stopped(self, work: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> None:
        """Wait for ``work``, or cancel it at a stop."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            task.result()

    def _task_ended(self) -> None:
        if not self.stop.is_set():
            self._exit_code = EXIT_TASK_ENDED
            self.stop.set()
