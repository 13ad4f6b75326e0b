"""Mask AP of a training that starts from a whole detector, compared with one that starts from its backbone alone.

    python benchmarks/fine_tuning.py [--workspace DIR] [--steps 180] [--base-steps 600] [--seeds 1 2] [--backbone FILE]

The demo's pictures have three classes (examples/shapes/generate.py). A detector with torchvision's architecture is
trained on other pictures of the same kind, in which the objects of one class aren't annotated, and written with
torchvision's tensor names. From this file start, with the same data, batch norms, and seed:

* fine-tuning: ``checkpoint`` with the names of its two classes, a third of the steps;
* new heads: only its backbone is loaded, ``skipCheckpointVariables`` leaves FPN, RPN, and heads new, all of the steps.

Each schedule of the learning rate is scaled to the number of steps; --rate is its highest value in fine-tuning. The
class that is new is the first of the three, so that the rows of the other two move. --backbone gives the detector's own
training the weights of a ResNet-18 with torchvision's names; without it, that training starts from random weights. What
a workspace has results of isn't trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_trainer.model_files.model_file import read_model_file
from maskrcnn_trainer.weights.opening import architecture_of_style
from maskrcnn_trainer.weights.style import STYLES, StyleName
from torchvision_names import write_detector

Metrics = Mapping[str, float]

ROOT = Path(__file__).resolve().parent.parent
NLAYERS = 18
HEAD_DIM = 256
CLASSES = ("disc", "square", "triangle")
NEW_CLASS = CLASSES[0]
BATCH = 2
RATE = 0.01
"""Learning rate after the warm-up, usual for a batch of 2 and heads that are new."""
EVALUATIONS = 3
"""Evaluations of the longer training, at equal distances."""
LEAST_STEPS = 36
"""With fewer, two steps at which the learning rate drops would be one."""
TRAIN_PICTURES, VALIDATION_PICTURES = 400, 60
SEEDS = {"known": 8, "all": 7}
"""Seeds of the pictures with two annotated classes, and of those with all: no picture is in both."""


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        title: in the table.
        name: of its directory.
        experiment: its spec.
    """

    title: str
    name: str
    experiment: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.experiment["totalSteps"])


