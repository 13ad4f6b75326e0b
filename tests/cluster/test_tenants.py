"""Limits of tenants: GPUs, roles, and namespaces."""

from __future__ import annotations

import json

import pytest
from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.experiments import CONVERT, experiment
from tests.cluster.installation import RELEASE, version
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

POST = f"""
import ssl, sys, urllib.error, urllib.request
context = ssl._create_unverified_context()
token = open('/token/token').read()
body = b'{{"status": "RUNNING", "step": 1, "total_steps": 2}}'
request = urllib.request.Request('https://{RELEASE}-reports.{NAMESPACE}.svc/v1/report', data=body, method='POST',
                                 headers={{'Authorization': 'Bearer ' + token, 'Content-Type': 'application/json'}})
try:
    print(urllib.request.urlopen(request, timeout=10, context=context).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


def test_step_gets_its_gpus_and_a_shortage_is_reported(team: Team) -> None:
    capacity = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"}]
    team.cluster.kubectl("patch", "node", "node-1", "--subresource=status", "--type=json", "-p", json.dumps(capacity))
    wait_until(
        "allocatable GPUs",
        lambda: team.cluster.get("node", "node-1")["status"]["allocatable"].get("nvidia.com/gpu") == "2",
        60,
    )
    team.apply(experiment("some", [{**CONVERT[0], "gpusPerNode": 2}]))
    team.wait_succeeded("some", 120)
    pods = team.cluster.list("pod", team.namespace, "maskrcnn.dev/experiment=some")
    assert pods[0]["spec"]["nodeName"] == "node-1"
    assert pods[0]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    team.apply(experiment("many", [{**CONVERT[0], "gpusPerNode": 3}]))
    team.wait("the reason", lambda: team.step("many", "convert-train").get("reason") == "Unschedulable", 60, of="many")
    assert "Insufficient nvidia.com/gpu" in team.step("many", "convert-train")["message"]


def as_user(cluster: Cluster, namespace: str, role: str) -> str:
    account = f"system:serviceaccount:{namespace}:{role}"
    cluster.kubectl("create", "serviceaccount", role, "-n", namespace)
    whom = (f"--clusterrole={role}", f"--serviceaccount={namespace}:{role}")
    cluster.kubectl("create", "rolebinding", role, *whom, "-n", namespace)
    return account


def test_edit_role_may_write_and_view_role_may_only_read(team: Team) -> None:
    editor = as_user(team.cluster, team.namespace, "edit")
    viewer = as_user(team.cluster, team.namespace, "view")
    manifest = json.dumps(experiment("theirs", CONVERT))
    apply = ("apply", "-n", team.namespace, "-f", "-")
    assert "forbidden" in team.cluster.kubectl(*apply, f"--as={viewer}", input=manifest, check=False)
    team.cluster.kubectl(*apply, f"--as={editor}", input=manifest)
    assert "theirs" in team.cluster.kubectl("get", "mrx", "-n", team.namespace, f"--as={viewer}")
    team.wait_succeeded("theirs", 120)
    patch = ("patch", "mrx", "theirs", "-n", team.namespace, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    assert "forbidden" in team.cluster.kubectl(*patch, f"--as={viewer}", check=False)
    team.cluster.kubectl(*patch, f"--as={editor}")
    team.cluster.kubectl("delete", "mrx", "theirs", "-n", team.namespace, f"--as={editor}")


def test_pod_that_belongs_to_no_step_cannot_report(team: Team) -> None:
    other = team.cluster.create_namespace("other")
    container = {
        "name": "main",
        "image": f"maskrcnn-operator:{version()}",
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", POST],
        "volumeMounts": [{"name": "token", "mountPath": "/token"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    token = {"serviceAccountToken": {"audience": "maskrcnn-operator", "path": "token"}}
    # it has the labels of a step, which aren't sufficient
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "liar", "labels": {"maskrcnn.dev/experiment": "theirs", "maskrcnn.dev/step": "train"}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "token", "projected": {"sources": [token]}}],
        },
    }
    team.cluster.apply(pod, namespace=other)
    responded = wait_until(
        "the response to its report",
        lambda: team.cluster.kubectl("logs", "liar", "-n", other, check=False).startswith("4"),
        90,
    )
    assert responded
    answer = team.cluster.kubectl("logs", "liar", "-n", other)
    assert answer.startswith("403 "), answer
    team.cluster.kubectl("delete", "namespace", other, "--wait=false")
