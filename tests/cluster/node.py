"""Node of a test cluster: its disk, namespaces, and network cable."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.apiserver.bed import BedError
from tests.cluster.image_store import copy_store
from tests.cluster.network import NodeNetwork, cable, node_setup
from tests.cluster.node_files import write_node_files

if TYPE_CHECKING:
    from tests.cluster.bed import ClusterBed

HERE = Path(__file__).resolve().parent
LOG_LINES = 25
MOST_NODES = 8
RESERVED = "test.maskrcnn.dev/reserved-for"


class Node:
    """One node of a bed.

    Args:
        bed: of the node.
        index: from 1.
        reserved_for: only pods that tolerate the taint ``RESERVED=reserved_for:NoSchedule`` run on it; a label with the
            same key and value selects it. Empty for all pods.
    """

    def __init__(self, bed: ClusterBed, index: int, reserved_for: str = "") -> None:
        self.bed, self.index, self.name, self.reserved_for = bed, index, f"node-{index}", reserved_for
        self.network = NodeNetwork(index)
        self.folder = bed.folder / self.name

    def start(self) -> None:
        """Start the node with the contents of its disk, without waiting until it is Ready."""
        bed = self.bed
        self.folder.mkdir(exist_ok=True)
        if not (self.folder / "containerd").exists():
            copy_store(bed.store, self.folder / "containerd")
            client, serving = bed.kubelet_pairs[self.index]
            bed.write_kubeconfig(self.folder / "kubelet.kubeconfig", client)
            for source, target in ((serving.certificate, "serving.crt"), (serving.key, "serving.key")):
                shutil.copyfile(source, self.folder / target)
            taints = (
                [{"key": RESERVED, "value": self.reserved_for, "effect": "NoSchedule"}] if self.reserved_for else []
            )
            write_node_files(self.folder, self.network, bed.authority, bed.proxy_kubeconfig, self.name, taints=taints)
        kubelet = [
            *(
                str(bed.binaries / "kubelet"),
                f"--config={self.folder}/kubelet.yaml",
                f"--hostname-override={self.name}",
            ),
            *(f"--kubeconfig={self.folder}/kubelet.kubeconfig", f"--root-dir={self.kubelet_root}"),
            *(f"--node-ip={self.network.address}", f"--cert-dir={self.folder}"),
        ]
        if self.reserved_for:
            kubelet.append(f"--node-labels={RESERVED}={self.reserved_for}")
        # also routes to nodes that are added later
        others = [NodeNetwork(index + 1) for index in range(MOST_NODES) if index + 1 != self.index]
        description = {
            "folder": str(self.folder),
            "network": node_setup(self.network, others),
            "programs": {
                "containerd": ["containerd", "--config", str(self.folder / "containerd.toml")],
                "kubelet": kubelet,
                "kube-proxy": [str(bed.binaries / "kube-proxy"), f"--config={self.folder}/kube-proxy.yaml"],
            },
            "sockets": {"containerd": "/run/containerd/containerd.sock"},
            "full": str(bed.full_folder),
        }
        file = self.folder / "node.json"
        file.write_text(json.dumps(description))
        namespaces = ("--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
        init = [sys.executable, "-S", "-E", str(HERE / "node_init.py"), str(file)]
        pid = bed.supervise(self.name, ["unshare", *namespaces, "--propagation", "private", *init])
        self.process = _child_of(pid)
        try:
            with bed.locked_network():
                for command in cable(self.network, self.process):
                    bed.ip(command)
        except BedError as error:
            raise BedError(f"{error}\n{bed.log(self.name)}") from error

    @property
    def kubelet_root(self) -> str:
        """Return the kubelet's folder, which contains the volumes of pods."""
        return "/var/lib/kubelet"

    def power_off(self) -> None:
        """Kill the node's process 1, so that all its processes end without cleanup."""
        self.bed.end(self.name)

    def cut_network(self) -> None:
        """Disconnect the network; the programs on the node continue."""
        self.bed.ip(f"link set {self.network.outer} down")

    def heal_network(self) -> None:
        """Reconnect the network."""
        self.bed.ip(f"link set {self.network.outer} up")
        self.bed.ip(f"route replace {self.network.pods} via {self.network.address}")

    def log(self, program: str) -> str:
        """Return the end of a program's log."""
        return log_tail(self.folder / f"{program}.log")


def placed_on(nodes: Sequence[Node]) -> dict[str, Any]:
    """Return podOverrides that place an experiment on reserved nodes, and let its pods leave a lost node soon."""
    reserved = nodes[0].reserved_for
    return {
        "terminationGracePeriodSeconds": 5,
        "nodeSelector": {RESERVED: reserved},
        "tolerations": [{"key": RESERVED, "operator": "Equal", "value": reserved, "effect": "NoSchedule"}],
    }


def node_of(nodes: Sequence[Node], pod: Mapping[str, Any]) -> Node:
    """Return the node of a pod."""
    return next(node for node in nodes if node.name == pod["spec"]["nodeName"])


def _child_of(pid: int) -> int:
    """Return the pid of a process's only child, which unshare creates within milliseconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise BedError("unshare has created no process")


def log_tail(path: Path) -> str:
    """Return the last lines of a log; empty if the file doesn't exist yet."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:]) if path.exists() else ""
