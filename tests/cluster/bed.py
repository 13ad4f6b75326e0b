"""Complete cluster on this machine: control plane, DNS server, and nodes that run containers; requires root.

Everything runs in separate namespaces and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import base64
import fcntl
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from tests.apiserver import servers
from tests.apiserver.bed import BedError
from tests.apiserver.certificates import Pair
from tests.apiserver.rest import Rest, RestError
from tests.apiserver.servers import LOOPBACK
from tests.apiserver.supervision import Supervision, SupervisionError
from tests.cluster import control_plane
from tests.cluster.network import CONTROL, NodeNetwork, control_setup
from tests.cluster.node import MOST_NODES, Node, log_tail
from tests.cluster.teardown import remove_cgroups
from tests.cluster.tools import find_tool

HERE = Path(__file__).resolve().parent
READY_SECONDS = 90.0
POLL_SECONDS = 0.05
ATTACH_FILE = "bed.pickle"


class ClusterBed:
    """A cluster; ``start`` starts it, ``stop`` ends and removes everything.

    Args:
        binaries: the folder with etcd, kube-apiserver and the rest of Kubernetes.
        store: images for the nodes (see :func:`tests.cluster.image_store.find_store`).
        nodes: number of nodes.
    """

    def __init__(self, binaries: Path, store: Path, nodes: int = 2) -> None:
        self.binaries, self.store, self._number = binaries, store, nodes

    def start(self) -> ClusterBed:
        """Start everything and wait until all nodes are Ready.

        Raises:
            BedError: a program ended, or wasn't ready in time.
        """
        if os.geteuid() != 0:
            raise BedError("a cluster with nodes needs root; set E2E_KUBECONFIG to use an existing cluster")
        remove_cgroups()
        self.folder = Path(tempfile.mkdtemp(prefix="maskrcnn-cluster-", dir="/var/tmp"))
        self._supervision = Supervision(self.folder)
        self._supervision.start()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        self.identities = control_plane.Identities.make(self.folder)
        self.full_folder = self.folder / "full"
        """Volume with a few pages of space, on every node."""
        self.full_folder.mkdir()
        self.authority = self.identities.authority.certificate
        # also of nodes that are added later: a process that attaches to this bed cannot sign
        self.kubelet_pairs = {
            index: self.identities.kubelet(f"node-{index}", NodeNetwork(index).address)
            for index in range(1, MOST_NODES + 1)
        }
        holder = self.supervise("network", ["unshare", "--net", "sleep", "infinity"])
        self._namespace = f"/proc/{holder}/ns/net"
        while Path(self._namespace).readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(POLL_SECONDS)
        for command in control_setup():
            self.ip(command)
        inside = f"https://{CONTROL}:{control_plane.PORT}"
        self.proxy_kubeconfig = self.folder / "kube-proxy.kubeconfig"
        self._kubeconfigs = {
            "controllers": self.identities.controller_manager,
            "scheduler": self.identities.scheduler,
            "kube-proxy": self.identities.proxy,
            "dns": self.identities.dns,
        }
        for name, pair in self._kubeconfigs.items():
            self.write_kubeconfig(self.folder / f"{name}.kubeconfig", pair)
        self.port = _free_port()
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.write_kubeconfig(self.kubeconfig, self.identities.admin, f"https://127.0.0.1:{self.port}")
        self.inside_kubeconfig = self.folder / "inside.kubeconfig"
        self.write_kubeconfig(self.inside_kubeconfig, self.identities.admin, inside)
        self.rest = Rest("127.0.0.1", self.port, self.authority, self.identities.admin)
        self.supervise("etcd", servers.etcd(self.binaries, self.folder))
        self.relay(CONTROL, control_plane.PORT, self.port)
        self.start_api_server()
        manager = self.folder / "controllers.kubeconfig"
        self.inside(
            "kube-controller-manager", control_plane.kube_controller_manager(self.binaries, manager, self.identities)
        )
        self.inside("kube-scheduler", control_plane.kube_scheduler(self.binaries, self.folder / "scheduler.kubeconfig"))
        core_file = self.folder / "Corefile"
        core_file.write_text(control_plane.core_file(self.folder / "dns.kubeconfig"))
        self.inside("coredns", [str(find_tool("coredns")), "-conf", str(core_file)])
        self.nodes = [Node(self, index + 1) for index in range(self._number)]
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            self.wait_ready(node)
        for name in ("coredns", "kube-scheduler", "kube-controller-manager"):
            if self.ended(name):
                raise BedError(f"{name} ended:\n{self.log(name)}")
        (self.folder / ATTACH_FILE).write_bytes(pickle.dumps(self))

    @classmethod
    def attach(cls, folder: Path) -> ClusterBed:
        """Return the bed that another process of this user runs in ``folder``; it must not be stopped."""
        bed: ClusterBed = pickle.loads((folder / ATTACH_FILE).read_bytes())  # noqa: S301 - in a folder of mode 0700
        return bed

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_supervision": Supervision(self.folder), "rest": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.rest = Rest("127.0.0.1", self.port, self.authority, self.identities.admin)

    @contextmanager
    def reserved_nodes(self, count: int, reserved_for: str) -> Iterator[list[Node]]:
        """Yield ``count`` additional Ready nodes for pods that tolerate ``reserved_for``; remove them afterwards."""
        nodes = [self._claim_node(reserved_for) for _ in range(count)]
        try:
            for node in nodes:
                node.start()
            for node in nodes:
                self.wait_ready(node)
            yield nodes
        finally:
            for node in nodes:
                with suppress(BedError):
                    node.power_off()
                with suppress(OSError, RestError):
                    self.api("DELETE", f"/api/v1/nodes/{node.name}")

    def _claim_node(self, reserved_for: str) -> Node:
        """Return a node that no process has claimed before."""
        for index in range(self._number, MOST_NODES):
            with suppress(FileExistsError):
                (self.folder / f"node-{index + 1}").mkdir()
                return Node(self, index + 1, reserved_for)
        raise BedError(f"the limit of {MOST_NODES} nodes is reached")

    def stop(self) -> None:
        """End everything and remove every file and control group."""
        self._supervision.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_cgroups()

    def __enter__(self) -> ClusterBed:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_api_server(self) -> None:
        """Start kube-apiserver and wait until it is ready.

        Raises:
            BedError: it ended, or wasn't ready in time.
        """
        self.inside("kube-apiserver", control_plane.kube_apiserver(self.binaries, self.folder, self.identities))
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self.rest.call("GET", "/readyz")
                return
            except (OSError, RestError) as error:
                if self.ended("kube-apiserver") or time.monotonic() > deadline:
                    raise BedError(f"kube-apiserver is not ready: {error}\n{self.log('kube-apiserver')}") from error
            time.sleep(POLL_SECONDS)

    def stop_api_server(self) -> None:
        """End kube-apiserver by SIGKILL."""
        self.end("kube-apiserver")

    @contextmanager
    def api_server_down(self) -> Any:
        """Stop the API server for the duration of the ``with`` block."""
        self.stop_api_server()
        try:
            yield
        finally:
            self.start_api_server()

    def wait_ready(self, node: Node, ready: bool = True) -> None:
        """Wait until a node is Ready, or no longer is if ``ready`` is false."""
        deadline = time.monotonic() + READY_SECONDS
        wanted = "True" if ready else ("False", "Unknown")
        while True:
            conditions: list[dict[str, Any]] = []
            with suppress(OSError, RestError):
                conditions = self.api("GET", f"/api/v1/nodes/{node.name}")["status"].get("conditions", [])
            if any(entry["type"] == "Ready" and entry["status"] in wanted for entry in conditions):
                return
            if self.ended(node.name) and ready:
                logs = "\n".join(node.log(program) for program in ("kubelet", "kube-proxy"))
                raise BedError(f"{node.name} ended:\n{self.log(node.name)}\n{logs}")
            if time.monotonic() > deadline:
                raise BedError(
                    f"{node.name} is not {'Ready' if ready else 'NotReady'}: {conditions}\n{node.log('kubelet')}"
                )
            time.sleep(0.2)

    def api(self, method: str, path: str, body: Any = None, content_type: str | None = None) -> Any:
        """Call the API as admin (see :meth:`tests.apiserver.rest.Rest.call`)."""
        return self.rest.call(method, path, body, content_type)

    def supervise(self, name: str, argv: list[str]) -> int:
        """Start a program of the bed and return its pid."""
        return int(self._command(start=name, argv=argv)["pid"])

    def inside(self, name: str, argv: list[str]) -> int:
        """Start a program in the control plane's network and return its pid."""
        return self.supervise(name, ["nsenter", f"--net={self._namespace}", *argv])

    def inside_argv(self, argv: Sequence[str]) -> list[str]:
        """Return a command line that runs ``argv`` in the control plane's network, from which pods can be reached."""
        return ["nsenter", f"--net={self._namespace}", *argv]

    def relay(self, host: str, port: int, listen: int = 0) -> int:
        """Forward a loopback port to an address in the cluster's network, such as a pod's; return the port."""
        listen = listen or _free_port()
        target = f"{self._namespace}/{host}:{port}"
        self._start_relay(f"relay-{listen}", f"{LOOPBACK}:{listen}", target, lambda: _listens(LOOPBACK, listen))
        return listen

    def admit(self, port: int, listen: int = 0) -> int:
        """Forward a port of the address CONTROL, which pods reach, to a loopback port; return the port of CONTROL."""
        listen = listen or _free_port()
        here = f"{self._namespace}/{CONTROL}:{listen}"
        table = Path(self._namespace).parents[1] / "net" / "tcp"
        self._start_relay(f"admit-{listen}", here, f"{LOOPBACK}:{port}", lambda: is_listened_on(table, listen))
        return listen

    def shut_out(self, listen: int) -> None:
        """End what :meth:`admit` started: its connections are reset, and later ones are refused."""
        self.end(f"admit-{listen}")

    def _start_relay(self, name: str, listen: str, target: str, is_ready: Callable[[], bool]) -> None:
        self.supervise(name, [sys.executable, "-S", "-E", str(HERE / "relay.py"), listen, target])
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready():
            if self.ended(name) or time.monotonic() > deadline:
                raise BedError(f"the relay from {listen} to {target} didn't start\n{self.log(name)}")
            time.sleep(POLL_SECONDS)

    def end(self, name: str) -> None:
        """End a program by SIGKILL."""
        self._command(stop=name, grace=0)

    def ended(self, name: str) -> bool:
        """Return whether a program has ended."""
        return self._command(poll=name)["code"] is not None

    def ip(self, command: str) -> None:
        """Run the ip program in the control plane's network."""
        done = subprocess.run(self.inside_argv(["ip", *command.split()]), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BedError(f"ip {command}: {done.stderr.strip()}")

    @contextmanager
    def locked_network(self) -> Iterator[None]:
        """Lock the network, so that processes add nodes one after the other."""
        with (self.folder / "network.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def log(self, name: str) -> str:
        """Return the end of a program's log."""
        return log_tail(self.folder / f"{name}.log")

    def write_kubeconfig(self, path: Path, pair: Pair, server: str | None = None) -> None:
        """Write a kubeconfig that authenticates a client by its certificate."""
        encoded = {
            name: base64.b64encode(file.read_bytes()).decode()
            for name, file in (
                ("certificate-authority-data", self.authority),
                ("client-certificate-data", pair.certificate),
                ("client-key-data", pair.key),
            )
        }
        authority = encoded.pop("certificate-authority-data")
        server = server or f"https://{CONTROL}:{control_plane.PORT}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "user", "user": encoded}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "user"}}],
            "current-context": "bed",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))

    def _command(self, **command: Any) -> dict[str, Any]:
        try:
            return self._supervision.command(**command)
        except SupervisionError as error:
            raise BedError(str(error)) from error


def _listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), 1.0):
        return True
    return False


def is_listened_on(table: Path, port: int) -> bool:
    """Return whether a port is listened on, by a table such as /proc/net/tcp (proc(5)); 0A is the state LISTEN."""
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return any(row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port for row in rows)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
