"""Weights with torchvision's names: features equal those of an independent forward pass like torchvision's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file
from tests.unit.weights.files import pickled, state_dict, tensor, write_torch_legacy, write_torch_zip

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.pretrained import load_checkpoint
from maskrcnn_trainer.training.pretrained.start import open_start
from maskrcnn_trainer.training.pretrained.torch_names import convert_torch

pytestmark = pytest.mark.trainer

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
Tensors = dict[str, np.ndarray]


def torch_features(
    tensors: Tensors, images: np.ndarray, depth: int, *, stride_on_1x1: bool = False
) -> list[np.ndarray]:
    """Compute the four stages of torchvision's ResNet, with its padding and epsilon, on RGB in 0..1.

    The stride of a bottleneck is on the 3x3 as there, or on the first convolution as in Detectron2's R-50 and R-101.
    """

    def conv(x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        kernel = tensors[f"{name}.weight"].astype(np.float32).transpose(2, 3, 1, 0)
        pad = kernel.shape[0] // 2
        return tf.nn.conv2d(tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]), kernel, stride, "VALID")

    def norm(x: tf.Tensor, name: str) -> tf.Tensor:
        scale = tensors[f"{name}.weight"] / np.sqrt(tensors[f"{name}.running_var"] + 1e-5)
        return (x - tensors[f"{name}.running_mean"]) * scale + tensors[f"{name}.bias"]

    x = tf.constant((images - MEAN) / STD, tf.float32)
    x = tf.nn.relu(norm(conv(x, "conv1", 2), "bn1"))
    x = tf.nn.max_pool2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1e30), 3, 2, "VALID")
    stages = []
    for stage, count in enumerate(BLOCKS[depth], start=1):
        for i in range(count):
            stride = 2 if stage > 1 and i == 0 else 1
            name = f"layer{stage}.{i}"
            if depth >= 50:
                first, second = (stride, 1) if stride_on_1x1 else (1, stride)
                y = tf.nn.relu(norm(conv(x, f"{name}.conv1", first), f"{name}.bn1"))
                y = tf.nn.relu(norm(conv(y, f"{name}.conv2", second), f"{name}.bn2"))
                y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            else:
                y = tf.nn.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
                y = norm(conv(y, f"{name}.conv2"), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in tensors:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = tf.nn.relu(x + y)
        stages.append(x.numpy())
    return stages


def random_tensors(depth: int, seed: int = 0) -> Tensors:
    """Return tensors with torchvision's names and shapes, and values as after training, some variances tiny."""
    rng = np.random.default_rng(seed)
    tensors: Tensors = {"fc.weight": np.zeros((3, 4), np.float32), "bn1.num_batches_tracked": np.array(7)}

    def conv_bn(conv: str, bn: str, out: int, inputs: int, size: int) -> None:
        tensors[f"{conv}.weight"] = rng.normal(
            0, (1.5 / (inputs * size * size)) ** 0.5, (out, inputs, size, size)
        ).astype(np.float32)
        tensors[f"{bn}.weight"] = rng.uniform(0.3, 0.6, out).astype(np.float32)
        tensors[f"{bn}.bias"] = rng.normal(0, 0.1, out).astype(np.float32)
        tensors[f"{bn}.running_mean"] = rng.normal(0, 0.1, out).astype(np.float32)
        variance = rng.uniform(0.5, 1.5, out)
        variance[:3] = 1e-6, 5e-4, 2e-3
        tensors[f"{bn}.weight"][:3] *= 1e-2
        tensors[f"{bn}.running_var"] = variance.astype(np.float32)

    conv_bn("conv1", "bn1", 64, 3, 7)
    channels = 64
    for stage, count in enumerate(BLOCKS[depth], start=1):
        width = 32 * 2**stage
        out = width * 4 if depth >= 50 else width
        for i in range(count):
            name = f"layer{stage}.{i}"
            shapes = (
                [(width, channels, 1), (width, width, 3), (out, width, 1)]
                if depth >= 50
                else [(width, channels, 3), (width, width, 3)]
            )
            for k, (o, c, size) in enumerate(shapes, start=1):
                conv_bn(f"{name}.conv{k}", f"{name}.bn{k}", o, c, size)
            if i == 0 and (stage > 1 or channels != out):
                conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", out, channels, 1)
            channels = out
    return tensors


