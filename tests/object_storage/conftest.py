"""Running servers, each started when the first test needs it, and stores in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.object_storage.fault_bench import FaultBench
from tests.object_storage.fault_table import FaultTable
from tests.object_storage.forked_attempts import AttemptHost, attempt_host
from tests.object_storage.installs import InstallError
from tests.object_storage.proxy import FaultProxy, proxy_to
from tests.object_storage.servers import SERVERS, ObjectServer
from tests.object_storage.user_stores import UserStore

S3_SERVERS = ("moto", "versitygw")
ONE_OF_EACH_SCHEME = ("moto", "azurite", "gcs")

GetServer = Callable[[str], ObjectServer]
_FAULTS = pytest.StashKey[FaultTable]()


def pytest_configure(config: pytest.Config) -> None:
    """Create the table of faults."""
    config.stash[_FAULTS] = FaultTable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table of faults at the end of the run."""
    lines = config.stash[_FAULTS].lines()
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def get_server() -> Iterator[GetServer]:
    """Return a function that returns a running server by name; a test whose server can't be had is skipped."""
    running: dict[str, ObjectServer | str] = {}
    with ExitStack() as stack:

        def get(name: str) -> ObjectServer:
            if name not in running:
                try:
                    running[name] = stack.enter_context(SERVERS[name]())
                except InstallError as error:
                    running[name] = str(error)
            found = running[name]
            if isinstance(found, str):
                pytest.skip(found)
            return found

        yield get


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest, get_server: GetServer) -> ObjectServer:
    """Return each server in turn."""
    return get_server(request.param)


@pytest.fixture
def store(server: ObjectServer, tmp_path: Path) -> UserStore:
    """Return a new container of the server."""
    return UserStore(server, server.new_container(), tmp_path)


@pytest.fixture
def moto_store(get_server: GetServer, tmp_path: Path) -> UserStore:
    """Return a new bucket of moto."""
    server = get_server("moto")
    return UserStore(server, server.new_container(), tmp_path)


@pytest.fixture
def in_front_of() -> Iterator[Callable[..., FaultProxy]]:
    """Return a function that starts a proxy in front of a store."""
    with ExitStack() as stack:

        def start(store: UserStore, **options: Any) -> FaultProxy:
            return stack.enter_context(proxy_to(store.server.address, store.server.root(store.container), **options))

        yield start


@pytest.fixture(scope="session")
def fault_table(request: pytest.FixtureRequest) -> FaultTable:
    """Return the table of faults."""
    return request.config.stash[_FAULTS]


@pytest.fixture(scope="session")
def attempts() -> Iterator[AttemptHost]:
    """Return a host of attempts."""
    with attempt_host() as host:
        yield host


@pytest.fixture
def bench(moto_store: UserStore, attempts: AttemptHost, tmp_path: Path) -> FaultBench:
    """Return a bench in a new bucket of moto."""
    return FaultBench(moto_store, attempts, tmp_path)


@pytest.fixture
def each_bench(store: UserStore, attempts: AttemptHost, tmp_path: Path) -> FaultBench:
    """Return a bench on each server in turn."""
    return FaultBench(store, attempts, tmp_path)
