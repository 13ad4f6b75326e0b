"""Staging of 5,000 images from an S3 server, compared with ``rclone copy``: seconds, CPU seconds, requests an object.

    python benchmarks/object_storage.py staging [--images 5000] [--bytes 1600000000] [--repeats 3]
                                                [--parts fetch staging]

The server is versitygw on this machine; both programs are built once into the user's cache. The files are random bytes
in the sizes of photographs. The programs run alternately, with 16 transfers at once each, into empty directories and
with an empty cache; what they write is on the disk before the next one starts. CPU seconds are those of the process and
its children, without the server. ``fetch`` is the client alone, which writes objects to a directory; ``staging`` also
plans, fills the cache, and links the files. rclone also computes the MD5 of what it has read and compares it with the
etag, but for the row "without MD5" (``--ignore-checksum``); staging compares sizes and etags. The best of the repeats
counts, because it is the least disturbed by other work. All copies are kept until the end (with the defaults 23 GB).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from object_storage_server import BUCKET, ROOT, TRANSFERS, Server, build_programs, execute, rclone, started

PREFIX = "images"
SPREAD = 0.5
"""Standard deviation of the sizes' logarithms: a twelfth of them are over twice the median."""
AIM = 1.2
REFERENCE = "rclone copy"

Run = Callable[[Path], None]


@dataclass(frozen=True)
class Measured:
    """One copy of all objects: seconds, CPU seconds of its processes, and requests that the server got."""

    seconds: float
    cpu: float
    requests: int


def sizes(images: int, total: int) -> list[int]:
    """Return the sizes of the files in bytes, log-normal, with the given sum but for rounding."""
    chosen = random.Random(23)
    drawn = [chosen.lognormvariate(0, SPREAD) for _ in range(images)]
    return [max(1, round(one * total / sum(drawn))) for one in drawn]


def write_files(folder: Path, images: int, total: int) -> None:
    """Write the files, of random bytes, in folders of 1,000."""
    block = memoryview(os.urandom(64 * 1024 * 1024))
    for number, size in enumerate(sizes(images, total)):
        path = folder / f"{number // 1000:03}" / f"{number:012}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = (number * 7919 * 4096) % max(1, len(block) - size)
        path.write_bytes(block[start : start + size])


def ours(server: Server, part: str) -> Run:
    """Return the run of this project's client, in a process of its own."""

    def run(target: Path) -> None:
        settings = {"endpoint": server.endpoint, "secrets": str(server.secrets), "target": str(target), "part": part}
        program = Path(__file__).with_name("object_storage_staging_client.py")
        execute([sys.executable, str(program), json.dumps(settings)])

    return run


def measured(run: Run, server: Server, folder: Path, expected: tuple[int, int]) -> Measured:
    """Return the measurements of one run into an empty directory; exit if files are missing or too short."""
    # kept until the end: for half a minute after files were deleted, ext4 needs much longer to create others
    target = folder / f"target-{time.monotonic_ns()}"
    os.sync()
    before, cpu, began = len(server.served()), children_cpu(), time.perf_counter()
    run(target)
    seconds, cpu = time.perf_counter() - began, children_cpu() - cpu
    found = [path.stat().st_size for path in target.rglob("*.jpg")]
    if (len(found), sum(found)) != expected:
        sys.exit(f"{len(found)} files with {sum(found)} bytes were copied, expected {expected[0]} with {expected[1]}")
    return Measured(seconds, cpu, len(server.served()) - before)


def children_cpu() -> float:
    """Return the CPU seconds of all finished children and theirs; the server runs and so isn't among them."""
    times = os.times()
    return times.children_user + times.children_system


def table(images: int, total: int, results: dict[str, list[Measured]]) -> str:
    """Return the table of all runs, with ratios to rclone's."""
    best = {
        name: (min(one.seconds for one in runs), min(one.cpu for one in runs), min(one.requests for one in runs))
        for name, runs in results.items()
    }
    repeats = len(next(iter(results.values())))
    lines = [f"{images:,} objects, {total / 1e6:,.0f} MB, {TRANSFERS} transfers at once, best of {repeats}"]
    lines += [f"{'':16}{'seconds':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}{'MB/s':>7}{'requests/object':>17}"]
    reference = best[REFERENCE]
    for name, (seconds, cpu, requests) in best.items():
        ratios = f"{seconds:>9.2f}{seconds / reference[0]:>7.2f}{cpu:>9.2f}{cpu / reference[1]:>7.2f}"
        lines.append(f"{name:16}{ratios}{total / 1e6 / seconds:>7.0f}{requests / images:>17.3f}")
    lines.append(f"aim: ratios of at most {AIM}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--bytes", type=int, default=1_600_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=("fetch", "staging"), default=["fetch", "staging"])


def run(arguments: argparse.Namespace) -> None:
    """Run all copies and print a table."""
    build_programs()
    work = ROOT / ".bench"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="object-storage-") as name:
        folder = Path(name)
        files = folder / "files"
        write_files(files, arguments.images, arguments.bytes)
        expected = (arguments.images, sum(sizes(arguments.images, arguments.bytes)))
        with started(folder / "server") as server:
            remote = f":s3:{BUCKET}/{PREFIX}"
            execute(rclone(server, str(files), remote))
            systems: dict[str, Run] = {
                REFERENCE: lambda target: execute(rclone(server, remote, str(target))),
                "without MD5": lambda target: execute([*rclone(server, remote, str(target)), "--ignore-checksum"]),
                **{part: ours(server, part) for part in arguments.parts},
            }
            results: dict[str, list[Measured]] = {system: [] for system in systems}
            for _ in range(arguments.repeats):
                for system, run in systems.items():
                    results[system].append(measured(run, server, folder, expected))
                    print(system, results[system][-1], flush=True)
    print(table(*expected, results))
