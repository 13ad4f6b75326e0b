"""Parity of evaluate and inference between a ``.tlt`` model and its exports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn_trainer.conversion.dataset import convert_dataset
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector.tlt import NetworkDetector
from maskrcnn_trainer.export.graph import export_graph
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model_files.model_file import ModelFile, encrypt, read_model_file, write_model_file
from maskrcnn_trainer.spec import ExperimentSpec, load_spec

pytestmark = pytest.mark.trainer

ROWS = 12
CLASS_MAP = ClassMap(ids=(2, 5, 9), names=("cat", "", "dog house"), num_classes=4)
SIZES = {"1.jpg": (90, 150), "2.png": (200, 128), "3.JPEG": (128, 128)}


def random_network(spec: ExperimentSpec) -> MaskRCNN:
    """Set weights that find objects of every class, with different scores."""
    network = MaskRCNN(Architecture.from_spec(spec), freeze_bn=True, seed=1)
    rng = np.random.default_rng(0)
    widths = {"class-predict": 0.3, "mask_fcn_logits": 0.3, "box-predict": 0.03}
    for name, variable in network.named_variables.items():
        width = next((width for layer, width in widths.items() if name.startswith(layer)), None)
        if width and name.endswith("kernel"):
            variable.assign(rng.normal(0, width, variable.shape).astype(np.float32))
    return network


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write images, their records, a spec, and one model as .tlt, .onnx and .etlt."""
    folder = tmp_path_factory.mktemp("inference")
    (folder / "images").mkdir()
    rng = np.random.default_rng(2)
    images, annotations = [], []
    for number, (name, (height, width)) in enumerate(SIZES.items(), start=1):
        small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        box = [10, 20, 40, 30]
        polygon = [[10, 20, 50, 20, 50, 50, 10, 50]]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 5, "bbox": box, "area": 1200, "iscrowd": 0}
            | {"segmentation": polygon}
        )
    categories = [{"id": one, "name": name or "thing"} for one, name in zip((2, 5, 9), CLASS_MAP.names, strict=True)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "val.json").write_text(json.dumps(content))
    convert_dataset(
        str(folder / "images"), str(folder / "val.json"), str(folder / "val"), tag="val", num_shards=1, processes=1
    )
    experiment = {
        "totalSteps": 4,
        "initLearningRate": 0.01,
        "evalBatchSize": 2,
        "dataConfig": {
            "imageSize": [128, 128],
            "numClasses": 4,
            "validationFilePattern": str(folder / "val" / "val-*.tfrecord"),
            "valJsonFile": str(folder / "val.json"),
        },
        "maskrcnnConfig": {
            "nlayers": 10,
            "freezeBn": False,
            "freezeBlocks": [],
            "fastRcnnMlpHeadDim": 32,
            "mrcnnResolution": 8,
            "testRpnPreNmsTopn": 64,
            "testRpnPostNmsTopn": 32,
            "testDetectionsPerImage": ROWS,
        },
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(experiment))
    spec = load_spec(str(folder / "spec.yaml"))
    network = random_network(spec)
    model = ModelFile(
        architecture=network.architecture.to_json(),
        experiment=experiment,
        class_map=CLASS_MAP.to_json(),
        step=12,
        variables={name: variable.numpy() for name, variable in network.named_variables.items()},
    )
    write_model_file(folder / "model.tlt", model, "secret")
    write_model_file(folder / "pruned.tlt", replace(model, retrain_required=True))
    exported = export_graph(network, spec, CLASS_MAP, step=12).SerializeToString()
    (folder / "model.onnx").write_bytes(exported)
    (folder / "model.etlt").write_bytes(encrypt(exported, "secret"))
    return folder


PROGRAM = """
import json, sys
from maskrcnn_trainer.cli import main
for line in sys.stdin:
    try:
        code = main(json.loads(line))
    except SystemExit as end:
        code = end.code
    print("code", code, flush=True)
"""


