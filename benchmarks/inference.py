"""Images/s of every kind of model, pruned and not, compared with TensorFlow Model Garden's Mask R-CNN in one run.

    python benchmarks/inference.py [--data DIR] [--size 512] [--batches 1 4] [--quick]

ResNet-50, 91 classes, 1,000 proposals, 100 detections, 28x28 masks; random weights (see inference_models.py).

(a) The network alone, from normalized images to arrays of boxes, classes, scores and masks. All systems alternate,
    batch by batch, on the same photographs; the result is the median of 8 batches after 3 warm-up batches. ``.tlt``
    runs in TensorFlow, ONNX (float32, and INT8 with explicit quantization) in ONNX Runtime. CPU seconds, of all
    threads, allow a comparison on a machine with other work.
(b) ``maskrcnn inference`` as a whole command on the image files, with 100 masks per image pasted and drawn, the
    maximum: images/s after the first batch, the share of each kind of work, and the time on top of the network's time.

DIR holds ``coco/images`` (default: $MASKRCNN_TEST_DATA, else ../shared/data). The peer is installed into
``.bench/model-garden`` if it is missing. bfloat16 rows are left out if the processor has no bfloat16 arithmetic;
``--bfloat16`` forces them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn_trainer.data.padded_image import pad_image
from maskrcnn_trainer.images.decode import decode_image
from maskrcnn_trainer.task.cpus import usable_cpus
from maskrcnn_trainer.task.runtime import BFLOAT16_CPU_FLAGS, cpu_flags
from peer_environment import ROOT, model_garden_environ, model_garden_python
from worker import Worker

HERE = Path(__file__).resolve().parent
FOLDER = ROOT / ".bench" / "inference"
TINY_THRESHOLD = "0.000001"
"""Random weights give scores near 1 / 91; with this threshold all 100 detections are drawn."""

PEER = "Model Garden"
SYSTEMS = {
    ".tlt float32": ("whole.tlt", ()),
    ".tlt bfloat16": ("whole.tlt", ("--bfloat16",)),
    ".tlt float32, pruned": ("pruned.tlt", ()),
    ".tlt bfloat16, pruned": ("pruned.tlt", ("--bfloat16",)),
    "ONNX float32": ("whole.onnx", ()),
    "ONNX float32, pruned": ("pruned.onnx", ()),
    "ONNX INT8": ("whole-int8.onnx", ()),
    "ONNX INT8, pruned": ("pruned-int8.onnx", ()),
}
COMMANDS = {".tlt float32": "whole.tlt", "ONNX float32": "whole.onnx"}


@dataclass(frozen=True)
class Plan:
    """Amount of work of a benchmark.

    Attributes:
        size: height and width of the padded image.
        warm_up: batches of each system before the measurement.
        measured: measured batches of each system.
        files: images of the whole command.
        threads: threads of each system.
    """

    size: int
    warm_up: int
    measured: int
    files: int
    threads: int

    @property
    def folder(self) -> Path:
        """Directory of models and images."""
        return FOLDER / str(self.size)


@dataclass(frozen=True)
class Row:
    """Median seconds of a batch: wall-clock time, and CPU time of all threads."""

    seconds: float
    cpu: float


def prepare(photographs: Sequence[Path], plan: Plan) -> Path:
    """Prepare the models and the files for the whole command; return the file with the images as arrays."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    images = plan.folder / "images.npy"
    size = (plan.size, plan.size)
    np.save(images, np.stack([pad_image(decode_image(path), size).pixels for path in photographs]))
    shutil.rmtree(plan.folder / "files", ignore_errors=True)
    (plan.folder / "files").mkdir()
    for path in photographs[: plan.files]:
        shutil.copy(path, plan.folder / "files")
    done = plan.folder / "models.done"
    if not done.is_file():
        print("creating the models (once) ...", flush=True)
        flags = [f"--folder={plan.folder}", f"--images={images}", f"--size={plan.size}", f"--threads={plan.threads}"]
        subprocess.run([sys.executable, str(HERE / "inference_models.py"), *flags], check=True)
        done.touch()
    return images


def start(system: str, images: Path, batch: int, plan: Plan) -> Worker:
    """Start a worker of one system."""
    flags = [f"--images={images}", f"--batch={batch}", f"--threads={plan.threads}"]
    log = plan.folder / f"{system.replace(' ', '-').strip('.')}.log"
    if system == PEER:
        command = [str(model_garden_python()), str(HERE / "peer_inference.py"), f"--size={plan.size}", *flags]
        return Worker(command, model_garden_environ(), log)
    model, more = SYSTEMS[system]
    ours = [f"--model={plan.folder / model}", f"--spec={plan.folder / 'spec.yaml'}", *flags, *more]
    return Worker([sys.executable, str(HERE / "our_inference.py"), *ours], dict(os.environ), log)


