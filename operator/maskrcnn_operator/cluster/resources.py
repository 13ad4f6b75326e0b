"""Kinds of objects that the operator reads or writes, and their paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskrcnn_operator.api.base import GROUP, PLURAL, VERSION

Object = dict[str, Any]
"""Object of the API server, decoded from JSON."""

EXPERIMENT_LABEL = "maskrcnn.dev/experiment"
"""Label of every Job, pod, and Service of an experiment; watches select by it."""


@dataclass(frozen=True)
class Resource:
    """Kind of object, by the names in the API server's paths.

    Attributes:
        group: API group; empty for the core group.
        selector: label selector for lists and watches; empty for all objects.
    """

    group: str
    version: str
    plural: str
    namespaced: bool = True
    selector: str = ""

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Return the path of one object, of all objects in a namespace, or of all objects (``namespace`` None)."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        parts += ["namespaces", namespace] if self.namespaced and namespace else []
        return "/".join(part for part in (*parts, self.plural, name, subresource) if part)


EXPERIMENTS = Resource(GROUP, VERSION, PLURAL)
JOBS = Resource("batch", "v1", "jobs", selector=EXPERIMENT_LABEL)
PODS = Resource("", "v1", "pods", selector=EXPERIMENT_LABEL)
SERVICES = Resource("", "v1", "services", selector=EXPERIMENT_LABEL)
EVENTS = Resource("events.k8s.io", "v1", "events")
OBJECT_EVENTS = Resource("", "v1", "events")
"""The same events in the core group, where they can be selected by the object that they are about."""
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
SECRETS = Resource("", "v1", "secrets")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
