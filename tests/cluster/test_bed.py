"""Nodes of the bed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.installation import version

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SERVE = """
import http.server
print('up', flush=True)
http.server.HTTPServer(('', 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
LOOK = """
import socket, urllib.request
print(socket.gethostbyname('second.peers'))
print(urllib.request.urlopen('http://second.peers:8000').status)
"""


def pod(name: str, node: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": f"maskrcnn-operator:{version()}",
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", SERVE],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "peers"}},
        "spec": {
            "hostname": name,
            "subdomain": "peers",
            "nodeName": node,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }


def test_pods_of_two_nodes_find_each_other_by_name(cluster: Cluster, namespace: str) -> None:
    # nodes with a taint belong to other scenarios
    nodes = [item["metadata"]["name"] for item in cluster.list("node") if not item["spec"].get("taints")]
    assert len(nodes) == 2
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "peers"},
        "spec": {"clusterIP": "None", "selector": {"app": "peers"}, "ports": [{"port": 8000}]},
    }
    cluster.apply(service, pod("first", nodes[0]), pod("second", nodes[1]), namespace=namespace)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/first", "pod/second", "-n", namespace, "--timeout=90s")
    assert wait_until("the log", lambda: cluster.kubectl("logs", "first", "-n", namespace), 30).strip() == "up"

    def answer() -> list[str]:
        # until the name is known, the log has the traceback of a failed lookup
        output = cluster.kubectl("exec", "first", "-n", namespace, "--", "python3", "-c", LOOK, check=False)
        return output.split() if output.strip().endswith("200") else []

    found = wait_until("a response of the other pod", answer, 30)
    address = cluster.get("pod", "second", namespace)["status"]["podIP"]
    assert found == [address, "200"]
