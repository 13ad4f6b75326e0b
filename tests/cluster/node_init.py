"""Process 1 of a node: set up its namespaces, then supervise containerd, kubelet and kube-proxy.

    node_init.py NODE.json

``unshare`` starts it in new net, mount and PID namespaces. SIGKILL acts like a power loss: the kernel removes every
process, container, mount, interface and rule of the node. A program that ends is restarted.
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
# machine-wide settings that kubelet and kube-proxy write: the node has files mounted over them
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
    """Run a command that must succeed."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def set_up_mounts(folder: Path, full: str) -> None:
    """Mount private folders and files over the machine's, and a volume that is soon full."""
    run("mount", "-t", "tmpfs", "-o", f"size={FULL_SIZE}", "tmpfs", full)
    for place in PRIVATE:
        Path(place).mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", place)
    # containers that start later must see the volumes of pods that are mounted here
    run("mount", "--make-rshared", "/var/lib/kubelet")
    for number, place in enumerate(MACHINE_WIDE):
        if Path(place).exists():
            stand_in = folder / f"sysctl-{number}"
            stand_in.write_text(Path(place).read_text())
            run("mount", "--bind", str(stand_in), place)


def has_interface(name: str) -> bool:
    """Return whether this process's network has the interface; /sys/class/net shows the machine's network."""
    return any(name == interface for _, interface in socket.if_nameindex())


def wait_for_cable() -> None:
    """Wait until the node's end of the cable has its final name."""
    deadline = time.monotonic() + CABLE_SECONDS
    while not has_interface("eth0"):
        if time.monotonic() > deadline:
            raise SystemExit("no network cable was connected")
        time.sleep(0.02)


def set_up_network(commands: list[str]) -> None:
    """Wait for the cable, then set addresses and routes."""
    wait_for_cable()
    for command in commands:
        run("ip", *command.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for switch in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        switch.write_text("1")


def start(name: str, argv: list[str], folder: Path) -> int:
    """Start a program of the node with its output in a log, and return its pid."""
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT).pid


def main() -> None:
    """Set up the node, and keep its programs running like a service manager."""
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
        # process 1 reaps every orphan
        pid, status = os.waitpid(-1, 0)
        name = programs.pop(pid, "")
        if not name:
            continue
        restarts += 1
        sys.stderr.write(f"{name} ended with exit code {os.waitstatus_to_exitcode(status)}\n")
        sys.stderr.flush()
        if restarts > RESTARTS:
            raise SystemExit(f"more than {RESTARTS} restarts of programs; {name} was the last")
        # kubelet ends if containerd listens but doesn't respond yet
        time.sleep(0.5)
        programs[start(name, node["programs"][name], folder)] = name


if __name__ == "__main__":
    main()
