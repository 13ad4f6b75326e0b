"""Files that a training starts from: their architecture, their names, and what of a spec contradicts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.weights import key_lists, stand_ins

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.training.pretrained.start import Start, open_start
from maskrcnn_trainer.weights.opening import DetectorOptions, architecture_of_style
from maskrcnn_trainer.weights.style import STYLES, StyleName

pytestmark = pytest.mark.trainer

OURS = Architecture(nlayers=10, num_classes=3, anchor_scale=4, anchor_offset=0.0, mrcnn_resolution=56)
DETECTRON2 = DetectorOptions(style="detectron2", class_names=("a", "b", "c"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    return stand_ins.write(folder / "m.npz", stand_ins.detector("detectron2"))


@pytest.fixture(scope="module")
def start(detector: Path) -> Start:
    return open_start(detector, options=DETECTRON2)


@pytest.fixture(scope="module")
def caffe2(tmp_path_factory: pytest.TempPathFactory) -> Start:
    path = tmp_path_factory.mktemp("caffe2") / "R-50.pkl"
    return open_start(stand_ins.write(path, stand_ins.tensors_of(key_lists.caffe2_resnet(), pixels=True)))


def our_model(path: Path, architecture: Architecture = OURS, names: tuple[str, ...] = ("disk", "")) -> Path:
    class_map = ClassMap(ids=(1, 2), names=names, num_classes=3).to_json()
    values = {"conv1/kernel": np.zeros((7, 7, 3, 64), np.float32)}
    write_model_file(path, ModelFile(architecture.to_json(), {}, class_map, 3, values), "secret")
    return path


def test_detector_determines_the_architecture(start: Start, detector: Path) -> None:
    expected = architecture_of_style(
        STYLES[StyleName.DETECTRON2], nlayers=10, num_classes=4, head_dim=stand_ins.HEAD_DIM
    )
    assert (start.path, start.architecture, start.of_backbone) == (str(detector), expected, False)
    assert (start.class_names, start.style) == ((None, "a", "b", "c"), STYLES[StyleName.DETECTRON2])
    source = start.source_for(expected)
    assert source.kind == "Mask R-CNN of Detectron2"
    assert "mask_fcn_logits/kernel" in source.values


def test_faster_rcnn_is_named_so(tmp_path: Path) -> None:
    path = stand_ins.write(tmp_path / "m.npz", stand_ins.detector("torchvision", masks=False))
    opened = open_start(path, options=DetectorOptions(style="torchvision"))
    assert opened.source_for(Architecture()).kind == "Faster R-CNN of torchvision"


def test_detector_without_a_style_is_refused(detector: Path) -> None:
    with pytest.raises(InvalidInput, match=r"m\.npz is a detector of Detectron2 and needs checkpointStyle"):
        open_start(detector)


def test_spec_without_fields_of_the_structure_agrees(start: Start, make_spec: Callable[..., ExperimentSpec]) -> None:
    spec = make_spec()
    config = spec.maskrcnn_config.model_validate({"gtMaskSize": 28, "testScoreThreshold": 0.5})
    start.check_agrees(spec.model_copy(update={"maskrcnn_config": config}))


def test_contradictions_are_named_by_field(start: Start, make_spec: Callable[..., ExperimentSpec]) -> None:
    with pytest.raises(InvalidInput) as caught:
        start.check_agrees(make_spec(model={"anchor_scale": 8, "arch": "resnet", "roi_sampling_ratio": 2}))
    message = str(caught.value)
    assert message.startswith(f"checkpoint: {start.path} does not match the spec: maskrcnnConfig.arch: ")
    assert "maskrcnnConfig.roiSamplingRatio: 2 in the spec, but the model was built with 0. To follow" in message
    assert "anchorScale" not in message
    assert "numClasses" not in message


def test_caffe2_backbone_determines_the_backbone_only(caffe2: Start, make_spec: Callable[..., ExperimentSpec]) -> None:
    assert caffe2.architecture == Architecture(nlayers=50, arch="resnet_v1", batch_norm_epsilon=1e-5)
    assert (caffe2.class_names, caffe2.style) == (None, None)
    caffe2.check_agrees(make_spec(model={"max_level": 5, "anchor_scale": 4, "nlayers": 50}))
    message = r'does not match the spec: maskrcnnConfig\.nlayers: 18 in the spec, but .* with 50; .*arch: "resnet" in'
    with pytest.raises(InvalidInput, match=message):
        caffe2.check_agrees(make_spec(model={"nlayers": 18, "arch": "resnet"}))


def test_caffe2_backbone_is_folded_for_this_network(caffe2: Start) -> None:
    source = caffe2.source_for(Architecture())
    assert source.kind == "ResNet-50 of Detectron2"
    assert source.values["conv1/kernel"].std() == pytest.approx(0.25 / (3 * 49) ** 0.5, rel=0.1)


def test_torchvision_backbone_determines_nothing(tmp_path: Path, make_spec: Callable[..., ExperimentSpec]) -> None:
    tensors = stand_ins.tensors_of(key_lists.torch_resnet(18))
    opened = open_start(stand_ins.write(tmp_path / "r18.safetensors", tensors))
    assert (opened.architecture, opened.style) == (None, None)
    opened.check_agrees(make_spec(model={"arch": "resnet"}))
    source = opened.source_for(Architecture(nlayers=18, arch="resnet_v1_5"))
    np.testing.assert_array_equal(source.values["bn_conv1/gamma"], tensors["bn1.weight"])


def test_our_model_file_is_followed_without_refusing_others(
    tmp_path: Path, make_spec: Callable[..., ExperimentSpec]
) -> None:
    opened = open_start(our_model(tmp_path / "model.tlt"), key="secret")
    assert (opened.architecture, opened.class_names) == (OURS, (None, "disk", None))
    assert opened.style is None
    spec = make_spec(model={"anchor_scale": 8})
    opened.check_agrees(spec)
    architecture = Architecture.from_spec(spec, model=opened.architecture)
    assert (architecture.anchor_offset, architecture.mrcnn_resolution, architecture.nlayers) == (0.0, 56, 10)
    (note,) = opened.source_for(architecture).notes
    assert note == "anchor_scale: the model in the file was trained with 4.0, but this network has 8.0"


def test_our_model_file_without_names_has_none(tmp_path: Path) -> None:
    assert open_start(our_model(tmp_path / "model.tlt", names=("", "")), key="secret").class_names is None


def test_our_pruned_model_is_refused(tmp_path: Path) -> None:
    path = our_model(tmp_path / "model.tlt", replace(OURS, filters={"conv1": 32}))
    with pytest.raises(InvalidInput, match="pruned model, .* give it as prunedModelPath"):
        open_start(path, key="secret")


@pytest.mark.parametrize(
    ("options", "start_of_note"),
    [
        (DetectorOptions(style="torchvision"), "checkpointStyle has no effect: "),
        (
            DetectorOptions(config=Path("c.yaml"), bn_epsilon=0.0),
            "checkpointConfig, checkpointBnEpsilon have no effect: ",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["backbone", "model file"])
def test_options_of_a_detector_are_noted_with_other_files(
    tmp_path: Path, kind: str, options: DetectorOptions, start_of_note: str
) -> None:
    path = tmp_path / "file"
    if kind == "backbone":
        tensors: dict[str, Any] = {name: np.ones(shape, np.float32) for name, shape in TINY.items()}
        save_file(tensors, path)
    else:
        our_model(path)
    architecture = OURS if kind == "model file" else Architecture(nlayers=10, arch="resnet_v1_5")
    notes = open_start(path, key="secret", options=options).source_for(architecture).notes
    assert [note for note in notes if "no effect" in note] == [
        f"{start_of_note}{path} is not a detector of torchvision, Detectron2, or MMDetection"
    ]
    assert not [note for note in open_start(path, key="secret").source_for(architecture).notes if "no effect" in note]


TINY = key_lists.torch_resnet(10)