def without_class(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return COCO annotations without a class and its objects; its images remain."""
    removed = {category["id"] for category in content["categories"] if category["name"] == name}
    return {
        **content,
        "categories": [category for category in content["categories"] if category["id"] not in removed],
        "annotations": [one for one in content["annotations"] if one["category_id"] not in removed],
    }


def experiment_of(
    data: Path, val_json: Path, *, seed: int, steps: int, every: int, side: int, classes: int
) -> dict[str, Any]:
    """Return what all trainings have in common.

    Args:
        data: directory with the records of ``train`` and ``val``.
        val_json: annotations of the validation pictures.
        seed: of the training.
        steps: number of steps, to which the schedule of the learning rate is scaled.
        every: steps between two evaluations.
        side: height and width of the padded image, a multiple of 64.
        classes: with the background.
    """
    return {
        "seed": seed,
        "totalSteps": steps,
        "numStepsPerEval": every,
        "trainBatchSize": BATCH,
        "evalBatchSize": 4,
        "warmupSteps": steps // 8,
        "warmupLearningRate": 0.001,
        "initLearningRate": RATE,
        "learningRateSteps": [steps * 3 // 4, steps * 11 // 12],
        "learningRateDecayLevels": [0.1, 0.02],
        "keepCheckpoints": 1,
        "dataConfig": {
            "imageSize": [side, side],
            "numClasses": classes,
            "augmentInputData": True,
            "maxNumInstances": 16,
            "trainingFilePattern": str(data / "train" / "train-*.tfrecord"),
            "validationFilePattern": str(data / "val" / "val-*.tfrecord"),
            "valJsonFile": str(val_json),
        },
        "maskrcnnConfig": {
            "gtMaskSize": 56,
            "rpnBatchSizePerIm": 64,
            "batchSizePerIm": 24,
            "trainRpnPreNmsTopn": 200,
            "trainRpnPostNmsTopn": 100,
            "testRpnPreNmsTopn": 100,
            "testRpnPostNmsTopn": 50,
            "testDetectionsPerImage": 20,
        },
    }


def structure_of_torchvision() -> dict[str, Any]:
    """Return the fields of ``maskrcnnConfig`` for a network that torchvision can have, with batch norms of 1e-5."""
    ours = architecture_of_style(STYLES[StyleName.TORCHVISION], nlayers=NLAYERS, num_classes=2, head_dim=HEAD_DIM)
    return {
        "nlayers": ours.nlayers,
        "arch": ours.arch,
        "aspectRatios": [list(pair) for pair in ours.aspect_ratios],
        "anchorOffset": ours.anchor_offset,
        "anchorRounding": ours.anchor_rounding,
        "roiMaxLevel": ours.roi_max_level,
        "roiAligned": ours.roi_aligned,
        "roiSamplingRatio": ours.roi_sampling_ratio,
        "fastRcnnMlpHeadDim": ours.fast_rcnn_mlp_head_dim,
    }


def base_run(common: dict[str, Any], backbone: Path | None) -> Run:
    """Return the training of the detector with two classes.

    Without pretrained weights its batch norms learn their statistics.
    """
    config = common["maskrcnnConfig"] | structure_of_torchvision()
    if backbone is None:
        return Run("base", "base", common | {"maskrcnnConfig": config | {"freezeBn": False, "freezeBlocks": []}})
    return Run("base", "base", common | {"maskrcnnConfig": config, "checkpoint": str(backbone.resolve())})


def compared_runs(
    shorter: dict[str, Any], longer: dict[str, Any], detector: Path, rate: float = RATE
) -> tuple[Run, Run]:
    """Return the training from the whole detector, and the one from its backbone.

    Args:
        shorter: spec of a third of the steps, see `experiment_of`.
        longer: spec of all of the steps.
        detector: the file with torchvision's names.
        rate: learning rate of the shorter training after its warm-up.
    """
    origin = {
        "checkpoint": str(detector),
        "checkpointStyle": StyleName.TORCHVISION.value,
        "checkpointBnEpsilon": 1e-5,
        "checkpointClassNames": [name for name in CLASSES if name != NEW_CLASS],
    }
    seed = longer["seed"]
    return (
        Run("fine-tuning", f"fine-tuning-{rate:g}-{seed}", shorter | origin | {"initLearningRate": rate}),
        Run("new heads", f"new-heads-{seed}", longer | origin | {"skipCheckpointVariables": "^(fpn|.*_head)/"}),
    )


def command(*words: object) -> None:
    """Run a command; exit with its end if it fails."""
    result = subprocess.run([str(word) for word in words], check=False)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {result.returncode}")


def maskrcnn(*words: object) -> None:
    """Run a command of the trainer."""
    command(Path(sys.executable).parent / "maskrcnn", *words)


def prepare_data(workspace: Path) -> None:
    """Draw both sets of pictures, and convert them, unless that is done."""
    for name, seed in SEEDS.items():
        raw, done = workspace / "raw" / name, workspace / "records" / name / "done"
        if done.exists():
            continue
        counts = ("--train", TRAIN_PICTURES, "--val", VALIDATION_PICTURES)
        command(sys.executable, ROOT / "examples/shapes/generate.py", "--output", raw, "--seed", seed, *counts)
        for split in ("train", "val"):
            annotations = raw / f"{split}.json"
            if name == "known":
                annotations.write_text(json.dumps(without_class(json.loads(annotations.read_text()), NEW_CLASS)))
            output = workspace / "records" / name / split
            maskrcnn("dataset_convert", "-i", raw / "images", "-a", annotations, "-o", output, "-t", split, "-s", 2)
        done.touch()


def metrics_by_step(run: Run, workspace: Path) -> dict[int, Metrics]:
    """Train unless that is done; return the metrics of each evaluation, by step."""
    directory = workspace / run.name
    directory.mkdir(parents=True, exist_ok=True)
    spec, results = directory / "spec.yaml", directory / "results"
    text = yaml.safe_dump(dict(run.experiment), sort_keys=False)
    if spec.exists() and spec.read_text() != text:
        sys.exit(f"{directory} is of other settings; give another --workspace")
    spec.write_text(text)
    if not (results / "result.json").exists():
        maskrcnn("train", "-e", spec, "-d", results)
    evaluations = json.loads((results / "evaluations.json").read_text())
    return {int(step): {name: float(entry[name]) for name in ("mask_AP", "AP")} for step, entry in evaluations.items()}


def saved_as_torchvision(base: Run, workspace: Path) -> Path:
    """Write the detector of a training with torchvision's names; return its path."""
    path = workspace / "detector.safetensors"
    if not path.exists():
        model = workspace / base.name / "results" / f"model.step-{base.steps}.tlt"
        write_detector(path, read_model_file(model, with_optimizer=False).variables)
    return path


def rows(by_title: Mapping[str, Mapping[int, Metrics]], seed: int) -> list[str]:
    """Return a row of the table for each training: the mask AP at each step that has an evaluation."""
    steps = sorted({step for measured in by_title.values() for step in measured})
    return [
        f"| {seed} | {title} | "
        + " | ".join(f"{measured[step]['mask_AP']:.3f}" if step in measured else "" for step in steps)
        + " |"
        for title, measured in by_title.items()
    ]


def verdict(tuned: Mapping[int, Metrics], new: Mapping[int, Metrics], seed: int) -> str:
    """Return a sentence that compares both trainings at their ends."""
    steps, of_new = max(tuned), max(new)
    ours, theirs = tuned[steps], new[of_new]
    return (
        f"Seed {seed}: mask AP {ours['mask_AP']:.3f} (box AP {ours['AP']:.3f}) after {steps} steps of fine-tuning, "
        f"{theirs['mask_AP']:.3f} ({theirs['AP']:.3f}) after {of_new} steps with new heads: mask AP "
        f"{ours['mask_AP'] - theirs['mask_AP']:+.3f} with {steps / of_new:.2f} of the steps"
    )


def compare(workspace: Path, base: Run, *, steps: int, seeds: Sequence[int], side: int, rate: float) -> bool:
    """Train, and print the table; return whether fine-tuning is better at the end with every seed."""
    measured = metrics_by_step(base, workspace)[base.steps]
    print(f"base detector, two classes: mask AP {measured['mask_AP']:.3f}", flush=True)
    detector = saved_as_torchvision(base, workspace)
    raw, records = workspace / "raw", workspace / "records"
    every = steps // EVALUATIONS

    table, sentences, better = [], [], True
    for seed in seeds:
        shorter, longer = (
            experiment_of(
                records / "all", raw / "all" / "val.json", seed=seed, steps=count, every=every, side=side, classes=4
            )
            for count in (steps // 3, steps)
        )
        tuning, rival = compared_runs(shorter, longer, detector, rate)
        tuned, new = metrics_by_step(tuning, workspace), metrics_by_step(rival, workspace)
        table += rows({tuning.title: tuned, rival.title: new}, seed)
        sentences.append(verdict(tuned, new, seed))
        better = better and tuned[max(tuned)]["mask_AP"] > new[max(new)]["mask_AP"]
    numbers = [every * number for number in range(1, EVALUATIONS + 1)]
    print(f"| seed | training | {' | '.join(f'mask AP, step {number}' for number in numbers)} |")
    print(f"|---|---|{'---:|' * EVALUATIONS}")
    print("\n".join([*table, "", *sentences]))
    return better


def main() -> int:
    """Run the comparison; return 1 if fine-tuning isn't better with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=ROOT / ".bench" / "fine-tuning")
    parser.add_argument("--steps", type=int, default=180, help="of the training with new heads, a multiple of 3")
    parser.add_argument("--base-steps", type=int, default=600, help="of the detector with two classes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate of fine-tuning after its warm-up")
    parser.add_argument("--side", type=int, default=128, help="of the padded image, a multiple of 64")
    parser.add_argument("--backbone", type=Path, help="ResNet-18 with torchvision's names; absent: random weights")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.base_steps) < LEAST_STEPS or arguments.steps % EVALUATIONS:
        parser.error(f"--steps must be a multiple of {EVALUATIONS}; both numbers of steps at least {LEAST_STEPS}")
    workspace, steps = arguments.workspace.resolve(), arguments.base_steps
    prepare_data(workspace)
    known, val_json = workspace / "records" / "known", workspace / "raw" / "known" / "val.json"
    common = experiment_of(known, val_json, seed=1, steps=steps, every=steps, side=arguments.side, classes=3)
    base = base_run(common, arguments.backbone)
    better = compare(
        workspace, base, steps=arguments.steps, seeds=arguments.seeds, side=arguments.side, rate=arguments.rate
    )
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