def measure(systems: Sequence[str], images: Path, batch: int, plan: Plan) -> dict[str, Row]:
    """Measure all systems alternately on the same batches."""
    workers = {system: start(system, images, batch, plan) for system in systems}
    answers: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
    for number in range(plan.warm_up + plan.measured):
        for system, worker in workers.items():
            answer = worker.ask("infer", first=number * batch)
            if number >= plan.warm_up:
                answers[system].append(answer)
    for worker in workers.values():
        worker.close()
    return {
        system: Row(
            statistics.median(answer["seconds"] for answer in found),
            statistics.median(answer["cpu"] for answer in found),
        )
        for system, found in answers.items()
    }


def report(rows: dict[str, Row], batch: int) -> None:
    """Print one line per system: images/s, and ratios to the peer and to the unpruned ``.tlt``."""
    for system, row in rows.items():
        ratios = [
            f"{rows[other].seconds / row.seconds:5.2f} times {other} ({rows[other].cpu / row.cpu:.2f} by CPU)"
            for other in (PEER, ".tlt float32")
            if other in rows and other != system
        ]
        speed = f"{batch / row.seconds:7.3f} images/s  {row.cpu / batch:7.3f} CPU s per image"
        print(f"batch {batch}  {system:22s} {speed}  {'; '.join(ratios)}", flush=True)


def whole_command(system: str, batch: int, alone: Row | None, plan: Plan) -> None:
    """Run ``maskrcnn inference`` and print the metrics that it reports."""
    spec = plan.folder / f"spec-{batch}.yaml"
    text = (plan.folder / "spec.yaml").read_text()
    spec.write_text(text.replace("evalBatchSize: 4", f"evalBatchSize: {batch}"))
    results = plan.folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    flags = ["-i", str(plan.folder / "files"), "-m", str(plan.folder / COMMANDS[system]), "-e", str(spec)]
    command = [sys.executable, "-m", "maskrcnn_trainer.cli", "inference", *flags, "-r", str(results)]
    environ = os.environ | {"MASKRCNN_THREADS": str(plan.threads)}
    done = subprocess.run(
        [*command, "-t", TINY_THRESHOLD, "--include_mask"], check=False, env=environ, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"maskrcnn inference ended with {done.returncode}:\n{done.stderr[-3000:]}")
    metrics = json.loads((results / "result.json").read_text())["metrics"]
    shares = ", ".join(
        f"{name.removesuffix('_share')} {value:.1%}" for name, value in metrics.items() if name.endswith("_share")
    )
    over = 1 / metrics["network_busy"] - 1
    masks = metrics["detections"] / metrics["images"]
    ratio = ""
    if alone is not None:
        ratio = f", {metrics['steady_images_per_second'] * alone.seconds / batch:.2f} times the network alone"
    print(
        f"whole command, batch {batch}  {system:14s} {metrics['steady_images_per_second']:7.3f} images/s{ratio}; "
        f"{over:.1%} longer than the network's time; {shares}; {masks:.0f} masks per image",
        flush=True,
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--systems", nargs="+", choices=[PEER, *SYSTEMS])
    parser.add_argument("--bfloat16", action="store_true", help="even if the processor has no bfloat16 arithmetic")
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--quick", action="store_true", help="256x256, batch 2, 1 + 2 batches, 6 files: a smoke run")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and print the results."""
    args = arguments()
    photographs = sorted((args.data / "coco" / "images").glob("*.jpg"))[:48]
    if not photographs:
        sys.exit(f"no COCO images at {args.data / 'coco'}; give the directory with --data or MASKRCNN_TEST_DATA")
    plan, batches = Plan(args.size, 3, 8, 48, args.threads), args.batches
    if args.quick:
        plan, batches = Plan(256, 1, 2, 6, args.threads), [2]
    capable = args.bfloat16 or bool(cpu_flags() & set(BFLOAT16_CPU_FLAGS))
    systems = args.systems or [PEER, *(one for one in SYSTEMS if capable or "bfloat16" not in one)]
    print(f"{plan.threads} threads; {plan.size}x{plan.size}; batches of {batches}", flush=True)
    images = prepare(photographs, plan)
    rows: dict[int, dict[str, Row]] = {}
    for batch in batches:
        rows[batch] = measure(systems, images, batch, plan)
        report(rows[batch], batch)
    for batch in batches:
        for system in COMMANDS:
            if system in systems:
                whole_command(system, batch, rows[batch].get(system), plan)


if __name__ == "__main__":
    main()
