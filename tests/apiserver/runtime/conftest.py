"""Fixtures of the running operator, which has exactly the permissions of deploy/rbac.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.account import grant_own_objects, make_account
from tests.apiserver.bed import Bed
from tests.apiserver.runtime.experiments import Cluster
from tests.apiserver.runtime.running import RunningOperator, options_for

from maskrcnn_operator.cluster.client import Client

StartOperator = Callable[..., RunningOperator]


@pytest.fixture(scope="session")
def account(bed: Bed) -> Path:
    """Return a kubeconfig of the operator's service account."""
    return make_account(bed)


@pytest.fixture
def home(bed: Bed, account: Path, namespace: str) -> str:
    """Return the test's namespace after granting the operator its Lease and Secret there."""
    grant_own_objects(bed, namespace)
    return namespace


@pytest.fixture
def cluster(bed: Bed, home: str) -> Cluster:
    """Return the test's namespace, with a shared claim."""
    found = Cluster(bed, home)
    found.claim("ReadWriteMany")
    return found


@pytest.fixture
def start_operator(account: Path, home: str) -> Iterator[StartOperator]:
    """Yield ``start_operator(client_class=Client, **options)``, which starts a replica; stop all at the end."""
    started: list[RunningOperator] = []

    def start(client_class: type[Client] = Client, **changes: Any) -> RunningOperator:
        options = options_for(changes.pop("kubeconfig", account), home, **changes)
        started.append(RunningOperator(options, client_class))
        return started[-1].start()

    yield start
    for replica in started:
        replica.stop()


@pytest.fixture
def operator(start_operator: StartOperator) -> RunningOperator:
    """Start one operator for the test's namespace."""
    return start_operator()
