"""Publishing of 3,000 pictures, and of 256 shards, to an S3 server, compared with ``rclone copy``.

    python benchmarks/object_storage.py files [--pictures 3000] [--shards 256] [--repeats 2]

The server is versitygw on this machine. A process of its own claims a step and publishes a results directory that has
all files of a finished inference or conversion, of random bytes; ``rclone copy`` copies the same directory with 16
transfers at once. Then a few pictures are added and published: the others keep their objects. CPU seconds are those of
the process and its helper, without the server. The best of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from measured_command import CommandUse, measured_command
from object_storage_server import BUCKET, KEYS, ROOT, TRANSFERS, Served, Server, build_programs, rclone, started

PICTURE_BYTES, SHARD_BYTES = 100_000, 2_000_000
ADDED = 10
"""Pictures that are published later."""
REFERENCE, OURS = "rclone copy", "published"


@dataclass(frozen=True)
class Copied:
    """A copy of a directory to the server.

    Attributes:
        use: of its processes.
        requests: that the server got for all files.
        added: requests for a second set with a few files more; None: there was none.
        added_seconds: its time.
    """

    use: CommandUse
    requests: int
    added: int | None = None
    added_seconds: float = 0.0


@dataclass(frozen=True)
class Kind:
    """Files of a step.

    Attributes:
        count: number of them.
        size: of each in bytes.
        name: of a file, with a place for its number.
    """

    count: int
    size: int
    name: str

    def write(self, folder: Path, numbers: range) -> None:
        """Write files of random bytes."""
        for number in numbers:
            path = folder / self.name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(self.size))


def role_of(command: Sequence[str]) -> str:
    """Return the role of a process."""
    return "helper" if "maskrcnn_trainer.object_store.helper_main" in command else "program"


def published(server: Server, results: Path, kind: Kind) -> Copied:
    """Publish a directory, and a few files more."""
    experiment, more = results.parent.name, results.with_name("more")
    kind.write(more, range(kind.count, kind.count + ADDED))
    settings = {
        "url": f"s3://{BUCKET}",
        "config": str(server.config),
        "experiment": experiment,
        "results": str(results),
        "more": str(more),
    }
    program = Path(__file__).with_name("object_storage_files_client.py")
    log, before = results.with_name("output.log"), len(server.served())
    use = measured_command([sys.executable, str(program), json.dumps(settings)], os.environ, log, role_of)
    first, second = requests_of_sets(server.served()[before:], f"{experiment}/{results.name}/run.json")
    return Copied(use, first, second, json.loads(log.read_text().splitlines()[-1])["addedSeconds"])


def requests_of_sets(served: Sequence[Served], pointer: str) -> tuple[int, int]:
    """Return the requests of the claim with the first set, and those of the second one."""
    writes = [number for number, one in enumerate(served) if one == replace(one, operation="PutObject", key=pointer)]
    _, first, second = writes
    return first + 1, second - first


def copied(server: Server, results: Path) -> Copied:
    """Copy a directory by rclone."""
    before = len(server.served())
    command = rclone(server, str(results), f":s3:{BUCKET}/rclone/{results.parent.name}")
    use = measured_command(command, {**os.environ, **KEYS}, results.with_name("rclone.log"), role_of)
    return Copied(use, len(server.served()) - before)


def table(kind: Kind, what: str, results: Mapping[str, Sequence[Copied]]) -> str:
    """Return the table of one kind of files; of the repeats, the best."""
    lines = [
        f"{kind.count:,} {what} of {kind.size / 1e6:g} MB, best of {len(results[REFERENCE])}",
        f"{'':14}{'seconds':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}{'requests/file':>15}",
    ]
    seconds = {system: min(one.use.seconds for one in runs) for system, runs in results.items()}
    cpu = {system: min(one.use.cpu for one in runs) for system, runs in results.items()}
    for system, runs in results.items():
        lines.append(
            f"{system:14}{seconds[system]:>9.2f}{seconds[system] / seconds[REFERENCE]:>7.2f}{cpu[system]:>9.2f}"
            f"{cpu[system] / cpu[REFERENCE]:>7.2f}{min(one.requests for one in runs) / kind.count:>15.3f}"
        )
    for one in results[OURS][:1]:
        peak = one.use.roles["helper"].peak / 1e6
        lines.append(
            f"{one.requests} requests in all; {ADDED} files more: {one.added} requests, {one.added_seconds:.2f} s; "
            f"peak memory of the helper {peak:.0f} MB"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--shards", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=2)


def run(arguments: argparse.Namespace) -> None:
    """Run all copies alternately, and print a table of each kind of files."""
    build_programs()
    work = ROOT / ".bench"
    work.mkdir(exist_ok=True)
    kinds = {
        "pictures": Kind(arguments.pictures, PICTURE_BYTES, "images_annotated/{:06}.jpg"),
        "shards": Kind(arguments.shards, SHARD_BYTES, "train-{:05}-of-00256.tfrecord"),
    }
    with tempfile.TemporaryDirectory(dir=work, prefix="object-storage-") as name, started(Path(name)) as server:
        for what, kind in kinds.items():
            results: dict[str, list[Copied]] = {REFERENCE: [], OURS: []}
            for repeat in range(arguments.repeats):
                folder = Path(name, f"{what}-{repeat}", "step")
                kind.write(folder, range(kind.count))
                os.sync()
                results[REFERENCE].append(copied(server, folder))
                os.sync()
                results[OURS].append(published(server, folder, kind))
            print(table(kind, what, results), flush=True)
    print(f"{TRANSFERS} transfers at once by rclone; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