def run_commands(commands: list[list[str]]) -> tuple[list[int], str]:
    """Run commands sequentially in another process; return their exit codes and their output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MASKRCNN_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="".join(json.dumps(command) + "\n" for command in commands),
        env=environ | {"MASKRCNN_THREADS": "2", "MASKRCNN_KEY": "secret"},
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("code ")]
    return codes, done.stderr


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def check_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Check equality: boxes to a hundredth of a pixel, scores to 1e-4, masks to a few pixels at their borders."""
    assert [one["category_id"] for one in found] == [one["category_id"] for one in wanted]
    assert [one["image_id"] for one in found] == [one["image_id"] for one in wanted]
    np.testing.assert_allclose([one["bbox"] for one in found], [one["bbox"] for one in wanted], rtol=0, atol=0.01)
    np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in wanted], rtol=0, atol=1e-4)
    different = sum(
        int((coco_mask.decode(one["segmentation"]) != coco_mask.decode(other["segmentation"])).sum())
        for one, other in zip(found, wanted, strict=True)
    )
    assert different <= 3e-4 * sum(coco_mask.area(one["segmentation"]) for one in wanted)


def test_every_kind_of_model_finds_the_same(folder: Path) -> None:
    shared = ["-e", str(folder / "spec.yaml")]
    images = ["-i", str(folder / "images"), "-t", "0.01", "--include_mask"]
    commands = []
    for name in ("model.tlt", "model.onnx", "model.etlt"):
        model = ["-m", str(folder / name)]
        commands.append(["evaluate", *shared, *model, "-r", str(folder / "evaluate" / name)])
        commands.append(["inference", *shared, *model, *images, "-r", str(folder / "inference" / name)])
    commands.append(["inference", *shared, "-m", str(folder / "pruned.tlt"), *images, "-r", str(folder / "pruned")])
    commands.append(["evaluate", *shared, "-m", str(folder / "pruned.tlt"), "-r", str(folder / "pruned")])
    killed = (
        folder / "evaluate" / "model.tlt" / ".detections.json.12345678.partial",
        folder / "inference" / "model.tlt" / ".predictions.json.12345678.partial",
    )
    for left in killed:
        left.parent.mkdir(parents=True)
        left.touch()
    codes, log = run_commands(commands)
    assert codes == [0, 0, 0, 0, 0, 0, 64, 64], log
    assert [left.exists() for left in killed] == [False, False]
    assert log.count("After pruning, the model needs to be retrained first") >= 2
    wanted = read(folder / "evaluate" / "model.tlt" / "detections.json")
    assert len(wanted) == ROWS * len(SIZES)
    assert {one["category_id"] for one in wanted} == {2, 5, 9}
    for name in ("model.tlt", "model.onnx", "model.etlt"):
        evaluated = folder / "evaluate" / name
        check_same(read(evaluated / "detections.json"), wanted)
        assert read(evaluated / "metrics.json")["step"] == 12
        predictions = read(folder / "inference" / name / "predictions.json")
        check_same(predictions["annotations"], wanted)
        assert [image["file_name"] for image in predictions["images"]] == list(SIZES)
        for file in SIZES:
            assert (folder / "inference" / name / "images_annotated" / file).is_file()


def test_a_network_takes_fewer_images_than_its_batch(folder: Path) -> None:
    spec = load_spec(str(folder / "spec.yaml"))
    model = read_model_file(folder / "model.tlt", "secret")
    network = MaskRCNN(Architecture.from_spec(spec), freeze_bn=True)
    for name, variable in network.named_variables.items():
        variable.assign(model.variables[name])
    detector = NetworkDetector(network, CLASS_MAP, spec, batch_size=3)
    images = np.random.default_rng(0).normal(size=(3, 128, 128, 3)).astype(np.float32)
    whole, part = detector.detect(images), detector.detect(images[:2])
    assert len(part) == 2
    for one, other in zip(whole[:2], part, strict=True):
        assert len(other.scores) > 0
        for name in ("boxes", "classes", "scores", "mask_logits"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=1e-4)
    variable = network.named_variables["class-predict/bias"]
    variable.assign(variable + 1e3 * np.eye(4, dtype=np.float32)[2])
    classes = [one.classes for one in detector.detect(images)]
    assert all(len(one) and (one == 2).all() for one in classes), "a change of the weights shows"
