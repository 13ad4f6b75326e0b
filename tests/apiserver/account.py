"""Service account of the operator with exactly the permissions of deploy/rbac.yaml."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml
from tests.apiserver.bed import Bed

RBAC = Path(__file__).resolve().parents[2] / "deploy" / "rbac.yaml"
ACCOUNT, HOME = "maskrcnn", "maskrcnn-system"
"""Name of the service account, and its namespace."""
USER = f"system:serviceaccount:{HOME}:{ACCOUNT}"
LEASE = "maskrcnn-operator"
"""The only Lease that the account may write."""
_GRANT_SECONDS = 30.0


def make_account(bed: Bed) -> Path:
    """Apply deploy/rbac.yaml and return a kubeconfig of its service account."""
    bed.kubectl("apply", "-f", str(RBAC))
    return bed.kubeconfig_for(ACCOUNT, HOME)


def grant_own_objects(bed: Bed, namespace: str) -> None:
    """Grant the account the permissions of its own namespace in another one, so that each test has its own Lease.

    Returns when the API server enforces the new permissions.
    """
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    for document in documents:
        if document["kind"] in ("Role", "RoleBinding"):
            body = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
            plural = f"{document['kind'].lower()}s"
            bed.api("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{plural}", body)
    deadline = time.monotonic() + _GRANT_SECONDS
    lease = {"group": "coordination.k8s.io", "resource": "leases", "namespace": namespace, "name": LEASE}
    while not allowed(bed, USER, {**lease, "verb": "update"}):
        assert time.monotonic() < deadline, f"{USER} may not write the Lease {namespace}/{LEASE}"
        time.sleep(0.01)


def allowed(bed: Bed, user: str, attributes: dict[str, str]) -> bool:
    """Return whether the API server authorizes a user's request with these resourceAttributes."""
    body = {"spec": {"user": user, "resourceAttributes": attributes}}
    answer: dict[str, Any] = bed.api("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])
