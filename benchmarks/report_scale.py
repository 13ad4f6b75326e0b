"""Analysis of a large evaluation for the report: seconds and peak memory by part.

    python benchmarks/report_scale.py [--images 5000] [--detections 100] [--objects 8]

Annotations and detections are synthetic: images of 480x640 pixels, 80 categories, masks with 180 characters of run
lengths on average. They are written to files and read by a process that runs the analysis alone, so that its memory is
measured without that of making them. Seconds are those of the clock, and of the CPU in parentheses.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from evaluation_scale import made_up
from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.report import analysis

Value = TypeVar("Value")
KIB_PER_MIB = 1024


def timed(name: str, part: Callable[[], Value]) -> Value:
    """Run a part, and print its seconds and the peak memory of the process so far."""
    clock, cpu = time.monotonic(), time.process_time()
    value = part()
    seconds, used = time.monotonic() - clock, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    print(f"{name:24} {seconds:6.1f} s ({used:6.1f} s)  peak {peak:7,.0f} MiB", flush=True)
    return value


def analyze(folder: Path) -> None:
    """Read the files of a folder and run the analysis, timing its parts."""
    results = timed("read detections", lambda: json.loads((folder / "detections.json").read_bytes()))
    truth = timed("read annotations", lambda: GroundTruth.load(folder / "annotations.json"))
    print(f"{len(results):,} detections, {len(truth.annotations):,} objects, {len(truth.images):,} images")
    for name in ("compare", "coco_matches", "errors", "shown_images", "confusion"):
        part = getattr(analysis, name)
        setattr(analysis, name, lambda *given, name=name, part=part: timed(f"  {name}", lambda: part(*given)))
    timed(
        "analyze",
        lambda: analysis.analyze(
            results, truth, truth.image_ids, metrics={}, class_metrics={}, step="evaluate", model="model.tlt"
        ),
    )


def main() -> None:
    """Make the files, then analyze them in another process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="files of an earlier run, which are only analyzed")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        analyze(arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset, results = made_up(arguments.images, arguments.detections, arguments.objects)
        Path(folder, "annotations.json").write_text(json.dumps(dataset))
        Path(folder, "detections.json").write_text(json.dumps([found for image in results for found in image]))
        subprocess.run([sys.executable, __file__, "--folder", folder], check=True)


if __name__ == "__main__":
    main()
