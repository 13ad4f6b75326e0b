"""Bucket of a namespace: moto on this machine, which its pods reach through a Service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.bed import ClusterBed
from tests.cluster.experiments import experiment
from tests.cluster.network import CONTROL
from tests.cluster.team import Team
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.servers import REGION
from tests.object_storage.user_stores import UserStore
from tests.unit.object_store.stub_server import refusal, serving

SERVICE = "store"
SERVICE_PORT = 9000
KEYS = "store-keys"
PREFIX = "results"
"""Key of the workspace's URL."""

Object = dict[str, Any]


@dataclass(frozen=True)
class NamespaceBucket:
    """A bucket, and the namespace whose pods reach it.

    Attributes:
        bed: of the cluster.
        team: the namespace, which has no claim.
        store: the bucket at a server of this machine.
        port: of the address CONTROL, which leads to the server.
    """

    bed: ClusterBed
    team: Team
    store: UserStore
    port: int

    @property
    def url(self) -> str:
        """Return the URL of the workspace."""
        return f"{self.store.url}/{PREFIX}"

    def connect(self) -> None:
        """Create the Service, which has an address outside of the cluster, and the Secret with the keys."""
        ports = [{"name": "http", "port": SERVICE_PORT, "targetPort": self.port}]
        labels = {"kubernetes.io/service-name": SERVICE}
        self.team.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": {"ports": ports}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": SERVICE, "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [CONTROL], "conditions": {"ready": True}}],
                "ports": [{"name": "http", "port": self.port}],
            },
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": KEYS},
                "stringData": dict(self.store.server.secret),
            },
        )

    def experiment(self, name: str, steps: list[Object], spec: Object | None = None, **fields: Any) -> Object:
        """Return an experiment whose workspace is the bucket (see :func:`tests.cluster.experiments.experiment`)."""
        entry = {
            "prefix": self.store.url,
            "endpoint": f"http://{SERVICE}.{self.team.namespace}.svc:{SERVICE_PORT}",
            "region": REGION,
            "allowHttp": True,
            "secretRef": {"name": KEYS},
        }
        workspace = {"objectStorage": {"url": self.url, "scratch": {"sizeLimit": "2Gi"}}}
        return experiment(name, steps, spec, workspace=workspace, objectStores=[entry], **fields)

    def step(self, experiment: str, step: str) -> StepInStore:
        """Return what a step has published."""
        return StepInStore(self.store, PREFIX, experiment, step)

    def published_checkpoints(self, experiment: str, step: str = "train") -> list[str]:
        """Return the names of the published checkpoints of a step, oldest first."""
        with suppress(FileNotFoundError, AssertionError):
            return list(self.step(experiment, step).published().checkpoints)
        return []

    def wait_checkpoint(self, experiment: str) -> None:
        """Wait until a running training has published a checkpoint."""
        self.team.wait("a published checkpoint", lambda: self.published_checkpoints(experiment), of=experiment)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Reset the connections to the bucket, and refuse others until the end of the block."""
        self.bed.shut_out(self.port)
        try:
            yield
        finally:
            self.bed.admit(urlsplit(self.store.server.address).port or 0, self.port)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse every permission on the bucket until the end of the block."""
        with serving() as stub:
            stub.plan = lambda _: refusal(403, "AccessDenied")
            with self.away():
                self.bed.admit(stub.server_port, self.port)
                try:
                    yield
                finally:
                    self.bed.shut_out(self.port)
