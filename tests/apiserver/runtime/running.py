"""The operator in a thread of this process, with its own event loop and the permissions of deploy/rbac.yaml."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.apiserver.account import LEASE

from maskrcnn_operator.cluster.budget import CallBudget
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.connection import connect, load_configuration
from maskrcnn_operator.cluster.lease import LeaseTimes
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.runtime.operator import Operator
from maskrcnn_operator.runtime.options import Options, cluster_settings

IMAGE = "registry.example/maskrcnn-trainer:1"
START_SECONDS = 60.0

ClientClass = type[Client]


def options_for(kubeconfig: Path, namespace: str, **changes: Any) -> Options:
    """Return the options of an operator for one namespace, with waits that are short enough for tests."""
    plan = {"back_off_base": timedelta(seconds=1), **changes.pop("plan", {})}
    settings = replace(cluster_settings(IMAGE), **plan)
    chosen: dict[str, Any] = {
        "namespaces": (namespace,),
        "kubeconfig": kubeconfig,
        "settings": settings,
        "jobs": JobConfig(default_image=IMAGE),
        "lease_namespace": namespace,
        "lease_name": LEASE,
        "lease_times": LeaseTimes(duration=6.0, renew_deadline=4.0, retry=0.3),
        "host": "127.0.0.1",
        "health_port": 0,
        **changes,
    }
    return Options(**chosen)


class RunningOperator:
    """An operator that runs from ``start`` to ``stop``.

    Args:
        options: of the operator.
        client_class: subclass of Client, for example one that misbehaves.
    """

    def __init__(self, options: Options, client_class: ClientClass = Client) -> None:
        self.options, self._client_class = options, client_class
        self.client: Client | None = None
        self.operator: Operator | None = None
        self.exit_code: int | None = None
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    def start(self) -> RunningOperator:
        """Start the operator without waiting until it is ready."""
        self._thread.start()
        return self

    def __enter__(self) -> RunningOperator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the operator as SIGTERM does."""
        self._wait(lambda: self.operator is not None or not self._thread.is_alive())
        if self.operator is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.operator.stop.set)
        self._thread.join(START_SECONDS)
        assert not self._thread.is_alive(), "the operator didn't stop"
        if self.error is not None:
            raise self.error

    @property
    def leads(self) -> bool:
        """Return whether the operator is the leader: its workers take keys."""
        return self.operator is not None and self.operator.leads

    def port(self, name: str) -> int:
        """Wait until the operator listens on the port of that name; return its number."""
        self._wait(lambda: self.operator is not None and name in self.operator.ports)
        assert self.operator is not None
        return self.operator.ports[name]

    def wait_leading(self) -> RunningOperator:
        """Wait until the operator is the leader."""
        self._wait(lambda: self.leads)
        return self

    def wait_ended(self) -> int:
        """Wait until the operator has ended by itself; return its exit code."""
        self._wait(lambda: not self._thread.is_alive())
        assert self.exit_code is not None
        return self.exit_code

    def _wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not until():
            if self.error is not None:
                raise self.error
            assert time.monotonic() < deadline, "the operator didn't reach the expected state"
            time.sleep(0.02)

    def _run(self) -> None:
        try:
            self.exit_code = self._loop.run_until_complete(self._operate())
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self.error = error
        finally:
            self._loop.close()

    async def _operate(self) -> int:
        settings = await load_configuration(self.options.kubeconfig)
        self.client = self._client_class(connect(settings), limit=CallBudget(self.options.qps, self.options.burst))
        self.operator = Operator(self.options, self.client)
        return await self.operator.run()
