"""Process 1 of a node: sets its namespaces up, then keeps containerd, kubelet and kube-proxy: node_init.py NODE.json

Started by ``unshare`` in net, mount and PID namespaces of its own. SIGKILL of it is a power cut: the kernel takes every
process, container, mount, interface and rule with it. A program that ends is started again.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

PRIVATE = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods")
# kubelet and kube-proxy write to these; they belong to the whole machine, so the node has files in their place
MACHINE_WIDE = (
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
)
CABLE_SECONDS = 30.0
RESTARTS = 20
FULL_SIZE = "64k"


def run(*command: str) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def set_up_mounts(folder: Path, full: str) -> None:
    """Places of the node's own over those of the machine, and a volume that is soon full."""
    run("mount", "-t", "tmpfs", "-o", f"size={FULL_SIZE}", "tmpfs", full)
    for place in PRIVATE:
        Path(place).mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", place)
    # pods' volumes are mounted in here and must be seen by containers that are made later
    run("mount", "--make-rshared", "/var/lib/kubelet")
    for number, place in enumerate(MACHINE_WIDE):
        if Path(place).exists():
            stand_in = folder / f"sysctl-{number}"
            stand_in.write_text(Path(place).read_text())
            run("mount", "--bind", str(stand_in), place)


def has_interface(name: str) -> bool:
    """Return whether this process's network has it; /sys/class/net shows the network that /sys was mounted in."""
    return any(name == interface for _, interface in socket.if_nameindex())


def wait_for_cable() -> None:
    """Wait until this node's end of it is there, by its final name."""
    deadline = time.monotonic() + CABLE_SECONDS
    while not has_interface("eth0"):
        if time.monotonic() > deadline:
            raise SystemExit("no cable was plugged in")
        time.sleep(0.02)


def set_up_network(commands: list[str]) -> None:
    """Waits for the cable, then addresses and routes."""
    wait_for_cable()
    for command in commands:
        run("ip", *command.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for switch in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        switch.write_text("1")


def start(name: str, argv: list[str], folder: Path) -> int:
    """A program of the node, its output in a log; its pid."""
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT).pid


def main() -> None:
    """Set up, start, and keep the programs running, as a service manager would."""
    node = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(node["folder"])
    set_up_mounts(folder, node["full"])
    set_up_network(node["network"])
    programs: dict[int, str] = {}
    for name, argv in node["programs"].items():
        programs[start(name, argv, folder)] = name
        wait_for = node["sockets"].get(name)
        while wait_for and not Path(wait_for).exists():
            time.sleep(0.02)
    restarts = 0
    while True:
        # process 1 inherits every orphan
        pid, status = os.waitpid(-1, 0)
        name = programs.pop(pid, "")
        if not name:
            continue
        restarts += 1
        sys.stderr.write(f"{name} ended with {os.waitstatus_to_exitcode(status)}\n")
        sys.stderr.flush()
        if restarts > RESTARTS:
            raise SystemExit("too often")
        # kubelet ends where containerd listens but does not answer yet
        time.sleep(0.5)
        programs[start(name, node["programs"][name], folder)] = name


if __name__ == "__main__":
    main()
