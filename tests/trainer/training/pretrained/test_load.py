"""Loading of pretrained weights: kinds of files, skipped variables, and refusals."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.training.pretrained import LoadReport, load_checkpoint

pytestmark = pytest.mark.trainer

SMALL = Architecture(nlayers=10, num_classes=4, fast_rcnn_mlp_head_dim=8)
CLASS_MAP = ClassMap(ids=(1, 2, 3), names=("circle", "square", ""), num_classes=4).to_json()
Values = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return MaskRCNN(SMALL, seed=1)


@pytest.fixture(scope="module")
def values(network: MaskRCNN) -> Values:
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.1, 1.0, tuple(variable.shape)).astype(np.float32)
        for name, variable in network.named_variables.items()
    }


@pytest.fixture
def fresh(network: MaskRCNN) -> MaskRCNN:
    """Return the network with all variables set to zero."""
    for variable in network.variables:
        variable.assign(tf.zeros_like(variable))
    return network


def assert_loaded(network: MaskRCNN, values: Values, report: LoadReport) -> None:
    for name, variable in network.named_variables.items():
        wanted = values[name] if name in report.loaded else np.zeros(variable.shape)
        np.testing.assert_array_equal(variable, wanted, err_msg=name)
    assert set(report.loaded) | set(report.skipped) | set(report.not_found) == set(network.named_variables)


def write_hdf5(path: Path, values: Values, group: str) -> None:
    """Write a file in the layout of Keras 2: <group>/<layer>/<layer>/<variable>:0, with its attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.2.4-tf"
        root = file.create_group(group) if group else file
        for name, value in values.items():
            layer, variable = name.split("/")
            root.create_dataset(f"{layer}/{layer}/{variable}:0", data=value)
            root[layer].attrs["weight_names"] = [f"{layer}/{variable}:0".encode()]
        if group:
            file.attrs["model_config"] = '{"class_name": "Model", "config": {"layers": [{"class_name": "Lambda"}]}}'
            file.create_dataset("optimizer_weights/SGD/conv1/kernel:0", data=np.full((7, 7, 3, 64), 9.0))


def write_tf1_checkpoint(folder: Path, values: Values, step: int) -> Path:
    """Write a checkpoint like tf.train.Saver of TensorFlow 1, with momentum slots and the global step."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value)
            if not name.split("/")[1].startswith("moving"):
                tf.compat.v1.get_variable(f"{name}/Momentum", initializer=np.full_like(value, 9.0))
        tf.compat.v1.get_variable("global_step", initializer=np.int64(step), trainable=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return Path(tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=step))


def backbone_of(values: Values) -> Values:
    return {n: v for n, v in values.items() if n.startswith(("conv1", "bn_conv1", "block_"))}


@pytest.mark.parametrize("group", ["model_weights", ""])
def test_keras_hdf5(tmp_path: Path, fresh: MaskRCNN, values: Values, group: str) -> None:
    """A backbone in the original's layout; the file is made here, since the original's files can't be distributed."""
    backbone = backbone_of(values)
    path = tmp_path / "resnet10.weights"
    write_hdf5(path, {**backbone, "predictions/kernel": np.zeros((4, 4), np.float32)}, group)
    report = load_checkpoint(path, fresh)
    assert set(report.loaded) == set(backbone)
    assert "predictions/kernel" in report.unused
    assert_loaded(fresh, values, report)
    table = report.table()
    assert "mask_fcn_logits/ kernel, bias" in table
    assert "not in the file" in table


def test_original_tlt_and_ckpt(
    tmp_path: Path, fresh: MaskRCNN, values: Values, caplog: pytest.LogCaptureFixture
) -> None:
    """A zip archive of a TF1 checkpoint, and the checkpoint itself, in the original's layout; both are made here."""
    prefix = write_tf1_checkpoint(tmp_path, values, 1000)
    model = tmp_path / "model.epoch-2.tlt"
    with zipfile.ZipFile(model, "w") as archive:
        for part in tmp_path.glob("model.ckpt-1000.*"):
            archive.write(part, part.name)
    data = tmp_path / "model.ckpt-1000.data-00000-of-00001"
    for path in (model, prefix, Path(f"{prefix}.index"), data, tmp_path):
        for variable in fresh.variables:
            variable.assign(tf.zeros_like(variable))
        caplog.clear()
        report = load_checkpoint(path, fresh)
        assert len(report.loaded) == len(values)
        assert_loaded(fresh, values, report)
        assert "fc6/kernel/Momentum" in report.unused
        assert any("fine-tune" in r.getMessage() for r in caplog.records if r.levelname == "WARNING")


