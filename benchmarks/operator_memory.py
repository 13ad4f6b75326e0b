"""Memory that the operator needs to list experiments of the maximum size.

    python benchmarks/operator_memory.py --experiments 200

Creates suspended experiments of 1.2 MB each on a real API server, starts the operator, and prints its peak resident
memory until some seconds after it is ready. The chart's limit is 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.apiserver.account import make_account
from tests.apiserver.bed import Bed
from tests.apiserver.binaries import find_binaries
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.scale import EXPERIMENTS, STEPS, experiment, make_claim

SETTLE_SECONDS = 10.0
MIB = 2**20


def main() -> None:
    """Run the benchmark and print the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=200, metavar="N")
    parser.add_argument("--bytes", type=int, default=1_200_000, metavar="B", help="size of each experiment")
    parser.add_argument("--annotations", action="store_true", help="fill pod annotations instead of an opaque volume")
    arguments = parser.parse_args()
    with Bed(find_binaries()) as bed:
        crd = str(ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml")
        bed.kubectl("apply", "-f", crd)
        bed.wait_established("-f", crd)
        namespace = bed.create_namespace("big")
        make_claim(bed, namespace)
        size = 0
        for number in range(arguments.experiments):
            item = large(f"e{number}", arguments.bytes, annotations=arguments.annotations)
            size += len(json.dumps(bed.api("POST", EXPERIMENTS.format(namespace), item)))
        account = make_account(bed)
        began = time.monotonic()
        with OperatorProcess(account, namespace, bed.folder / "operator.log") as operator:
            ready = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            peak, now = peak_bytes(operator.process.pid), operator.resident_bytes()
    print("| experiments | MB in all | ready after | peak memory | final memory |\n|---|---|---|---|---|")
    row = (
        arguments.experiments,
        f"{size / 1e6:.0f}",
        f"{ready:.1f} s",
        f"{peak / MIB:.0f} MiB",
        f"{now / MIB:.0f} MiB",
    )
    print("| " + " | ".join(map(str, row)) + " |")


def large(name: str, size: int, *, annotations: bool) -> dict[str, Any]:
    """Return the manifest of a suspended experiment of about ``size`` bytes."""
    text = {f"k{number}": "x" * 60_000 for number in range(max(1, size // 60_000))}
    if annotations:
        overrides: dict[str, Any] = {"annotations": text}
    else:
        overrides = {"volumes": [{"name": "large", "csi": {"driver": "example.com", "volumeAttributes": text}}]}
    item = experiment(name, STEPS[:1])
    item["spec"] |= {"suspend": True, "podOverrides": overrides}
    return item


def peak_bytes(pid: int) -> int:
    """Return the peak resident memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
