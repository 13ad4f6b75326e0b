"""A training that publishes its checkpoints to an S3 server, compared with the same one that writes to a directory.

    python benchmarks/object_storage.py publishing [--interval 300] [--checkpoints 2] [--every STEPS] [--repeats 1]
                                                   [--quick]

The server is versitygw on this machine. Both trainings are ``maskrcnn launch -- train`` with the same spec: a ResNet-50
whose checkpoint, with the optimizer's state, has about 350 MB, on drawn pictures of 128x128, batch 1, one process. A
short training into a directory gives the speed, from which the number of steps between two checkpoints follows. CPU
seconds are those of the whole process tree (launch, the task, and the helper that sends the objects), without the
server; of the tree, launch and the helper are shown alone, too, because the task's own CPU differs between two equal
trainings on a machine with other work by more than publishing costs. ``--quick`` rehearses with a small network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from measured_command import CommandUse, ProcessUse, measured_command
from object_storage_server import BUCKET, ROOT, Served, Server, started

CPU_AIM = 1.1
MEMORY_AIM = 200e6
INTERVAL_OF_AIM = 300.0
"""Seconds between two checkpoints for which the aim is stated."""
EXPERIMENT, STEP = "bench", "train"
FIRST_STEPS = 40
"""Steps of the training that gives the speed."""
LOGGED = 10
TRAIN_PICTURES, VALIDATION_PICTURES = 100, 4
POINTER = f"/{EXPERIMENT}/{STEP}/run.json"
BATCH, SIDE = 1, 128


@dataclass(frozen=True)
class Size:
    """Size of the network.

    Attributes:
        layers: of the ResNet.
        units: of the box head's dense layers.
        resolution: side of a predicted mask in pixels.
    """

    layers: int
    units: int
    resolution: int


FULL, QUICK = Size(50, 1024, 28), Size(10, 64, 12)


@dataclass(frozen=True)
class Training:
    """A training that has ended.

    Attributes:
        use: of its processes.
        speed: steps/s between evaluations.
        checkpoint_bytes: size of the last checkpoint.
    """

    use: CommandUse
    speed: float
    checkpoint_bytes: int

    @property
    def publishing_cpu(self) -> float:
        """Return the CPU seconds of launch and its helper."""
        return sum(self.role(name).cpu for name in ("launch", "helper"))

    def role(self, name: str) -> ProcessUse:
        """Return the use of the processes of a role; nothing if there was none."""
        return self.use.roles.get(name, ProcessUse(0.0, 0))


def role_of(command: Sequence[str]) -> str:
    """Return the role of a process of the tree."""
    if "maskrcnn_trainer.object_store.helper_main" in command:
        return "helper"
    return "launch" if "launch" in command else "task"


def spec_of(data: Path, size: Size, *, steps: int, every: int) -> dict[str, Any]:
    """Return the spec of a training.

    Args:
        data: directory with the records and the annotations.
        size: of the network.
        steps: number of steps.
        every: steps between two checkpoints.
    """
    return {
        "seed": 24,
        "totalSteps": steps,
        "numStepsPerEval": every,
        "trainBatchSize": BATCH,
        "evalBatchSize": 4,
        "warmupSteps": 1,
        "warmupLearningRate": 0.0001,
        "initLearningRate": 0.001,
        "learningRateSteps": [steps],
        "learningRateDecayLevels": [0.1],
        "keepCheckpoints": 1,
        "loggingFrequency": LOGGED,
        "dataConfig": {
            "imageSize": [SIDE, SIDE],
            "numClasses": 4,
            "maxNumInstances": 16,
            "trainingFilePattern": str(data / "train" / "train-*.tfrecord"),
            "validationFilePattern": str(data / "val" / "val-*.tfrecord"),
            "valJsonFile": str(data / "raw" / "val.json"),
        },
        "maskrcnnConfig": {
            "nlayers": size.layers,
            "freezeBn": False,
            "freezeBlocks": [],
            "anchorScale": 4,
            "gtMaskSize": 56,
            "fastRcnnMlpHeadDim": size.units,
            "mrcnnResolution": size.resolution,
            "rpnBatchSizePerIm": 64,
            "batchSizePerIm": 8,
            "trainRpnPreNmsTopn": 100,
            "trainRpnPostNmsTopn": 50,
            "testRpnPreNmsTopn": 50,
            "testRpnPostNmsTopn": 20,
            "testDetectionsPerImage": 10,
        },
    }


def prepare_data(folder: Path) -> None:
    """Draw pictures and convert them."""
    raw = folder / "raw"
    counts = ("--train", TRAIN_PICTURES, "--val", VALIDATION_PICTURES)
    _command(sys.executable, ROOT / "examples/shapes/generate.py", "--output", raw, "--seed", 24, *counts)
    for split in ("train", "val"):
        inputs = ("-i", raw / "images", "-a", raw / f"{split}.json")
        _command(*_MASKRCNN, "dataset_convert", *inputs, "-o", folder / split, "-t", split, "-s", 1)


_MASKRCNN = (sys.executable, "-m", "maskrcnn_trainer.cli")


def _command(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr[-4000:]}")


def trained(folder: Path, spec: Mapping[str, Any], server: Server | None) -> Training:
    """Run a training and return its measurements.

    Args:
        folder: an empty one, for everything that it writes.
        spec: of the training.
        server: to which it publishes; None: to a directory alone.
    """
    folder.mkdir()
    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump(dict(spec), sort_keys=False))
    directory = folder / "work" / EXPERIMENT / STEP
    target = str(directory) if server is None else f"s3://{BUCKET}/{folder.name}/{EXPERIMENT}/{STEP}"
    stores = [] if server is None else ["--store-config", str(server.config)]
    ambient = ("AWS_", "AZURE_", "GOOGLE_", "MASKRCNN_")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ambient)},
        "MASKRCNN_RESULTS_DIR": target,
        "MASKRCNN_FINGERPRINT": "0123456789abcdef0123456789abcdef-v1",
        "MASKRCNN_EXPERIMENT_UID": "c2e7a0ce-5f0f-4b0c-8a63-0f6a3c6f3f11",
        "MASKRCNN_ATTEMPT": "1",
        "MASKRCNN_CREATED": "2026-01-31T12:00:00Z",
        "MASKRCNN_OWNER_ID": "benchmark",
        "MASKRCNN_TERMINATION_LOG": str(folder / "termination.json"),
        **({"MASKRCNN_WORKING_DIR": str(folder / "work")} if server is not None else {}),
    }
    # as a results URL does, so that both runs copy the output
    launch = [*_MASKRCNN, "launch", "--keep-logs", "--", "train", "-e", str(file), "-d", target, *stores]
    os.sync()
    use = measured_command(launch, environment, folder / "output.log", role_of)
    checkpoint = directory / f"model.step-{spec['totalSteps']}.tlt"
    return Training(use, speed_in((directory / "history.jsonl").read_text()), checkpoint.stat().st_size)


def speed_in(history: str) -> float:
    """Return steps/s of all windows of a training but the first one, in which the step is compiled."""
    speeds = [entry["images_per_second"] for entry in map(json.loads, history.splitlines()) if "losses" in entry]
    return float(statistics.harmonic_mean(speeds[1:] or speeds)) / BATCH


@dataclass(frozen=True)
class Requests:
    """Requests of a training.

    Attributes:
        start: before the first checkpoint's set.
        checkpoints: of each checkpoint's set, up to the next one's; those of the last one include the end's.
        operations: of the first checkpoint's set, by operation.
        distances: seconds between the begins of two uploads of a checkpoint.
        durations: whole seconds from the begin of a checkpoint's upload until the pointer names it.
    """

    start: int
    checkpoints: tuple[int, ...]
    operations: Mapping[str, int]
    distances: tuple[float, ...]
    durations: tuple[float, ...]


def requests_in(served: Sequence[Served]) -> Requests:
    """Return what the requests of one training were for.

    A set's first requests write its small files, after the pointer named the set before.
    """
    begins, named, begun = [], [], []
    last = -1
    for number, one in enumerate(served):
        if one.key.endswith(POINTER) and one.operation == "PutObject":
            last = number
        elif "-model.step-" in one.key and one.key not in begun:
            begun.append(one.key)
            # a listing of the cleaning may follow the pointer
            following = (n for n in range(last + 1, number + 1) if "/o/" in served[n].key)
            begins.append((next(following), one.second))
    for start, _ in begins:
        named.append(next(one.second for one in served[start:] if one.key.endswith(POINTER)))
    bounds = [start for start, _ in begins] + [len(served)]
    counts = tuple(end - start for start, end in pairwise(bounds))
    operations = Counter(one.operation for one in served[bounds[0] : bounds[1]]) if begins else Counter[str]()
    seconds = [second for _, second in begins]
    return Requests(
        bounds[0],
        counts,
        operations,
        tuple(after - before for before, after in pairwise(seconds)),
        tuple(end - begin for (_, begin), end in zip(begins, named, strict=True)),
    )


def table(size: Size, every: int, directory: Sequence[Training], published: Sequence[Training], steps: int) -> str:
    """Return the table of both trainings; of several repeats, means."""
    lines = [
        f"ResNet-{size.layers} at {SIDE}x{SIDE}, batch {BATCH}, {steps} steps, a checkpoint of "
        f"{published[0].checkpoint_bytes / 1e6:,.0f} MB every {every} steps, mean of {len(published)}",
        f"{'':12}{'seconds':>9}{'CPU s':>9}{'ratio':>8}{'steps/s':>9}{'ratio':>8}{'task CPU s':>12}"
        f"{'launch':>9}{'helper':>9}",
    ]
    for name, runs in (("directory", directory), ("published", published)):
        cpu, speed = _mean(one.use.cpu for one in runs), _mean(one.speed for one in runs)
        ratios = cpu / _mean(one.use.cpu for one in directory), speed / _mean(one.speed for one in directory)
        roles = [_mean(one.role(role).cpu for one in runs) for role in ("task", "launch", "helper")]
        lines.append(
            f"{name:12}{_mean(one.use.seconds for one in runs):>9.0f}{cpu:>9.1f}{ratios[0]:>8.3f}{speed:>9.3f}"
            f"{ratios[1]:>8.3f}{roles[0]:>12.1f}{roles[1]:>9.2f}{roles[2]:>9.2f}"
        )
    return "\n".join(lines)


def cost(directory: Sequence[Training], published: Sequence[Training], checkpoints: int, interval: float) -> str:
    """Return the sentences about launch and the helper alone, and about memory."""
    added = _mean(one.publishing_cpu for one in published) - _mean(one.publishing_cpu for one in directory)
    each = added / checkpoints
    of_task = _mean(one.role("task").cpu / one.use.seconds for one in directory)
    memory = max(one.role("helper").peak for one in published)
    of_launch = [max(one.role("launch").peak for one in runs) / 1e6 for runs in (published, directory)]
    lines = [
        f"launch and the helper: {added:.2f} CPU s more than with a directory, {each:.2f} a checkpoint (with the start)"
    ]
    for seconds in dict.fromkeys((interval, INTERVAL_OF_AIM)):
        share = each / (of_task * seconds)
        lines.append(
            f"a checkpoint every {seconds:.0f} s, in which the task uses {of_task * seconds:.0f} CPU s: "
            f"{1 + share:.3f} times the CPU (aim: {CPU_AIM})"
        )
    lines.append(
        f"peak memory: helper {memory / 1e6:.0f} MB (aim: {MEMORY_AIM / 1e6:.0f}), launch {of_launch[0]:.0f} MB, "
        f"with a directory {of_launch[1]:.0f}"
    )
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def described(found: Requests) -> str:
    """Return the sentences about requests."""
    operations = ", ".join(f"{count} {name}" for name, count in sorted(found.operations.items()))
    counts = ", ".join(map(str, found.checkpoints))
    return (
        f"requests: {found.start} before the first checkpoint; of the checkpoints {counts} (the last one with the end)"
        f"\nof the first: {operations}\n"
        f"seconds between checkpoints {', '.join(f'{one:.0f}' for one in found.distances)}; until the pointer names "
        f"one {', '.join(f'{one:.0f}' for one in found.durations)}"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--interval", type=float, default=INTERVAL_OF_AIM, help="seconds between two checkpoints")
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--every", type=int, help="steps between two checkpoints, in place of --interval")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="rehearse with a small network")


def run(arguments: argparse.Namespace) -> None:
    """Run the trainings alternately, and print the table."""
    size = QUICK if arguments.quick else FULL
    work = ROOT / ".bench"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="object-storage-") as name:
        folder = Path(name)
        data = folder / "data"
        prepare_data(data)
        every = arguments.every
        if every is None:
            first = trained(folder / "first", spec_of(data, size, steps=FIRST_STEPS, every=FIRST_STEPS), None)
            every = max(2 * LOGGED, round(first.speed * arguments.interval))
            print(f"{first.speed:.3f} steps/s: a checkpoint every {every} steps", flush=True)
        steps = every * arguments.checkpoints
        spec = spec_of(data, size, steps=steps, every=every)
        directory: list[Training] = []
        published: list[Training] = []
        distances: list[float] = []
        with started(folder / "server") as server:
            for repeat in range(arguments.repeats):
                directory.append(trained(folder / f"directory-{repeat}", spec, None))
                print(f"directory {directory[-1]}; load average {os.getloadavg()[0]:.1f}", flush=True)
                before = len(server.served())
                published.append(trained(folder / f"published-{repeat}", spec, server))
                print(f"published {published[-1]}; load average {os.getloadavg()[0]:.1f}", flush=True)
                requests = requests_in(server.served()[before:])
                distances += requests.distances
                print(described(requests), flush=True)
    print(table(size, every, directory, published, steps))
    print(cost(directory, published, arguments.checkpoints, _mean(distances) if distances else arguments.interval))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