def network_of(depth: int, arch: str) -> MaskRCNN:
    return MaskRCNN(Architecture(nlayers=depth, arch=arch, num_classes=2, fast_rcnn_mlp_head_dim=8), seed=1)


def stages_of(network: MaskRCNN, images: np.ndarray, depth: int) -> list[np.ndarray]:
    """Return the network's stages on RGB images in 0..1, normalized as in the input pipeline."""
    names = [f"block_{stage}{'abcdefghijklmnopqrstuvw'[n - 1]}_relu" for stage, n in enumerate(BLOCKS[depth], start=1)]
    taps = keras.Model(
        network.feature_extractor.input, [network.feature_extractor.get_layer(name).output for name in names]
    )
    return [np.asarray(t) for t in taps(((images - MEAN) / 0.224).astype(np.float32), training=False)]


def assert_close(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-4 * max(1.0, np.abs(b).max())


@pytest.mark.data
def test_features_of_a_real_image_with_real_weights(test_data: Path) -> None:
    path = test_data / "weights" / "resnet18_imagenet.safetensors"
    record = json.loads((test_data / "coco" / "instances_val.json").read_text())["images"][0]
    picture = cv2.imread(str(test_data / "coco" / "images" / record["file_name"]))
    images = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)[None, :256, :320].astype(np.float32) / 255
    network = network_of(18, "resnet_v1_5")
    report = load_checkpoint(path, network)
    assert len(report.loaded) == 100
    assert not report.unused
    assert {network.network_path(name).split("/")[0] for name in report.not_found} == {
        "fpn",
        "rpn_head",
        "box_head",
        "mask_head",
    }
    theirs = torch_features(load_file(path), images, 18)
    assert np.abs(theirs[3]).max() > 1
    assert_close(stages_of(network, images, 18), theirs)


@pytest.mark.parametrize("depth", [10, 34, 50, 101])
def test_features_of_every_depth(depth: int, tmp_path: Path) -> None:
    tensors = random_tensors(depth)
    prefix = "module.backbone." if depth == 50 else ""
    path = tmp_path / "weights.bin"
    if depth == 34:
        with path.open("wb") as stream:
            np.savez(stream, **tensors)
    else:
        save_file({prefix + name: tensor for name, tensor in tensors.items()}, path)
    network = network_of(depth, "resnet_v1_5")
    report = load_checkpoint(path, network)
    assert list(report.unused) == ["backbone.fc.weight" if prefix else "fc.weight"]
    images = np.random.default_rng(1).uniform(size=(1, 64, 96, 3)).astype(np.float32)
    assert_close(stages_of(network, images, depth), torch_features(tensors, images, depth))


def test_features_with_the_stride_on_the_1x1() -> None:
    tensors = random_tensors(50)
    network = network_of(50, "resnet_v1")
    for name, value in convert_torch(tensors, network.architecture, "weights").values.items():
        network.named_variables[name].assign(value)
    images = np.random.default_rng(1).uniform(size=(1, 64, 96, 3)).astype(np.float32)
    assert_close(stages_of(network, images, 50), torch_features(tensors, images, 50, stride_on_1x1=True))


def test_pickled_forms_load_as_safetensors_does(tmp_path: Path) -> None:
    tensors = random_tensors(10)
    save_file(tensors, tmp_path / "weights.safetensors")
    torch = state_dict({name: tensor(array) for name, array in tensors.items()})
    paths = [
        write_torch_zip(tmp_path / "state.pth", torch),
        write_torch_zip(tmp_path / "training.pth", {"model": torch, "optimizer": {"state": {}}, "epoch": 3}),
        write_torch_legacy(tmp_path / "old.pth", torch),
        tmp_path / "arrays.pkl",
    ]
    paths[-1].write_bytes(pickled({"model": tensors, "__author__": "torchvision"}, 4))
    architecture = Architecture(nlayers=10, arch="resnet_v1_5", num_classes=2)
    wanted = open_start(tmp_path / "weights.safetensors").source_for(architecture)
    for path in paths:
        source = open_start(path).source_for(architecture)
        assert (source.kind, source.notes, source.unused) == (wanted.kind, wanted.notes, wanted.unused)
        assert set(source.values) == set(wanted.values)
        for name, value in wanted.values.items():
            np.testing.assert_array_equal(source.values[name], value, err_msg=name)


