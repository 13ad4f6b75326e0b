"""Images/s of ``maskrcnn dataset_convert``, compared with TensorFlow Model Garden's converter, on real COCO images.

    python benchmarks/dataset_convert.py [--data DIR] [--repeats 3] [--processes N]

DIR holds ``coco/images`` and ``coco/instances_{train,val}.json`` (default: $MASKRCNN_TEST_DATA, else ../shared/data).
The peer is installed into ``.bench/model-garden`` if it is missing. Both run as whole commands, alternately, and
convert the same images, with masks, to 32 shards. The best time counts, because it is the least disturbed by other
work. The start-up time is measured on one image; "net" excludes it. CPU seconds (of all processes) hardly depend on
other work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from maskrcnn_trainer.data.records import index_records
from maskrcnn_trainer.shared.variables import THREADS_VARIABLE
from maskrcnn_trainer.task.cpus import usable_cpus
from peer_environment import ROOT, model_garden_environ, model_garden_python

SHARDS = 32

Convert = Callable[[Path, Path, Path], None]


def joined_annotations(coco: Path, target: Path, images: int | None = None) -> int:
    """Write the training and validation annotations of the first ``images`` images (default: all) as one file.

    Returns:
        the number of images.
    """
    parts = [json.loads((coco / f"instances_{part}.json").read_text()) for part in ("train", "val")]
    chosen = [image for part in parts for image in part["images"]][:images]
    ids = {image["id"] for image in chosen}
    annotations = [one for part in parts for one in part["annotations"] if one["image_id"] in ids]
    content = {"images": chosen, "annotations": annotations, "categories": parts[0]["categories"]}
    target.write_text(json.dumps(content))
    return len(chosen)


def convert_ours(images: Path, annotations: Path, output: Path) -> None:
    """Convert with ``maskrcnn dataset_convert``."""
    command = [Path(sys.executable).parent / "maskrcnn", "dataset_convert", "-i", images, "-a", annotations]
    run([*command, "-o", output, "-t", "set", "-s", SHARDS], dict(os.environ))


def convert_peer(images: Path, annotations: Path, output: Path) -> None:
    """Convert with Model Garden's converter."""
    command = [model_garden_python(), "-m", "official.vision.data.create_coco_tf_record", f"--image_dir={images}"]
    flags = [f"--object_annotations_file={annotations}", "--include_masks", f"--output_file_prefix={output}/set"]
    workers = f"--num_processes={os.environ[THREADS_VARIABLE]}"
    run([*command, *flags, f"--num_shards={SHARDS}", workers], model_garden_environ())


def run(command: list[object], environ: dict[str, str]) -> None:
    """Run a command; exit with the end of its output if it fails."""
    words = [str(word) for word in command]
    result = subprocess.run(
        words, check=False, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if result.returncode:
        sys.exit(f"{' '.join(words)} ended with {result.returncode}:\n{result.stdout[-4000:]}")


def cpu_seconds() -> float:
    """Return the CPU seconds of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(convert: Convert, images: Path, annotations: Path, expected: int) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of a conversion; exit if it doesn't write the expected records."""
    with tempfile.TemporaryDirectory() as output:
        began, cpu_began = time.perf_counter(), cpu_seconds()
        convert(images, annotations, Path(output))
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu_began
        records = len(index_records(f"{output}/set-*.tfrecord"))
    if records != expected:
        sys.exit(f"{records} records were written for {expected} images")
    return seconds, cpu


def main() -> None:
    """Run all conversions and print a table."""
    parser = argparse.ArgumentParser(description="dataset_convert compared with Model Garden's converter")
    parser.add_argument("--data", default=os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--processes", type=int, default=usable_cpus(), help="processes of each converter; default: all CPUs"
    )
    arguments = parser.parse_args()
    os.environ[THREADS_VARIABLE] = str(arguments.processes)
    coco = Path(arguments.data) / "coco"
    if not (coco / "instances_val.json").is_file():
        sys.exit(f"real images not found at {coco}: set MASKRCNN_TEST_DATA")
    model_garden_python()
    systems: dict[str, Convert] = {"maskrcnn dataset_convert": convert_ours, "Model Garden": convert_peer}
    with tempfile.TemporaryDirectory() as folder:
        whole, single = Path(folder) / "all.json", Path(folder) / "one.json"
        count = joined_annotations(coco, whole)
        joined_annotations(coco, single, 1)
        startups: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
        wholes: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
        for _ in range(arguments.repeats):
            for name, convert in systems.items():
                startups[name].append(timed(convert, coco / "images", single, 1))
                wholes[name].append(timed(convert, coco / "images", whole, count))
    print(f"{count} COCO images with masks, {arguments.processes} processes, best of {arguments.repeats}")
    print(f"{'':26}{'start-up':>10}{'whole':>10}{'images/s':>10}{'net':>10}{'CPU':>10}")
    rates = []
    for name in systems:
        startup, seconds = min(startups[name])[0], min(wholes[name])[0]
        cpu = min(cpu for _, cpu in wholes[name])
        rates.append((count / seconds, (count - 1) / max(1e-9, seconds - startup), cpu))
        print(f"{name:26}{startup:9.1f}s{seconds:9.1f}s{rates[-1][0]:10.1f}{rates[-1][1]:10.1f}{cpu:9.1f}s")
    ours, peer = rates
    print(
        f"ratio: {ours[0] / peer[0]:.2f} as a whole command, {ours[1] / peer[1]:.2f} net of start-up, "
        f"{peer[2] / ours[2]:.2f} by CPU"
    )


if __name__ == "__main__":
    main()
