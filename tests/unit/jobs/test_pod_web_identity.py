"""Pods whose service account has an identity of a cloud, after what the provider's webhook adds to them.

The volumes, mounts, and variables are those of:
- AWS, IAM roles for service accounts: github.com/aws/amazon-eks-pod-identity-webhook, pkg/handler/handler.go
- AWS, EKS Pod Identity: docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
- AKS: github.com/Azure/azure-workload-identity, pkg/webhook/consts.go and webhook.go, before and since its volume has a
  reserved name
GKE changes no pod: its metadata server answers at the address of that of a virtual machine.
"""

from __future__ import annotations

import copy
from pathlib import PurePosixPath
from typing import Any

import pytest
from tests.unit.object_store.web_identities import WEB_IDENTITIES, WebIdentity

from maskrcnn_operator.core.desired import resolve
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import stores_from_json

from .conftest import Make
from .test_manifests import container, pod, the_job
from .test_store_parts import environment
from .test_workspace_parts import STORED, bucket

OVERRIDES = {"serviceAccountName": "trainer", "labels": {"azure.workload.identity/use": "true"}}
of_each = pytest.mark.parametrize("identity", WEB_IDENTITIES.values(), ids=WEB_IDENTITIES)


def job_of(make: Make, *, secret: bool) -> dict[str, Any]:
    """Return a Job of a gang in object storage with all kinds of volumes of ours."""

    def change(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = OVERRIDES
        spec["cache"] = {"sizeLimit": "1Gi"}
        if not secret:
            spec["objectStores"] = [{"prefix": "s3://other", "secretRef": {"name": "keys"}}]

    return the_job(make(bucket(), change), "train", STORED)


def mutated(job: dict[str, Any], identity: WebIdentity) -> dict[str, Any]:
    """Return a Job whose pod is as the webhook leaves it: what a container has already isn't replaced."""
    found = copy.deepcopy(job)
    pod(found)["volumes"].insert(0, {"name": identity.volume, "projected": {"sources": []}})
    container(found)["volumeMounts"].append({"name": identity.volume, "mountPath": identity.directory})
    own = environment(found)
    container(found)["env"] += [
        {"name": name, "value": value} for name, value in identity.variables.items() if name not in own
    ]
    return found


@of_each
def test_service_account_and_label_by_which_a_webhook_chooses_pods_are_set(make: Make, identity: WebIdentity) -> None:
    job = job_of(make, secret=False)
    assert pod(job)["serviceAccountName"] == "trainer"
    assert identity.labels.items() <= job["spec"]["template"]["metadata"]["labels"].items()


@of_each
def test_no_name_of_a_volume_is_taken(make: Make, identity: WebIdentity) -> None:
    names = [volume["name"] for volume in pod(mutated(job_of(make, secret=True), identity))["volumes"]]
    assert "maskrcnn-token" in names
    assert len(set(names)) == len(names)


@of_each
def test_no_mount_lies_in_another(make: Make, identity: WebIdentity) -> None:
    mounts = container(mutated(job_of(make, secret=True), identity))["volumeMounts"]
    theirs = PurePosixPath(identity.directory)
    ours = [PurePosixPath(mount["mountPath"]) for mount in mounts if mount["name"] != identity.volume]
    assert PurePosixPath("/var/run/secrets/maskrcnn") in ours
    assert not [path for path in ours if path.is_relative_to(theirs) or theirs.is_relative_to(path)]


@of_each
def test_no_variable_is_ours(make: Make, identity: WebIdentity) -> None:
    assert not set(identity.variables) & set(environment(job_of(make, secret=True)))


@of_each
def test_helper_of_a_store_without_a_secret_gets_the_variables(make: Make, identity: WebIdentity) -> None:
    found = environment(mutated(job_of(make, secret=False), identity))
    stores = stores_from_json(found["MASKRCNN_OBJECT_STORES"])
    url = parse_url(f"{identity.scheme}://lab/results", "url")
    connection = connection_for(url, stores, found | {"AZURE_STORAGE_ACCOUNT_NAME": "lab"})
    assert connection.secret_dir is None
    assert identity.variables.items() <= connection.environment.items()


def test_helper_of_a_store_with_a_secret_gets_none_of_them(make: Make) -> None:
    found = environment(mutated(job_of(make, secret=True), WEB_IDENTITIES["AWS role"]))
    connection = connection_for(
        parse_url("s3://lab/results", "url"), stores_from_json(found["MASKRCNN_OBJECT_STORES"]), found
    )
    assert connection.secret_dir is not None
    assert not [name for name in connection.environment if name.startswith("AWS_")]


@of_each
def test_user_may_add_the_same_volume_by_hand(make: Make, identity: WebIdentity) -> None:
    own = {
        "volumes": [{"name": identity.volume, "emptyDir": {}}],
        "volumeMounts": [{"name": identity.volume, "mountPath": identity.directory}],
    }
    assert resolve(make(bucket(), lambda spec: spec.update(podOverrides=own))).problems == ()
