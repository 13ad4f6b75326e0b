"""Print line and branch coverage by package as a table, without a threshold: coverage_table.py REPORT...

Each REPORT is the JSON output of SlipCover for one process. Processes that a test starts are not included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("lines", "branches")


def package_of(file: str) -> str:
    """Return PROJECT/PACKAGE of a source file, such as operator/core; only the project for a module at its root."""
    project, _, *inner = PurePosixPath(file).parts
    return f"{project}/{inner[0]}" if len(inner) > 1 else project


def by_package(files: dict[str, dict[str, int]]) -> dict[str, tuple[int, int, int, int]]:
    """Return covered lines, lines, covered branches, and branches by package, from a summary by file."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * (2 * len(KINDS)))
    for file, summary in files.items():
        counts = sums[package_of(file)]
        for place, kind in enumerate(KINDS):
            covered = summary[f"covered_{kind}"]
            counts[2 * place] += covered
            counts[2 * place + 1] += covered + summary[f"missing_{kind}"]
    return {name: (found[0], found[1], found[2], found[3]) for name, found in sorted(sums.items())}


def share(covered: int, all_of_them: int) -> str:
    """Return a share in whole percent, or a dash if there is nothing to cover."""
    return f"{100 * covered / all_of_them:.0f}%" if all_of_them else "-"


def table(packages: dict[str, tuple[int, int, int, int]]) -> list[str]:
    """Return the lines of the table, with the sum of all as the last."""
    total = tuple(map(sum, zip(*packages.values(), strict=True)))
    rows = [*packages.items(), ("all", total)]
    head = f"{'package':<24} {'lines':>7} {'of':>7} {'branches':>9} {'of':>7}"
    return [
        head,
        *(
            f"{name:<24} {share(lines, statements):>7} {statements:>7} {share(taken, branches):>9} {branches:>7}"
            for name, (lines, statements, taken, branches) in rows
        ),
    ]


def main() -> int:
    """Merge the reports and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged.json"
        command = [sys.executable, "-m", "slipcover", "--json", "--out", str(merged), "--merge", *sys.argv[1:]]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        files = {name: content["summary"] for name, content in json.loads(merged.read_text())["files"].items()}
    sys.stdout.write("\n".join(table(by_package(files))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
