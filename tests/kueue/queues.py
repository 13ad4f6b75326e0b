"""Queues, priorities, and nodes of a test, and Kueue's Workload of a Job."""

from __future__ import annotations

from typing import Any

from tests.apiserver.rest import RestError
from tests.apiserver.runtime.experiments import Cluster

API = "/apis/kueue.x-k8s.io/v1beta2"
GPU = "nvidia.com/gpu"
QUEUE = "team"
DEFAULT_QUEUE = "default"
"""LocalQueue to which Kueue assigns a Job without a queue label."""
BLOCK, HOST = "example.com/block", "kubernetes.io/hostname"
LEVELS = (BLOCK, HOST)
LOW, HIGH = ("low", 100), ("high", 1000)

Object = dict[str, Any]


class Queues:
    """A ClusterQueue with one flavor, and a LocalQueue in a test's namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.bed, self.name = cluster, cluster.bed, cluster.namespace

    def create(self, *, gpus: int, cpus: int = 0, topology: bool = False, queue: str = QUEUE) -> None:
        """Give the namespace a quota; a Job of higher priority takes it from one of lower priority.

        Args:
            gpus: quota of GPUs.
            cpus: quota of CPUs.
            topology: whether the flavor is limited to the nodes of :meth:`add_nodes`, by block and host.
            queue: name of the LocalQueue.
        """
        flavor: Object = {}
        if topology:
            self._create("topologies", self.name, {"levels": [{"nodeLabel": label} for label in LEVELS]})
            flavor = {"nodeLabels": {"example.com/pool": self.name}, "topologyName": self.name}
        self._create("resourceflavors", self.name, flavor)
        quotas = [{"name": "cpu", "nominalQuota": cpus}, {"name": GPU, "nominalQuota": gpus}]
        group = {
            "coveredResources": [quota["name"] for quota in quotas],
            "flavors": [{"name": self.name, "resources": quotas}],
        }
        spec = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
            "resourceGroups": [group],
            "preemption": {"withinClusterQueue": "LowerPriority"},
        }
        self._create("clusterqueues", self.name, spec)
        path = f"{API}/namespaces/{self.name}/localqueues"
        self.bed.api("POST", path, _object("LocalQueue", queue, {"clusterQueue": self.name}))

    def add_priorities(self) -> None:
        """Create the priorities LOW and HIGH, as WorkloadPriorityClasses and PriorityClasses."""
        for name, value in (LOW, HIGH):
            workloads = {**_object("WorkloadPriorityClass", name), "value": value}
            pods = {"metadata": {"name": name}, "value": value}
            for path, body in (
                (f"{API}/workloadpriorityclasses", workloads),
                ("/apis/scheduling.k8s.io/v1/priorityclasses", pods),
            ):
                try:
                    self.bed.api("POST", path, body)
                except RestError as error:
                    if error.status != 409:
                        raise

    def add_nodes(self, *, blocks: int, hosts: int, gpus: int) -> None:
        """Add ready nodes named ``NAMESPACE-BLOCK-HOST``, both numbers from 0, with ``gpus`` GPUs each."""
        for block in range(blocks):
            for host in range(hosts):
                name = f"{self.name}-{block}-{host}"
                labels = {"example.com/pool": self.name, BLOCK: f"block-{block}", HOST: name}
                self.bed.api("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
                capacity = {"cpu": "64", "memory": "1Ti", "pods": "110", GPU: str(gpus)}
                ready = {"type": "Ready", "status": "True", "reason": "Played", "message": "a test plays this node"}
                status = {"conditions": [ready], "capacity": capacity, "allocatable": capacity}
                self.bed.api("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})
                # The bed has no node controller, which would remove the taint of a new node.
                self.bed.api("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}})

    def workload(self, job: Object) -> Object:
        """Return the Workload of a Job; empty until Kueue has created it."""
        uid = job["metadata"]["uid"]
        found = self.bed.api(
            "GET", f"{API}/namespaces/{self.name}/workloads?labelSelector=kueue.x-k8s.io/job-uid%3D{uid}"
        )
        return next(iter(found["items"]), {})

    def wait_refused(self, job: Object) -> str:
        """Wait until Kueue has found no quota for a Job, and return its reason."""
        why: list[str] = []

        def refused() -> bool:
            found = self.workload(job).get("status", {}).get("conditions", [])
            why[:] = [item["message"] for item in found if (item["type"], item["status"]) == ("QuotaReserved", "False")]
            return bool(why)

        self.cluster.wait_for(refused, f"missing quota for the Job {job['metadata']['name']}")
        return why[0]

    def _create(self, resource: str, name: str, spec: Object) -> None:
        kinds = {"topologies": "Topology", "resourceflavors": "ResourceFlavor", "clusterqueues": "ClusterQueue"}
        self.bed.api("POST", f"{API}/{resource}", _object(kinds[resource], name, spec))


def conditions(workload: Object) -> dict[str, Object]:
    """Return the conditions of a Workload with status True, by type."""
    found: list[Object] = workload.get("status", {}).get("conditions", [])
    return {item["type"]: item for item in found if item["status"] == "True"}


def _object(kind: str, name: str, spec: Object | None = None) -> Object:
    value: Object = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}}
    return value if spec is None else {**value, "spec": spec}
