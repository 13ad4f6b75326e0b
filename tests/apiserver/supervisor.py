"""Supervisor of the servers of a bed, which ends all of them when its parent process ends.

Run as ``python supervisor.py FOLDER``. It listens on FOLDER/supervisor.sock; each connection sends one line, a JSON
command, and receives one line: ``{"start": NAME, "argv": [...]}`` -> ``{"pid": N}``; ``{"stop": NAME, "grace":
SECONDS}`` -> ``{"code": N}`` (SIGTERM, after ``grace`` SIGKILL; 0 kills at once); ``{"poll": NAME}`` -> ``{"code": N or
null}``. At the end of its standard input, at SIGTERM, or when its parent dies, every server is killed and FOLDER
removed. A server dies with its supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
CLIENT_SECONDS = 10.0
# loaded before any fork, because loading a library in a forked child is unsafe
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Servers:
    """The processes of one bed, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: list[str]) -> dict[str, Any]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread, and the function loads nothing
            )
        self.processes[name] = process
        return {"pid": process.pid}

    def stop(self, name: str, grace: float) -> dict[str, Any]:
        process = self.processes.pop(name)
        if grace > 0:
            process.terminate()
            try:
                return {"code": process.wait(grace)}
            except subprocess.TimeoutExpired:
                pass
        process.kill()
        return {"code": process.wait()}

    def poll(self, name: str) -> dict[str, Any]:
        process = self.processes.get(name)
        return {"code": process.poll() if process else None}

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            if "start" in command:
                return self.start(command["start"], command["argv"])
            if "stop" in command:
                return self.stop(command["stop"], command.get("grace", 0))
            return self.poll(command["poll"])
        except (OSError, KeyError) as error:
            return {"error": repr(error)}


def answer(connection: socket.socket, servers: Servers) -> None:
    """Execute the command of one connection; a client that has left, or sends no valid command, gets no response."""
    with connection, contextlib.suppress(OSError, ValueError):
        connection.settimeout(CLIENT_SECONDS)
        with connection.makefile("rb") as lines:
            line = lines.readline()
        connection.sendall(json.dumps(servers.obey(json.loads(line))).encode() + b"\n")


def main() -> None:
    """Execute commands until standard input ends, then end all servers."""
    parent = os.getppid()
    servers = Servers(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listener = socket.socket(socket.AF_UNIX)
    # renamed after listen(), so that a client that sees the socket can connect to it
    early = servers.folder / "supervisor.early"
    listener.bind(str(early))
    listener.listen(64)
    early.rename(servers.folder / "supervisor.sock")
    try:
        while True:
            # A child of the parent may keep the other end open, so the death of the parent is detected as well.
            readable, _, _ = select.select([0, listener], [], [], 1.0)
            if os.getppid() != parent or (0 in readable and not os.read(0, 65536)):
                return
            if listener in readable:
                answer(listener.accept()[0], servers)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        servers.end()


if __name__ == "__main__":
    main()
