"""Memory of the report endpoint while clients open idle TLS connections, and the reports that still arrive.

    python benchmarks/report_endpoint.py --idle 5000 --trainings 200

Half of the idle connections and half of the trainings share one address. The endpoint runs in this process with a fake
cluster and a million other objects, so that full garbage collections are rare, as in an operator with a large cache.
The clients run in another process and post with the trainer's code. ``--connections 100000`` makes the endpoint
practically unbounded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import psutil
from tests.unit.progress_endpoint.many_trainings import clients, served

from maskrcnn_operator.progress_endpoint.bounds import Bounds

MIB = 2**20


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=5000, help="number of idle connections")
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two posts of a training")
    parser.add_argument("--spread", type=float, default=15.0, help="seconds from the first report to the last")
    parser.add_argument(
        "--connections", type=int, default=Bounds().connections, help="connection limit of the endpoint"
    )
    parser.add_argument("--others", type=int, default=1_000_000, help="number of other objects in the process")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    others = [[number] for number in range(arguments.others)]
    bounds = Bounds(connections=arguments.connections)
    if arguments.connections != Bounds().connections:
        bounds = replace(bounds, head_seconds=600.0, total_seconds=600.0)
    memory = Memory()
    with tempfile.TemporaryDirectory() as directory:
        async with served(arguments.trainings, Path(directory) / "ca.crt", bounds) as endpoint:
            before = memory.sample()
            measuring = [asyncio.create_task(memory.run()), asyncio.create_task(endpoint.watch())]
            began, cpu = time.monotonic(), time.process_time()
            async with clients(
                endpoint, f"--idle={arguments.idle}", f"--trainings={arguments.trainings}",
                f"--interval={arguments.interval}", f"--spread={arguments.spread}",
            ) as process:  # fmt: skip
                output, _ = await process.communicate()
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            after = memory.sample()
            for task in measuring:
                task.cancel()
    done = json.loads(output)
    del others
    print(f"idle connections   {done['opened']} opened in {done['seconds']} s, {done['refused']} attempts refused")
    print(f"endpoint           at most {endpoint.most_connections} open and {endpoint.most_waiting} waiting")
    print(f"                   {endpoint.cut} closed or refused")
    print(f"trainings          {done['answered']} got a 200 response, by number of posts: {done['answered by post']}")
    print(f"responses          by status: {dict(endpoint.answered)}")
    print(f"CPU                {100 * cpu / seconds:.0f}% of a core")
    print(f"RSS                {before:.0f} MiB before, peak {memory.peak:.0f}, {after:.0f} after")
    print(f"                   {memory.peak - before:.0f} MiB more at the peak")


class Memory:
    """Memory use of this process."""

    def __init__(self) -> None:
        self.peak = 0.0

    def sample(self) -> float:
        """Return the resident set size in MiB."""
        now = float(psutil.Process().memory_info().rss) / MIB
        self.peak = max(self.peak, now)
        return now

    async def run(self) -> None:
        """Measure until canceled."""
        while True:
            self.sample()
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
