"""The running operator, with the permissions of deploy/rbac.yaml and no other."""

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
    """A kubeconfig of the operator's service account."""
    return make_account(bed)


@pytest.fixture
def home(bed: Bed, account: Path, namespace: str) -> str:
    """The namespace in which the operator of a test has its Lease and its Secret: the test's own."""
    grant_own_objects(bed, namespace)
    return namespace


@pytest.fixture
def cluster(bed: Bed, home: str) -> Cluster:
    """The test's namespace, with a shared claim."""
    found = Cluster(bed, home)
    found.claim("ReadWriteMany")
    return found


@pytest.fixture
def start_operator(account: Path, home: str) -> Iterator[StartOperator]:
    """``start_operator(client_class=Client, **options)`` starts one more replica; all are stopped in the end."""
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
    """One operator for the test's namespace."""
    return start_operator()
