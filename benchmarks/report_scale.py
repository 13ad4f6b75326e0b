"""Report about a large evaluation: seconds and peak memory of the analysis by part, and of the whole command.

    python benchmarks/report_scale.py [--images 5000] [--detections 100] [--objects 8]

Annotations and detections are synthetic: images of 480x640 pixels, 80 categories, masks with 180 characters of run
lengths on average, and records with a gray image each. They are written to files. One process runs the analysis alone,
and one is ``maskrcnn report``, so that their memory is measured without that of making the files. Seconds are those of
the clock, and of the CPU in parentheses.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image

from evaluation_scale import HEIGHT, WIDTH, made_up
from maskrcnn_trainer.conversion.example import make_example
from maskrcnn_trainer.data.records import frame
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


def write_experiment(folder: Path, images: int) -> Path:
    """Write the results directory of an evaluation of the files in a folder, and return it."""
    step = folder / "made" / "evaluate"
    (step / "logs").mkdir(parents=True)
    (folder / "detections.json").rename(step / "detections.json")
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(stream, "JPEG")
    with (folder / "val-00000-of-00001.tfrecord").open("wb") as file:
        for number in range(1, images + 1):
            texts = {"image/encoded": [stream.getvalue()], "image/source_id": [str(number).encode()]}
            file.write(frame(make_example(byte_lists=texts, float_lists={}, int_lists={})))
    data = {
        "imageSize": [832, 1344], "numClasses": 91, "valJsonFile": str(folder / "annotations.json"),
        "validationFilePattern": f"{folder}/val-*.tfrecord",
    }  # fmt: skip
    spec = {"totalSteps": 1, "initLearningRate": 0.01, "dataConfig": data}
    (step / "logs" / "attempt-1.spec.yaml").write_text(json.dumps(spec))
    (step / "metrics.json").write_text(json.dumps({"metrics": {}, "num_images": images}))
    (step / "result.json").write_text(json.dumps({"task": "evaluate", "code": 0, "modelPath": "model.tlt"}))
    return step


def run_command(step: Path) -> None:
    """Run ``maskrcnn report`` on a results directory, and print its seconds, peak memory, and page."""
    clock = time.monotonic()
    subprocess.run([sys.executable, "-m", "maskrcnn_trainer.cli", "report", "-r", str(step)], check=True)
    seconds, used = time.monotonic() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"maskrcnn report: {seconds:.1f} s, peak {used.ru_maxrss / KIB_PER_MIB:,.0f} MiB (of all processes so far)")
    print(f"page: {(step / 'report.html').stat().st_size:,} bytes")


def main() -> None:
    """Make the files, then analyze them and make the report in other processes."""
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
        run_command(write_experiment(Path(folder), arguments.images))


if __name__ == "__main__":
    main()