def test_prefix_of_data_parallel_is_noted(tmp_path: Path) -> None:
    torch = {f"module.{name}": tensor(array) for name, array in random_tensors(10).items()}
    path = write_torch_zip(tmp_path / "w.pth", torch)
    source = open_start(path).source_for(Architecture(nlayers=10, arch="resnet_v1_5", num_classes=2))
    assert any("DataParallel" in note for note in source.notes)


@pytest.mark.parametrize("depth", [18, 50])
def test_original_arch_compensates_the_epsilon_and_adds_identities(
    depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    """`resnet` has epsilon 1e-3 and projects each stage's first shortcut: factors stay, shortcuts are identities."""
    tensors = random_tensors(depth)
    architecture = Architecture(nlayers=depth, arch="resnet", num_classes=2)
    source = convert_torch(tensors, architecture, "weights")
    for bn, ours in (
        ("bn1", "bn_conv1"),
        ("layer2.0.bn2", "block_2a_bn_2"),
        ("layer3.0.downsample.1", "block_3a_bn_shortcut"),
    ):
        variance = source.values[f"{ours}/moving_variance"]
        assert variance.min() >= 0
        scale = source.values[f"{ours}/gamma"] / np.sqrt(variance.astype(np.float64) + 1e-3)
        wanted = tensors[f"{bn}.weight"] / np.sqrt(tensors[f"{bn}.running_var"].astype(np.float64) + 1e-5)
        np.testing.assert_allclose(scale, wanted, rtol=1e-4)
        # If the variance can compensate the epsilon, gamma stays unchanged.
        kept = tensors[f"{bn}.running_var"] + 1e-5 > 1e-3
        assert kept.sum() == len(kept) - 2
        np.testing.assert_array_equal(source.values[f"{ours}/gamma"][kept], tensors[f"{bn}.weight"][kept])
    identities = [note for note in source.notes if "identity" in note]
    assert len(identities) == (1 if depth == 18 else 0)
    assert any("resnet_v1_5" in note for note in source.notes)
    if depth == 18:
        network = network_of(18, "resnet")
        x = np.random.default_rng(2).normal(size=(1, 8, 8, 64)).astype(np.float32)
        layers = network.layers
        for name in (
            "block_1a_conv_shortcut/kernel",
            *(f"block_1a_bn_shortcut/{v}" for v in ("gamma", "beta", "moving_mean", "moving_variance")),
        ):
            network.named_variables[name].assign(source.values[name])
        y = layers["block_1a_bn_shortcut"](layers["block_1a_conv_shortcut"](x))
        np.testing.assert_allclose(y, x, atol=1e-5)


def test_original_arch_is_warned_about_when_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file(random_tensors(10), tmp_path / "w.safetensors")
    report = load_checkpoint(tmp_path / "w.safetensors", network_of(10, "resnet"))
    assert "block_1a_conv_shortcut/kernel" in report.loaded
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert any("resnet_v1_5" in text for text in warnings)


def test_another_depth_and_other_networks_are_refused(tmp_path: Path) -> None:
    architecture = Architecture(nlayers=50, num_classes=2)
    with pytest.raises(InvalidInput, match=r"ResNet-18, .*nlayers is 50"):
        convert_torch(random_tensors(18), architecture, "w")
    with pytest.raises(InvalidInput, match="ResNet-34"):
        convert_torch(random_tensors(34), architecture, "w")
    with pytest.raises(InvalidInput, match="ResNet-50"):
        convert_torch(random_tensors(50), replace(architecture, nlayers=34), "w")
    with pytest.raises(InvalidInput, match=r"conv1\.weight"):
        convert_torch({"layer1.0.conv1.weight": np.zeros((1, 1, 1, 1))}, architecture, "w")
    with pytest.raises(InvalidInput, match="Detectron2"):
        convert_torch({"backbone.bottom_up.res2.0.conv1.weight": np.zeros((1, 1, 1, 1))}, architecture, "w")
