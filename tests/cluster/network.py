"""The network of a cluster of tests: namespaces of its own, joined by a bridge; nothing of this machine is in it.

The control plane's namespace has the bridge and the first address. Every node has an address on it, and a range for its
pods behind a bridge that its CNI plugin makes; the others reach that range through the node. There is no default route:
nothing leaves, and a packet for a node that is gone goes nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTROL = "10.66.0.1"
"""The API server's and the name server's address; pods and nodes use it."""

SERVICES = "10.67.0.0/16"
KUBERNETES_SERVICE = "10.67.0.1"
PODS = "10.66.0.0/16"
DOMAIN = "cluster.local"
BRIDGE = "br0"


@dataclass(frozen=True)
class NodeNetwork:
    """Addresses of one node.

    Attributes:
        index: from 1.
    """

    index: int

    @property
    def address(self) -> str:
        """The node's own."""
        return f"10.66.0.{10 + self.index}"

    @property
    def pods(self) -> str:
        """The range of its pods."""
        return f"10.66.{self.index}.0/24"

    @property
    def outer(self) -> str:
        """The end of its cable in the control plane's namespace."""
        return f"node{self.index}"


def control_setup() -> list[str]:
    """Commands of ip(8), a line each, that make the control plane's side."""
    return [
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"link set {BRIDGE} up",
        f"address add {CONTROL}/24 dev {BRIDGE}",
    ]


def cable(node: NodeNetwork, process: int) -> list[str]:
    """Plugs a node in: run in the control plane's namespace; ``process`` is any of the node's namespace."""
    inner = f"inner{node.index}"
    return [
        f"link add {node.outer} type veth peer name {inner}",
        # by its final name only once it is there: the node continues as soon as it has an eth0
        f"link set {inner} netns {process} name eth0",
        f"link set {node.outer} master {BRIDGE}",
        f"link set {node.outer} up",
        f"route replace {node.pods} via {node.address}",
    ]


def node_setup(node: NodeNetwork, others: list[NodeNetwork]) -> list[str]:
    """Run in the node's namespace, once its cable is there."""
    return [
        "link set lo up",
        "link set eth0 up",
        f"address add {node.address}/24 dev eth0",
        # kube-proxy turns a service's address into a pod's, but only of packets that have a route
        f"route add {SERVICES} via {CONTROL}",
        *(f"route add {other.pods} via {other.address}" for other in others),
    ]
