"""A full training step and inference, compared with TensorFlow Model Garden's Mask R-CNN in one run.

    python benchmarks/train_step.py [--data DIR] [--sizes 256 512] [--dtypes float32 bfloat16] [--quick]
                                    [--before CHECKOUT]

ResNet-50, 91 classes, batch 2 (inference: 1), 512 regions and at most 128 mask rows per image, trained batch norm. Both
systems get the same images and boxes and alternate, step by step; the result is the median of 8 steps after 3 warm-up
steps. CPU seconds, of all threads, allow a comparison on a machine with other work. DIR holds ``coco/images`` and
``coco/instances_train.json`` (default: $MASKRCNN_TEST_DATA, else ../shared/data). The peer is installed into
``.bench/model-garden`` if it is missing.

(a) "real": photographs, after 200 steps of each system at 256x256 in float32; all rows start from these weights. Most
    mask rows have no loss in this case.
(b) "crowded": the same photographs with 200 instances each, so that all 128 mask rows per image have a loss.

The loss is the sum of the five losses without decay, averaged over the measured steps. The two systems normalize the
RPN losses differently (ours by images and sampled anchors, the peer's box loss by matched anchors), so the losses are
similar but not equal. bfloat16 rows are left out if the processor has no bfloat16 arithmetic; ``--dtypes bfloat16``
forces them.

With ``--before`` the second system is an earlier version of this project in a checkout, with the same weights.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from batches import write_batches, write_crowded
from maskrcnn_trainer.task.cpus import usable_cpus
from peer_environment import ROOT, model_garden_environ, model_garden_python
from worker import Worker

HERE = Path(__file__).resolve().parent
FOLDER = ROOT / ".bench" / "train-step"
SYSTEMS = ("ours", "peer", "before")


@dataclass(frozen=True)
class Plan:
    """Amount of work of the benchmark."""

    training_steps: int
    warm_up: int
    measured: int
    weights: Path


@dataclass(frozen=True)
class Row:
    """Measurement of one system in one row."""

    seconds: float
    cpu: float
    loss: float
    foreground: float


def start(system: str, size: int, dtype: str, threads: int, before: Path | None) -> Worker:
    """Start a worker of one system; ``before`` is the checkout of the system with this name."""
    flags = [f"--size={size}", f"--dtype={dtype}", f"--threads={threads}"]
    if system == "peer":
        command, environ = [str(model_garden_python()), str(HERE / "peer_train_step.py")], model_garden_environ()
    else:
        checkout = before if system == "before" and before is not None else ROOT
        command = [sys.executable, str(checkout / "benchmarks" / "our_train_step.py")]
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(checkout / part) for part in ("operator", "trainer")),
        }
    return Worker([*command, *flags], environ, FOLDER / f"{system}.log")


def weights_of(system: str, plan: Plan) -> str:
    """Return the path of a system's weights; an earlier version starts from ours."""
    return str(plan.weights / ("ours" if system == "before" else system))


def train_weights(system: str, batches: list[Path], plan: Plan, threads: int) -> None:
    """Train a system from random weights and save the weights, unless they exist."""
    done = Path(f"{weights_of(system, plan)}.done")
    if done.is_file():
        return
    worker = start(system, 256, "float32", threads, None)
    for step, batch in enumerate(batches):
        answer = worker.ask("train", batch=str(batch))
        if step % 10 == 9 or step + 1 == len(batches):
            print(f"  {system} step {step + 1}: loss {answer['loss']:.3f}, {answer['foreground']:.0f} rows", flush=True)
    worker.ask("save", path=weights_of(system, plan))
    worker.close()
    done.touch()


def measure(workers: dict[str, Worker], request: str, batches: list[Path], plan: Plan) -> dict[str, Row]:
    """Measure the systems alternately on the same batches."""
    answers: dict[str, list[dict[str, float]]] = {system: [] for system in workers}
    for step in range(plan.warm_up + plan.measured):
        for system, worker in workers.items():
            answer = worker.ask(request, batch=str(batches[step % len(batches)]))
            if step >= plan.warm_up:
                answers[system].append(answer)
    return {
        system: Row(
            statistics.median(answer["seconds"] for answer in found),
            statistics.median(answer["cpu"] for answer in found),
            statistics.fmean(answer.get("loss", float("nan")) for answer in found),
            statistics.fmean(answer.get("foreground", float("nan")) for answer in found),
        )
        for system, found in answers.items()
    }


def report(title: str, rows: dict[str, Row], images: int) -> None:
    """Print one line per system, and the ratio."""
    for system, row in rows.items():
        rest = "" if math.isnan(row.loss) else f"  loss {row.loss:6.3f}  foreground rows {row.foreground:5.1f}"
        speed = f"{row.seconds:7.3f} s  {images / row.seconds:6.3f} images/s  {row.cpu:7.3f} CPU s"
        print(f"{title:28s} {system}: {speed}{rest}", flush=True)
    if "ours" not in rows:
        return
    ours = rows["ours"]
    for system, other in rows.items():
        if system != "ours":
            times, by_cpu = other.seconds / ours.seconds, other.cpu / ours.cpu
            print(f"{title:28s} ours is {times:.2f} times as fast as {system} ({by_cpu:.2f} by CPU)", flush=True)


def has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 arithmetic (AMX or AVX512-BF16)."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"])
    parser.add_argument("--rows", nargs="+", choices=["real", "crowded", "inference"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS)
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="compare with an earlier version of this project"
    )
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--training-steps", type=int, default=200, help="steps before the measured ones")
    parser.add_argument("--quick", action="store_true", help="256x256, float32, 2 training steps, 1 + 2 measured ones")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and print the results."""
    args = arguments()
    coco = args.data / "coco"
    if not (coco / "instances_train.json").is_file():
        sys.exit(f"no COCO images at {coco}; give the directory with --data or MASKRCNN_TEST_DATA")
    weights = "weights" if args.training_steps == 200 else f"weights-{args.training_steps}"
    plan = Plan(args.training_steps, 3, 8, FOLDER / weights)
    sizes, dtypes = args.sizes, args.dtypes or (["float32", "bfloat16"] if has_bfloat16() else ["float32"])
    if args.quick:
        plan, sizes, dtypes = Plan(2, 1, 2, FOLDER / "weights-quick"), [256], ["float32"]
    plan.weights.mkdir(parents=True, exist_ok=True)
    print(f"{args.threads} threads; {', '.join(dtypes)}; sizes {sizes}", flush=True)

    systems = args.systems or ["ours", "before" if args.before else "peer"]
    training = write_batches(coco, FOLDER, size=256, first=0, count=plan.training_steps)
    for system in systems:
        train_weights(system, training, plan, args.threads)

    rows = args.rows or ["real", "crowded", "inference"]
    for dtype in dtypes:
        for size in sizes:
            real = write_batches(coco, FOLDER, size=size, first=plan.training_steps, count=plan.warm_up + plan.measured)
            crowded = [write_crowded(file, file.with_name(f"crowded-{file.name}")) for file in real]
            workers = {system: start(system, size, dtype, args.threads, args.before) for system in systems}
            for row in rows:
                # Every row starts from the same weights, which undoes the training of the previous row.
                for system, worker in workers.items():
                    worker.ask("load", path=weights_of(system, plan))
                title = f"{row} {size}x{size} {dtype}"
                request, batches = ("infer", real) if row == "inference" else ("train", real)
                batches = crowded if row == "crowded" else batches
                report(title, measure(workers, request, batches, plan), 1 if row == "inference" else 2)
            for worker in workers.values():
                worker.close()


if __name__ == "__main__":
    main()
