"""Credentials and command lines of the control plane of a cluster with nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.apiserver.certificates import Authority, Pair, token_keys
from tests.apiserver.servers import AUDIT_POLICY, ETCD_SOCKET, ISSUER
from tests.cluster.network import CONTROL, DOMAIN, KUBERNETES_SERVICE, SERVICES

PORT = 6443


@dataclass(frozen=True)
class Identities:
    """All certificates of the cluster."""

    authority: Authority
    serving: Pair
    admin: Pair
    kubelet_client: Pair
    controller_manager: Pair
    scheduler: Pair
    proxy: Pair
    dns: Pair
    tokens: Pair

    @classmethod
    def make(cls, folder: Path) -> Identities:
        """Create all certificates in ``folder``."""
        authority = Authority(folder)
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        addresses = ("127.0.0.1", CONTROL, KUBERNETES_SERVICE)
        return cls(
            authority=authority,
            serving=authority.server("kube-apiserver", names, addresses),
            admin=authority.client("admin", ("system:masters",)),
            kubelet_client=authority.client("kubelet-client", ("system:masters",)),
            controller_manager=authority.client("system:kube-controller-manager"),
            scheduler=authority.client("system:kube-scheduler"),
            proxy=authority.client("system:kube-proxy"),
            dns=authority.client("dns", ("system:masters",)),
            tokens=token_keys(folder),
        )

    def kubelet(self, name: str, address: str) -> tuple[Pair, Pair]:
        """Return the client and serving certificates of a node."""
        client = self.authority.client(f"system:node:{name}", ("system:nodes",))
        return client, self.authority.server(f"serving-{name}", (name,), (address,))


def kube_apiserver(binaries: Path, folder: Path, identities: Identities) -> list[str]:
    """Return the command line of kube-apiserver; pods are evicted ten seconds after their node is lost."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(AUDIT_POLICY))
    return [
        str(binaries / "kube-apiserver"),
        f"--etcd-servers=unix://{folder}/{ETCD_SOCKET}",
        f"--bind-address={CONTROL}",
        f"--secure-port={PORT}",
        f"--advertise-address={CONTROL}",
        f"--tls-cert-file={identities.serving.certificate}",
        f"--tls-private-key-file={identities.serving.key}",
        f"--client-ca-file={identities.authority.certificate}",
        f"--kubelet-client-certificate={identities.kubelet_client.certificate}",
        f"--kubelet-client-key={identities.kubelet_client.key}",
        f"--kubelet-certificate-authority={identities.authority.certificate}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--default-not-ready-toleration-seconds=10",
        "--default-unreachable-toleration-seconds=10",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={identities.tokens.certificate}",
        f"--service-account-signing-key-file={identities.tokens.key}",
        "--allow-privileged=true",
        "--profiling=false",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={folder}/audit.log",
        "--audit-log-maxsize=100000",
    ]


def kube_controller_manager(binaries: Path, kubeconfig: Path, identities: Identities) -> list[str]:
    """Return the command line of kube-controller-manager; a node is lost after twelve seconds without renewal."""
    return [
        str(binaries / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        "--secure-port=0",
        "--leader-elect=false",
        "--controllers=*",
        "--allocate-node-cidrs=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={identities.tokens.key}",
        f"--root-ca-file={identities.authority.certificate}",
        "--node-monitor-grace-period=12s",
        "--node-monitor-period=2s",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
    ]


def kube_scheduler(binaries: Path, kubeconfig: Path) -> list[str]:
    """Return the command line of kube-scheduler."""
    return [str(binaries / "kube-scheduler"), f"--kubeconfig={kubeconfig}", "--secure-port=0", "--leader-elect=false"]


def core_file(kubeconfig: Path) -> str:
    """Return the configuration of CoreDNS; the TTL of one second lets names of headless Services follow their pods."""
    return f"""
{DOMAIN}:53 10.in-addr.arpa:53 {{
    bind {CONTROL}
    errors
    kubernetes {DOMAIN} 10.in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 1
    }}
}}
.:53 {{
    bind {CONTROL}
    errors
}}
"""
