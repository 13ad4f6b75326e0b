"""Effect of rounding the pixels of training images to uint8, as is done where a GPU trains, measured on the CPU.

    python benchmarks/uint8_input.py losses [--data DIR] [--size 256] [--steps 10]
    python benchmarks/uint8_input.py accuracy [--workspace workspace] [--side 160] [--steps 240]

``losses`` trains three networks with the same initial weights on the same COCO photographs (batch 2, ResNet-50, from
DIR/coco, default $MASKRCNN_TEST_DATA): one on float32 images, one on rounded ones, and for comparison one on float32
images that differ by a millionth. It prints the total loss of each step and its relative difference.

``accuracy`` trains the quick start's network twice, with and without rounding, on the quick start's pictures, each in a
process of its own, and prints the metrics of both. The evaluation's images are not rounded. The pictures have 128x128
pixels and are resized to SIDExSIDE; without a resize, as in the quick start itself, there is nothing to round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import yaml

from maskrcnn_trainer.cli import main as maskrcnn
from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data import pipeline
from maskrcnn_trainer.data.class_map import class_map_for
from maskrcnn_trainer.data.records import index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import TrainStep

ROOT = Path(__file__).resolve().parent.parent
FORMS = ("float32", "uint8")
NUDGE = 1.0 + 2.0**-20
"""Factor of the images of the third network of ``losses``, eight units in the last place of float32."""
SHOWN = ("AP", "AP50", "mask_AP", "mask_AP50")


@contextmanager
def images_as(form: str) -> Iterator[None]:
    """Prepare training images as for a CPU (``float32``), or as for a GPU (``uint8``) without the copy to it."""
    with (
        mock.patch.object(pipeline, "on_gpu", lambda: form == "uint8"),
        mock.patch.object(pipeline, "copied_ahead", lambda dataset: dataset),
    ):
        yield


def coco_spec(size: int) -> ExperimentSpec:
    """Return the spec of ``losses``; batch norms learn their statistics, since there are no pretrained weights."""
    return ExperimentSpec.model_validate(
        {
            "seed": 1,
            "init_learning_rate": 0.01,
            "warmup_learning_rate": 0.001,
            "warmup_steps": 100,
            "total_steps": 1000,
            "train_batch_size": 2,
            "data_config": {"image_size": [size, size], "num_classes": 91, "max_num_instances": 100},
            "maskrcnn_config": {"freeze_bn": False, "freeze_blocks": []},
        }
    )


def losses_of(form: str, pattern: str, spec: ExperimentSpec, steps: int, factor: float = 1.0) -> list[float]:
    """Return the total loss of each of the first steps; float32 images are multiplied by ``factor``."""
    index = index_records(pattern)
    names = {raw: str(raw) for raw in record_summary(index).class_ids}
    class_map = class_map_for(set(names), names, spec.data_config.num_classes)
    architecture = Architecture.from_spec(spec)
    anchors = generate_anchors(architecture, spec.data_config.image_size)
    network = MaskRCNN(architecture, freeze_bn=False, seed=spec.seed)
    step = TrainStep(network, TrainSettings.from_spec(spec, ranks=1), anchors, spec.data_config.image_size)
    with images_as(form):
        dataset = pipeline.training_dataset(index, spec, class_map, anchors, start=0, rank=0, ranks=1)
    if factor != 1.0:
        dataset = dataset.map(lambda batch: {**batch, "images": batch["images"] * factor})
    return [step(batch)["total_loss"] for batch in dataset.take(steps)]


def compare_losses(data: Path, size: int, steps: int) -> None:
    """Train both ways, and print the losses."""
    spec = coco_spec(size)
    with tempfile.TemporaryDirectory() as folder:
        coco = data / "coco"
        convert_dataset(str(coco / "images"), str(coco / "instances_val.json"), folder, tag="train", num_shards=1)
        plain, rounded = (losses_of(form, f"{folder}/train-*", spec, steps) for form in FORMS)
        nudged = losses_of("float32", f"{folder}/train-*", spec, steps, NUDGE)
    print("| step | float32 | uint8 | difference | a millionth more | difference |\n|---:|---:|---:|---:|---:|---:|")
    for number, (one, other, third) in enumerate(zip(plain, rounded, nudged, strict=True), 1):
        differences = ((value - one) / one for value in (other, third))
        cells = (
            f"{value:.4f} | {difference:+.2%}" for value, difference in zip((other, third), differences, strict=True)
        )
        print(f"| {number} | {one:.4f} | {' | '.join(cells)} |")


def quickstart_spec(workspace: Path, folder: Path, side: int, steps: int) -> Path:
    """Write the spec of the quick start, and its pictures and records if they are missing; return its path.

    Args:
        workspace: of the quick start, with its pictures.
        folder: of spec and records.
        side: height and width of the padded image, a multiple of 32, at least 128.
        steps: number of steps, to which the schedule of the learning rate is scaled.
    """
    raw = workspace / "raw" / "quickstart"
    if not (raw / "train.json").exists():
        generate = [sys.executable, str(ROOT / "examples/shapes/generate.py"), "--output", str(raw)]
        subprocess.run([*generate, "--train", "320", "--val", "24"], check=True)
    for split, shards in (("train", 2), ("val", 1)):
        if not (folder / split).exists():
            convert_dataset(
                str(raw / "images"), str(raw / f"{split}.json"), str(folder / split), tag=split, num_shards=shards
            )
    manifest = yaml.safe_load((ROOT / "examples/quickstart/experiment.yaml").read_text())
    experiment = manifest["spec"]["experiment"]
    scale = steps / experiment["totalSteps"]
    experiment |= {"totalSteps": steps, "numStepsPerEval": steps, "warmupSteps": int(scale * experiment["warmupSteps"])}
    experiment["learningRateSteps"] = [int(scale * step) for step in experiment["learningRateSteps"]]
    experiment["dataConfig"] |= {
        "imageSize": [side, side],
        "trainingFilePattern": str(folder / "train" / "train-*.tfrecord"),
        "validationFilePattern": str(folder / "val" / "val-*.tfrecord"),
        "valJsonFile": str(raw / "val.json"),
    }
    path = folder / f"spec-{side}-{steps}.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path


def compare_accuracy(workspace: Path, side: int, steps: int) -> None:
    """Train the quick start both ways, and print the metrics."""
    folder = workspace.resolve() / "uint8-input"
    folder.mkdir(parents=True, exist_ok=True)
    spec = quickstart_spec(workspace, folder, side, steps)
    print(f"| images | {' | '.join(SHOWN)} |\n|---|{'---:|' * len(SHOWN)}")
    for form in FORMS:
        results = folder / f"{form}-{side}-{steps}"
        if not (results / "result.json").exists():
            command = [sys.executable, __file__, "train", "--images", form, "--spec", str(spec)]
            subprocess.run([*command, "--results", str(results)], check=True)
        metrics = json.loads((results / "result.json").read_text())["metrics"]
        print(f"| {form} | {' | '.join(f'{metrics[name]:.4f}' for name in SHOWN)} |", flush=True)


def main() -> int:
    """Run the comparison that was chosen; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    losses = commands.add_parser("losses", help="compare the losses of the first steps")
    losses.add_argument(
        "--data", type=Path, default=Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT / "../shared/data"))
    )
    losses.add_argument("--size", type=int, default=256)
    losses.add_argument("--steps", type=int, default=10)
    accuracy = commands.add_parser("accuracy", help="compare the quick start's metrics")
    accuracy.add_argument("--workspace", type=Path, default=Path("workspace"))
    accuracy.add_argument("--side", type=int, default=160)
    accuracy.add_argument("--steps", type=int, default=240)
    train = commands.add_parser("train", help="train once (accuracy starts this)")
    train.add_argument("--images", choices=FORMS, required=True)
    train.add_argument("--spec", required=True)
    train.add_argument("--results", required=True)
    arguments = parser.parse_args()
    if arguments.command == "losses":
        compare_losses(arguments.data, arguments.size, arguments.steps)
    elif arguments.command == "accuracy":
        compare_accuracy(arguments.workspace, arguments.side, arguments.steps)
    else:
        with images_as(arguments.images):
            return maskrcnn(["train", "-e", arguments.spec, "-d", arguments.results])
    return 0


if __name__ == "__main__":
    sys.exit(main())
