"""Command lines and credentials of the three servers of a bed."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.apiserver.certificates import Authority, Pair, token_keys

LOOPBACK = "127.0.0.1"
SERVICE_RANGE = "10.0.0.0/16"
SERVICE_ADDRESS = "10.0.0.1"
ISSUER = "https://kubernetes.default.svc"
ETCD_SOCKET = "etcd-client:0"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*", "/version*", "/openapi*", "/api*"]},
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Credentials:
    """Files of all credentials of the servers and of the admin."""

    authority: Path
    serving: Pair
    admin: Pair
    controller_manager: Pair
    tokens: Pair

    @classmethod
    def make(cls, folder: Path) -> Credentials:
        """Create all credentials in ``folder``."""
        authority = Authority(folder)
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        return cls(
            authority=authority.certificate,
            serving=authority.server("kube-apiserver", names, (LOOPBACK, SERVICE_ADDRESS)),
            admin=authority.client("admin", ("system:masters",)),
            controller_manager=authority.client("system:kube-controller-manager"),
            tokens=token_keys(folder),
        )


def free_port() -> int:
    """Return a free port of the loopback; the server should start soon, before another process takes the port."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


def etcd(binaries: Path, folder: Path) -> list[str]:
    """Return the command line of etcd, on Unix sockets in ``folder`` and without fsync, as its data isn't kept."""
    # etcd requires host:port in a URL; this becomes the name of the socket in its working directory.
    client, peer = f"unix://{ETCD_SOCKET}", "unix://etcd-peer:0"
    return [
        *(str(binaries / "etcd"), "--name=bed", f"--data-dir={folder}/etcd", "--unsafe-no-fsync=true"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=bed={peer}"),
        *("--log-level=warn", "--quota-backend-bytes=4294967296", "--snapshot-count=100000"),
    ]


def kube_apiserver(binaries: Path, folder: Path, port: int, credentials: Credentials) -> list[str]:
    """Return the command line of kube-apiserver, with RBAC and an audit log; the bed may have bound its port, too."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(AUDIT_POLICY))
    return [
        str(binaries / "kube-apiserver"),
        f"--etcd-servers=unix://{folder}/{ETCD_SOCKET}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--permit-port-sharing=true",
        f"--advertise-address={LOOPBACK}",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={credentials.serving.certificate}",
        f"--tls-private-key-file={credentials.serving.key}",
        f"--client-ca-file={credentials.authority}",
        "--authorization-mode=Node,RBAC",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={credentials.tokens.certificate}",
        f"--service-account-signing-key-file={credentials.tokens.key}",
        "--allow-privileged=true",
        "--profiling=false",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={folder}/audit.log",
        "--audit-log-maxsize=100000",
    ]


def kube_controller_manager(
    binaries: Path, kubeconfig: Path, credentials: Credentials, qps: int, options: tuple[str, ...] = ()
) -> list[str]:
    """Return the command line of kube-controller-manager without the node controller: played nodes renew no Lease."""
    return [
        str(binaries / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        "--secure-port=0",
        "--leader-elect=false",
        "--controllers=*,-node-lifecycle-controller",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={credentials.tokens.key}",
        f"--root-ca-file={credentials.authority}",
        f"--kube-api-qps={qps}",
        f"--kube-api-burst={2 * qps}",
        *options,
    ]
