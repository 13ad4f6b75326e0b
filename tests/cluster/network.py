"""Network of a test cluster: separate network namespaces joined by a bridge, isolated from this machine's network.

The control plane's namespace has the bridge and the first address. Every node has an address on the bridge, and a range
for its pods behind a second bridge created by its CNI plugin; other nodes reach that range through the node. There is
no default route: no packet leaves the cluster, and packets for a stopped node are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTROL = "10.66.0.1"
"""Address of the API server and the DNS server, for pods and nodes."""

SERVICES = "10.67.0.0/16"
KUBERNETES_SERVICE = "10.67.0.1"
PODS = "10.66.0.0/16"
DOMAIN = "cluster.local"
BRIDGE = "br0"


@dataclass(frozen=True)
class NodeNetwork:
    """Addresses of one node.

    Attributes:
        index: of the node, from 1.
    """

    index: int

    @property
    def address(self) -> str:
        """Return the node's address."""
        return f"10.66.0.{10 + self.index}"

    @property
    def pods(self) -> str:
        """Return the address range of its pods."""
        return f"10.66.{self.index}.0/24"

    @property
    def outer(self) -> str:
        """Return the interface of its cable in the control plane's namespace."""
        return f"node{self.index}"


def control_setup() -> list[str]:
    """Return the commands of ip(8) that set up the control plane's side."""
    return [
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"link set {BRIDGE} up",
        f"address add {CONTROL}/24 dev {BRIDGE}",
    ]


def cable(node: NodeNetwork, process: int) -> list[str]:
    """Return the commands that connect a node, to run in the control plane's namespace.

    Args:
        node: to connect.
        process: pid of any process in the node's network namespace.
    """
    inner = f"inner{node.index}"
    return [
        f"link add {node.outer} type veth peer name {inner}",
        # renamed together with the move, because the node continues as soon as it has an eth0
        f"link set {inner} netns {process} name eth0",
        f"link set {node.outer} master {BRIDGE}",
        f"link set {node.outer} up",
        f"route replace {node.pods} via {node.address}",
    ]


def node_setup(node: NodeNetwork, others: list[NodeNetwork]) -> list[str]:
    """Return the commands to run in the node's namespace once its cable is connected."""
    return [
        "link set lo up",
        "link set eth0 up",
        f"address add {node.address}/24 dev eth0",
        # kube-proxy translates a service's address only in packets that have a route
        f"route add {SERVICES} via {CONTROL}",
        *(f"route add {other.pods} via {other.address}" for other in others),
    ]
