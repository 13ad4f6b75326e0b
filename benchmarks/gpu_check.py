"""Check of a training on GPUs: the same values as on the CPU, speed, memory, and whole commands.

    python benchmarks/gpu_check.py all [--rehearse] [--again] [--only RUN ...] [--limit SECONDS] [--output DIR]
                                       [key=value ...]
    python benchmarks/gpu_check.py STAGE key=value ...

``all`` runs every stage in a process of its own, with a time limit each, and writes DIR/results.jsonl, DIR/logs, and
DIR/table.md (default: .bench/gpu-check, with --rehearse .bench/gpu-check-rehearsal). Runs that have results are skipped
unless --again is given. --rehearse tries all stages on the CPU at small sizes. Without a GPU and without --rehearse the
command ends with exit code 64.

A stage prints each result as a line "RESULT {json}". ``benchmarks/gpu_check_plan.py`` has the runs and the keys. Only
the trainer's own packages are needed, and neither a network nor ``site``: ``python3.12 -S`` with PYTHONPATH works, too.

Records come from ``data=DIR`` (``train/train-*``, ``val/val-*``, ``instances_val.json``) or ``records=PATTERN``;
without them from COCO in MASKRCNN_TEST_DATA (default: ../shared/data); without that, pictures are drawn.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_check_plan import InvalidArgument, chosen_runs, parse_options
from gpu_check_runs import MARK, Runner, python, results_in, run_command
from gpu_check_table import table
from maskrcnn_trainer.errors import EXIT_INVALID
from maskrcnn_trainer.shared.nvidia import gpus_are_hidden, has_nvidia_device

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

STAGES = {
    "gpus": "gpu_check_stages_device",
    "smoke": "gpu_check_stages_device",
    "horovod": "gpu_check_stages_device",
    "data": "gpu_check_data",
    "pipeline": "gpu_check_stages_train",
    "parity": "gpu_check_stages_parity",
    "train": "gpu_check_stages_train",
    "repeat": "gpu_check_stages_train",
    "inference": "gpu_check_stages_inference",
    "roi_align": "gpu_check_stages_parts",
    "nms": "gpu_check_stages_parts",
    "kernels": "gpu_check_stages_kernels",
    "kernels_inference": "gpu_check_stages_kernels",
    "commands": "gpu_check_stages_commands",
}
"""Modules of the stages; each has a function with the name of the stage, which is given the options and ``say``."""

NO_GPU = (
    "{reason}; run the check on a machine with a GPU that TensorFlow can use, or rehearse it on the CPU with "
    "--rehearse (make gpu-check ARGS=--rehearse)"
)


def run_stage(stage: str, arguments: Sequence[str]) -> int:
    """Run one stage in this process.

    Returns:
        Exit code: 64 if the arguments are invalid, 1 if the stage failed.
    """
    began = time.monotonic()

    def say(**values: Any) -> None:
        """Print a result."""
        print(MARK + json.dumps({"stage": stage, "at": round(time.monotonic() - began, 1), **values}), flush=True)

    try:
        options = parse_options(arguments)
        with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as scratch:
            tempfile.tempdir = scratch  # the process ends by os._exit, after which nothing else removes files
            getattr(importlib.import_module(STAGES[stage]), stage)(options, say)
    except InvalidArgument as error:
        print(error, file=sys.stderr)
        return EXIT_INVALID
    except Exception:  # noqa: BLE001 - the process ends by os._exit, which would hide it
        traceback.print_exc()
        return 1
    return 0


def why_no_gpu(folder: Path) -> str | None:
    """Return the reason why TensorFlow finds no GPU; None if it finds one. A child process looks for it."""
    if gpus_are_hidden():
        return "CUDA_VISIBLE_DEVICES hides all GPUs"
    if not has_nvidia_device():
        return "This machine has no NVIDIA GPU"
    log = folder / "logs" / "gpus.log"
    run_command([*python(), str(HERE / "gpu_check.py"), "gpus"], log, 120, dict(os.environ))
    found = results_in(log.read_text(errors="replace").splitlines())
    if found and found[-1]["gpus"]:
        return None
    return f"TensorFlow finds no GPU ({found[-1]['why'] if found else f'see {log}'})"


def run_all(arguments: Sequence[str]) -> int:
    """Run all stages as child processes, and write the table.

    Returns:
        Exit code: 64 if there is no GPU or an argument is invalid, 1 if a run failed.
    """
    parser = argparse.ArgumentParser(prog="gpu_check.py all", description="Run all stages; see the file's docstring.")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU at small sizes")
    parser.add_argument("--again", action="store_true", help="repeat runs that have results")
    parser.add_argument("--only", nargs="+", default=[], metavar="RUN", help="names of runs")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="of all runs together")
    parser.add_argument("--output", type=Path, metavar="DIR")
    parser.add_argument("given", nargs="*", metavar="key=value", help="sizes and records for all stages")
    parsed = parser.parse_intermixed_args(arguments)
    # a name after --only that has "=" is an argument of the stages
    given = [*parsed.given, *(name for name in parsed.only if "=" in name)]
    folder = (parsed.output or ROOT / ".bench" / f"gpu-check{'-rehearsal' if parsed.rehearse else ''}").resolve()
    try:
        runs = chosen_runs([name for name in parsed.only if "=" not in name])
        parse_options(given)
    except InvalidArgument as error:
        print(error, file=sys.stderr)
        return EXIT_INVALID
    if parsed.rehearse:
        print("This is a rehearsal on the CPU at small sizes: it measures no GPU.", flush=True)
    elif reason := why_no_gpu(folder):
        print(NO_GPU.format(reason=reason), file=sys.stderr)
        return EXIT_INVALID
    if any(argument.startswith(("data=", "records=")) for argument in given):
        runs = [run for run in runs if run.stage != "data"]
    else:
        given = [f"coco={coco}" for coco in coco_folders()] + given

    def show(line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)

    runner = Runner(
        HERE / "gpu_check.py",
        folder,
        given,
        rehearsal=parsed.rehearse,
        again=parsed.again,
        limit=parsed.limit,
        show=show,
    )
    failed = runner.run_all(runs)
    text = table(runner.results.runs(), rehearsal=parsed.rehearse)
    (folder / "table.md").parent.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(text)
    print(f"\n{text}\nResults: {folder / 'results.jsonl'}; table: {folder / 'table.md'}", flush=True)
    return 1 if failed else 0


def coco_folders() -> list[Path]:
    """Return the directory of COCO in MASKRCNN_TEST_DATA, if it is there."""
    folder = Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data")) / "coco"
    return [folder] if (folder / "instances_train.json").is_file() else []


def main() -> int:
    """Run the command and return its exit code."""
    stage, *arguments = sys.argv[1:] or ["--help"]
    if stage == "all":
        try:
            return run_all(arguments)
        except KeyboardInterrupt:
            print("Interrupted; the same command continues with the runs that have no results.", file=sys.stderr)
            return 130
    if stage not in STAGES:
        print(__doc__)
        print(f"Stages: {', '.join(STAGES)}")
        return 0 if stage in ("-h", "--help") else EXIT_INVALID
    code = run_stage(stage, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of an endless data set would keep the interpreter from ending.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
