"""versitygw on this machine for benchmarks: an S3 server that keeps objects in files and logs its requests."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster.tools import find_tool

BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-secret"}
TRANSFERS = 16
"""Transfers that rclone makes at once, as many as staging."""
START_SECONDS = 30.0
_LINE = re.compile(r"\[(?P<time>[^]]+)\] (?:\S+ ){3}s3_(?P<operation>\w+) (?P<key>\S+) ")


@dataclass(frozen=True)
class Served:
    """A request as the server has logged it.

    Attributes:
        operation: such as PutObject.
        key: of the object; "-" for a listing.
        second: end of the request, in seconds since 1970, whole.
    """

    operation: str
    key: str
    second: float


def served_in(log: str) -> list[Served]:
    """Return the requests of an access log, in order; its other lines are left out."""
    return [
        Served(match["operation"], match["key"], datetime.strptime(match["time"], "%d/%B/%Y:%H:%M:%S %z").timestamp())
        for match in _LINE.finditer(log)
    ]


class Server:
    """versitygw with a directory of its own, in which a bucket exists.

    Args:
        folder: for the objects, the log, and the configuration of its clients.

    Attributes:
        endpoint: URL of the server.
        secrets: directory with the keys.
        config: file for ``--store-config``.
    """

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        objects = folder / "objects"
        (objects / BUCKET).mkdir(parents=True)
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        for name, value in KEYS.items():
            (self.secrets / name).write_text(value)
        self.config = folder / "stores.yaml"
        entry = {"prefix": f"s3://{BUCKET}", "endpoint": self.endpoint, "secretDir": "secrets", "allowHttp": True}
        self.config.write_text(yaml.safe_dump([entry]))
        self._log = (folder / "access.log").absolute()
        self._log.touch()
        command = [find_tool("versitygw"), "--port", f"127.0.0.1:{port}", "--access-log", self._log]
        keys = {"ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*map(str, command), "posix", str(objects)], env=os.environ | keys, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                sys.exit(f"versitygw didn't start:\n{(folder / 'server.log').read_text(errors='replace')}")
            time.sleep(0.05)

    def served(self) -> list[Served]:
        """Return the requests since the start."""
        return served_in(self._log.read_text())

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Server]:
    """Run a server that ends with the block."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


def build_programs() -> None:
    """Build versitygw and rclone unless that is done."""
    for program in ("versitygw", "rclone"):
        find_tool(program)


def rclone(server: Server, source: str, target: str) -> list[str]:
    """Return the command that copies from or to the server."""
    flags = ["--config", "", "--transfers", str(TRANSFERS), "--checkers", str(TRANSFERS), "--s3-provider", "Other"]
    flags += ["--s3-endpoint", server.endpoint, "--s3-env-auth", "--s3-region", "us-east-1"]
    return [str(find_tool("rclone")), "copy", source, target, *flags]


def execute(command: list[str]) -> None:
    """Run a command; exit with the end of its output if it fails."""
    done = subprocess.run(
        command, env=os.environ | KEYS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