def test_our_model_file_plain_and_encrypted(tmp_path: Path, fresh: MaskRCNN, values: Values) -> None:
    model = ModelFile(architecture=SMALL.to_json(), experiment={}, class_map=CLASS_MAP, step=3, variables=values)
    for key in (None, "secret"):
        path = tmp_path / f"model{key}.bin"
        write_model_file(path, model, key)
        for variable in fresh.variables:
            variable.assign(tf.zeros_like(variable))
        report = load_checkpoint(path, fresh, key=key)
        assert len(report.loaded) == len(values)
        assert_loaded(fresh, values, report)
    with pytest.raises(InvalidInput, match="key"):
        load_checkpoint(tmp_path / "modelsecret.bin", fresh, key="wrong")


def test_our_model_file_of_another_architecture_or_width(tmp_path: Path, fresh: MaskRCNN, values: Values) -> None:
    def written(architecture: Architecture) -> Path:
        path = tmp_path / "model.tlt"
        write_model_file(path, ModelFile(architecture.to_json(), {}, CLASS_MAP, 3, values))
        return path

    notes = load_checkpoint(written(replace(SMALL, anchor_scale=4)), fresh).notes
    assert len(notes) == 1
    assert notes[0].startswith("anchor_scale")
    notes = load_checkpoint(written(replace(SMALL, anchor_offset=0.0, mask_pasting="whole_pixels")), fresh).notes
    assert [note.partition(":")[0] for note in notes] == ["anchor_offset", "mask_pasting"]
    with pytest.raises(InvalidInput, match="prunedModelPath"):
        load_checkpoint(written(replace(SMALL, filters={"conv1": 32})), fresh)


@pytest.mark.parametrize(
    ("skip", "parts"),
    [("head", {"rpn_head", "box_head", "mask_head"}), ("^backbone/", {"backbone"}), ("fpn|rpn", {"fpn", "rpn_head"})],
)
def test_skipping_by_path(tmp_path: Path, fresh: MaskRCNN, values: Values, skip: str, parts: set[str]) -> None:
    write_hdf5(tmp_path / "w.hdf5", values, "model_weights")
    report = load_checkpoint(tmp_path / "w.hdf5", fresh, skip=skip)
    assert set(report.skipped) == {n for n in values if fresh.network_path(n).split("/")[0] in parts}
    assert_loaded(fresh, values, report)


def test_skipping_by_name(tmp_path: Path, fresh: MaskRCNN, values: Values) -> None:
    write_hdf5(tmp_path / "w.hdf5", values, "model_weights")
    report = load_checkpoint(tmp_path / "w.hdf5", fresh, skip="class-predict|box-predict|mask_fcn_logits$")
    assert set(report.skipped) == {f"{n}/{v}" for n in ("class-predict", "box-predict") for v in ("kernel", "bias")}


def test_other_shapes_are_refused_unless_skipped(tmp_path: Path, fresh: MaskRCNN, values: Values) -> None:
    other = {**values, "class-predict/kernel": np.ones((8, 91), np.float32)}
    write_hdf5(tmp_path / "w.hdf5", other, "model_weights")
    with pytest.raises(
        InvalidInput, match=r"class-predict/kernel: \(8, 91\) in the file, \(8, 4\) in the net.*skipCheck"
    ):
        load_checkpoint(tmp_path / "w.hdf5", fresh)
    assert not any(np.any(v.numpy()) for v in fresh.variables)
    report = load_checkpoint(tmp_path / "w.hdf5", fresh, skip="class-predict")
    assert {name.partition("/")[0] for name in report.skipped} == {"class-predict"}
    assert_loaded(fresh, values, report)


def backbone_values(nlayers: int, arch: str = "resnet") -> Values:
    """Return the variables of a backbone of this depth without their shapes, since only names are compared."""
    layers = [layer for block in BACKBONES[arch].blocks(nlayers).values() for layer in block]
    values: Values = {f"{layer}/kernel": np.ones(1, np.float32) for layer in layers if "_conv_" in layer}
    return {**values, "conv1/kernel": np.ones((7, 7, 3, 64), np.float32)}


@pytest.mark.parametrize(
    ("nlayers", "depth", "layer"),
    [(18, "a ResNet-18", "block_1b_conv_1"), (50, "a ResNet-50", "block_1a_conv_3")],
)
def test_backbone_of_another_depth_is_refused_and_changes_nothing(
    tmp_path: Path, fresh: MaskRCNN, *, nlayers: int, depth: str, layer: str
) -> None:
    write_hdf5(tmp_path / "w.hdf5", backbone_values(nlayers), "model_weights")
    with pytest.raises(InvalidInput, match=rf"holds {depth}, but maskrcnnConfig.nlayers is 10 .*{layer}.*skipCheck"):
        load_checkpoint(tmp_path / "w.hdf5", fresh)
    assert not any(np.any(v.numpy()) for v in fresh.variables)


