"""Configuration files of a node: containerd, the CNI plugins, kubelet and kube-proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.network import CONTROL, DOMAIN, PODS, NodeNetwork

PAUSE_IMAGE = "docker.io/library/maskrcnn-test-pause:1"
CNI_PLUGINS = "/usr/lib/cni"
EVICTION_SIGNALS = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")


def containerd_toml(folder: Path) -> str:
    """Return the configuration of containerd, with all its files under ``folder``."""
    return f"""
version = 2
root = "{folder}/containerd"
state = "/run/containerd/state"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/cni"
"""


def cni_configuration(node: NodeNetwork) -> dict[str, Any]:
    """Return the CNI configuration: pods on a bridge of the node, with addresses from its range."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/var/lib/cni/networks",
                    "ranges": [[{"subnet": node.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def kubelet_configuration(folder: Path, authority: Path, taints: list[dict[str, str]]) -> dict[str, Any]:
    """Return the configuration of kubelet, without changes to machine-wide settings."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(folder / "serving.crt"),
        "tlsPrivateKeyFile": str(folder / "serving.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "seccompDefault": True,
        "evictionHard": dict.fromkeys(EVICTION_SIGNALS, "0%"),
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [CONTROL],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": str(folder / "volume-plugins"),
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 20,
        "healthzPort": 0,
        "syncFrequency": "10s",
        "maxPods": 60,
        "registerWithTaints": taints,
    }


def proxy_configuration(kubeconfig: Path, name: str) -> dict[str, Any]:
    """Return the configuration of kube-proxy, without changes to the machine's connection tracking limits."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": name,
        "mode": "iptables",
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def write_node_files(
    folder: Path,
    node: NodeNetwork,
    authority: Path,
    proxy_kubeconfig: Path,
    name: str,
    *,
    taints: list[dict[str, str]],
) -> None:
    """Write all configuration files to ``folder``."""
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    (folder / "containerd.toml").write_text(containerd_toml(folder))
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(cni_configuration(node)))
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(kubelet_configuration(folder, authority, taints)))
    (folder / "kube-proxy.yaml").write_text(yaml.safe_dump(proxy_configuration(proxy_kubeconfig, name)))