def test_backbone_that_lacks_layers_is_refused_unless_they_are_skipped(
    tmp_path: Path, fresh: MaskRCNN, values: Values
) -> None:
    part = {name: value for name, value in backbone_of(values).items() if not name.startswith("block_4a")}
    model = ModelFile(architecture=SMALL.to_json(), experiment={}, class_map=CLASS_MAP, step=3, variables=part)
    write_model_file(tmp_path / "model.tlt", model)
    with pytest.raises(InvalidInput, match="the file has no block_4a_conv_1, .*skipCheckpointVariables"):
        load_checkpoint(tmp_path / "model.tlt", fresh)
    assert not any(np.any(v.numpy()) for v in fresh.variables)
    report = load_checkpoint(tmp_path / "model.tlt", fresh, skip="block_4a")
    assert set(report.loaded) == set(part)


def test_backbone_of_another_family_is_refused(tmp_path: Path, fresh: MaskRCNN, values: Values) -> None:
    part = {name: value for name, value in backbone_of(values).items() if "1a_conv_shortcut" not in name}
    write_hdf5(tmp_path / "w.hdf5", part, "model_weights")
    with pytest.raises(InvalidInput, match=r"maskrcnnConfig.arch resnet \(the file has no block_1a_conv_shortcut\)"):
        load_checkpoint(tmp_path / "w.hdf5", fresh)


def test_variables_with_random_values_are_one_warning(
    tmp_path: Path, fresh: MaskRCNN, values: Values, caplog: pytest.LogCaptureFixture
) -> None:
    part = {name: value for name, value in values.items() if not fresh.network_path(name).startswith(("fpn", "rpn"))}
    write_hdf5(tmp_path / "w.hdf5", part, "model_weights")
    load_checkpoint(tmp_path / "w.hdf5", fresh, skip="class-predict")
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    left = len(values) - len(part) + 2
    assert f"{left} of {len(values)} variables keep random initial values: fpn, rpn_head" in warning
    assert warning.endswith("box_head/class-predict")


def test_table_is_wrapped_to_its_columns(fresh: MaskRCNN) -> None:
    names = {f"roi_heads.mask_head.mask_fcn{i}.weight": "not of a ResNet backbone" for i in range(42)}
    table = LoadReport("w.safetensors", "ResNet", ("conv1/kernel",), unused=names).table(80)
    assert max(map(len, table.splitlines())) <= 80
    assert all(name in table for name in names)


def test_file_that_cannot_be_loaded_is_refused_with_its_fault(tmp_path: Path, fresh: MaskRCNN, values: Values) -> None:
    def refused(name: str, match: str, content: bytes | None = None, **kwargs: str) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=match):
            load_checkpoint(tmp_path / name, fresh, **kwargs)

    refused("absent.hdf5", "does not exist")
    refused("/dev/zero", "checkpoint: /dev/zero is a pipe, a socket, or a device; give a plain file")
    os.mkfifo(tmp_path / "pipe")
    refused("pipe", "pipe is a pipe, a socket, or a device; give a plain file")
    refused("encrypted.tlt", "TAO Toolkit encrypted", os.urandom(5000))
    refused("empty.tlt", "is an empty file", b"")
    refused("cut.tlt", "damaged or cut off", b"PK\x03\x04" + bytes(100))
    write_hdf5(tmp_path / "w.hdf5", backbone_of(values), "model_weights")
    refused("cut.hdf5", "damaged HDF5", (tmp_path / "w.hdf5").read_bytes()[:3000])
    refused("w.hdf5", "skipCheckpointVariables", skip="(")
    write_hdf5(tmp_path / "w2.hdf5", {"dense_1/kernel": np.ones((2, 2), np.float32)}, "model_weights")
    refused("w2.hdf5", "no variable of this network")
    write_hdf5(tmp_path / "w3.hdf5", {"bn_conv1/gamma": np.full(64, np.nan, np.float32)}, "")
    refused("w3.hdf5", "not finite")
    with zipfile.ZipFile(tmp_path / "pruned.tlt", "w") as archive:
        archive.writestr("pruned.ckpt.index", b"x")
        archive.writestr("train_graph.json", b"{}")
    refused("pruned.tlt", "prunedModelPath")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", b"x")
    refused("other.zip", r"is a zip archive, but not of PyTorch \(data.pkl\), .npz .*, or .tlt of TAO Toolkit")
    with zipfile.ZipFile(tmp_path / "bomb.tlt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.ckpt-1.index", b"x")
        archive.writestr("model.ckpt-1.data-00000-of-00001", bytes(5_000_000))
    refused("bomb.tlt", "but 5000001 when unpacked")
    with zipfile.ZipFile(tmp_path / "damaged.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    refused("damaged.pth", "checkpoint: .*damaged.pth: the pickle has the opcode b'x'")
    refused("nothing.pkl", r"nothing.pkl: the file has no tensors .* save the model's state_dict\(\)", pickle.dumps({}))
    (tmp_path / "nothing").mkdir()
    refused("nothing", "without a TensorFlow checkpoint")
