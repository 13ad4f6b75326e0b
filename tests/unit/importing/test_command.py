"""``maskrcnn import`` with files of all styles and forms, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.weights import key_lists, stand_ins
from tests.unit.weights.test_model_config import DETECTRON2 as DETECTRON2_CONFIG

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.importing.command import class_names_given
from maskrcnn_trainer.model.architecture import architecture_of
from maskrcnn_trainer.model_files import model_file
from maskrcnn_trainer.model_files.model_file import is_encrypted, read_model_file
from maskrcnn_trainer.spelling import as_written
from maskrcnn_trainer.task.files import write_atomically
from maskrcnn_trainer.weights.opening import architecture_of_style
from maskrcnn_trainer.weights.style import STYLES, StyleName

MMDET_META = {"dataset_meta": {"classes": ("circle", "square", "triangle"), "palette": None}}
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "torchvision": ("m.pth", "model", {"epoch": 3}),
    "detectron2": ("m.pkl", "model", {"__author__": "Detectron2 Model Zoo"}),
    "detectron2-torchvision": ("m.safetensors", "", {}),
    "detectron2-d1compat": ("m.npz", "", {}),
    "mmdet-pytorch": ("m.old.pth", "state_dict", {"meta": MMDET_META}),
    "mmdet-caffe": ("m.pth", "state_dict", {"meta": MMDET_META}),
}
"""File, key of its tensors, and its other entries, for each style."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MASKRCNN_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def of_detectron2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins.write(tmp_path_factory.mktemp("d2") / "m.npz", stand_ins.detector("detectron2"))


def imported(*arguments: Path | str) -> int:
    return main(["import", *map(str, arguments)])


@pytest.mark.parametrize("style", FILES)
def test_file_of_each_style_becomes_a_model_file(tmp_path: Path, caplog: pytest.LogCaptureFixture, style: str) -> None:
    name, within, extra = FILES[style]
    source = stand_ins.write(tmp_path / name, stand_ins.detector(style), within=within, **extra)
    with caplog.at_level("INFO"):
        assert imported("-c", source, "--style", style, "-o", tmp_path / "new" / "model.tlt") == 0
    model = read_model_file(tmp_path / "new" / "model.tlt")
    expected = architecture_of_style(STYLES[StyleName(style)], nlayers=10, num_classes=4, head_dim=stand_ins.HEAD_DIM)
    assert architecture_of(model) == expected
    assert all(value.dtype == np.float32 for value in model.variables.values())
    names = ("circle", "square", "triangle") if style.startswith("mmdet") else ("", "", "")
    assert class_map_of(model).names == names
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.tlt"]
    assert caplog.messages[-1].startswith(f"Imported {source} (")
    assert f"style {style}, ResNet-10, 4 classes with the background, to {tmp_path}/new/model" in caplog.messages[-1]
    assert ("give them with --class-names" in as_written(caplog.text)) is not style.startswith("mmdet")


def test_import_comes_without_tensorflow(of_detectron2: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from maskrcnn_trainer.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or 'tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    flags: list[Path | str] = ["import", "-c", of_detectron2, "--style", "detectron2", "-o", tmp_path / "model.tlt"]
    assert subprocess.run([sys.executable, "-c", program, *flags], check=False).returncode == 0
    assert (tmp_path / "model.tlt").exists()


def test_config_replaces_the_style(of_detectron2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(DETECTRON2_CONFIG)
    assert imported("-c", of_detectron2, "--config", config, "-o", tmp_path / "model.tlt") == 0
    assert architecture_of(read_model_file(tmp_path / "model.tlt")).arch == "resnet_v1"
    note = next(as_written(record.message) for record in caplog.records if record.levelname == "WARNING")
    assert f"--config: {config} has 900 where maskrcnnConfig.testRpnPostNmsTopn is 1000 by default" in note


def test_epsilon_and_names_are_those_of_the_flags(of_detectron2: Path, tmp_path: Path) -> None:
    flags = ["--style", "detectron2", "--bn_epsilon", "0.5", "--class_names", "disk", "N/A", "box"]
    assert imported("-c", of_detectron2, *flags, "-o", tmp_path / "model.tlt") == 0
    model = read_model_file(tmp_path / "model.tlt")
    assert architecture_of(model).epsilon == 0.5
    assert class_map_of(model).names == ("disk", "", "box")


@pytest.mark.parametrize("first", ["", "BG\n", "__background__\n"])
def test_names_are_read_from_a_file(tmp_path: Path, first: str) -> None:
    (tmp_path / "labels").write_text(f"{first}disk\n\nbox of wood\n\n")
    assert class_names_given([str(tmp_path / "labels")]) == ("disk", "N/A", "box of wood")


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"BG\n", "empty"), (b"disk\n\xe9\n", "is not UTF-8 text: line 2")]
)
def test_file_without_names_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"^--class-names {tmp_path}/labels:? {message}"):
        class_names_given([str(tmp_path / "labels")])


def test_single_name_is_a_name() -> None:
    assert class_names_given(["disk"]) == ("disk",)


def test_model_is_encrypted_with_the_key(of_detectron2: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tlt"
    assert imported("-c", of_detectron2, "--style", "detectron2", "-o", model, "-k", "secret") == 0
    assert is_encrypted(model)
    assert class_map_of(read_model_file(model, "secret")).num_classes == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "m.npz is a detector of Detectron2 and needs --style, because"),
        (["--style", "mmdet-caffe"], "--style: mmdet-caffe is a style of MMDetection, but"),
        (["--style", "caffe"], "argument --style: invalid choice: 'caffe'"),
        (["--style", "detectron2-torchvision"], "but --style detectron2-torchvision has RGB"),
        (["--style", "detectron2", "--bn-epsilon", "2"], "argument --bn-epsilon: '2' is not a number from 0 to 1"),
        (["--style", "detectron2", "--bn-epsilon", "x"], "argument --bn-epsilon: 'x' is not a number from 0 to 1"),
        (["--style", "detectron2", "--class-names", "a", "b"], "--class-names: 2 names, but"),
        (["--style", "detectron2", "--class-names", "x.txt"], "--class-names x.txt: no such file"),
        (["--config", "absent.yaml"], "--config: absent.yaml"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    of_detectron2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, flags: list[str], message: str
) -> None:
    assert imported("-c", of_detectron2, *flags, "-o", tmp_path / "out" / "model.tlt") == 64
    assert message in as_written(caplog.text)
    assert list(tmp_path.iterdir()) == []


def test_faster_rcnn_is_refused_with_what_it_can_be_used_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = stand_ins.write(tmp_path / "m.pth", stand_ins.detector("torchvision", masks=False))
    assert imported("-c", source, "--style", "torchvision", "-o", tmp_path / "model.tlt") == 64
    assert f"-c: {source} is a Faster R-CNN" in as_written(caplog.text)
    assert "with this file as 'checkpoint' in the spec of train" in as_written(caplog.text)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize("shapes", [key_lists.torch_resnet(10), key_lists.caffe2_resnet(50)])
def test_backbone_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, shapes: key_lists.Shapes) -> None:
    source = stand_ins.write(tmp_path / "r.npz", {name: np.zeros(shape[:1]) for name, shape in shapes.items()})
    assert imported("-c", source, "-o", tmp_path / "model.tlt") == 64
    assert f"-c: {source} holds no detector, only a backbone" in as_written(caplog.text)


def test_other_files_are_refused(tmp_path: Path, of_detectron2: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, text = tmp_path / "a.tlt", tmp_path / "a.txt"
    imported("-c", of_detectron2, "--style", "detectron2", "-o", model)
    text.write_text("weights")
    for source, message in (
        (tmp_path / "absent.pth", "does not exist"),
        (tmp_path, "is not a plain file"),
        (model, "is a model file already"),
        (text, "is not a .safetensors, .npz, .pth, or .pkl file"),
    ):
        assert imported("-c", source, "-o", tmp_path / "model.tlt") == 64
        assert f"-c: {source} {message}" in as_written(caplog.messages[-1])


def test_existing_output_is_kept(of_detectron2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("model.tlt", "link.tlt"):
        there = tmp_path / name
        there.symlink_to("nowhere") if name.startswith("link") else there.write_text("mine")
        assert imported("-c", of_detectron2, "--style", "detectron2", "-o", there) == 64
        assert f"-o {there} exists already; give the path of a new file" in as_written(caplog.messages[-1])
    assert (tmp_path / "model.tlt").read_text() == "mine"
    assert imported("-c", of_detectron2, "--style", "detectron2", "-o", f"{tmp_path}/dir/") == 64


def test_interrupted_writing_leaves_nothing(
    of_detectron2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, payload: bytes, **options: object) -> None:
        def fail() -> None:
            raise WorkspaceFull(f"{path}: no space left")

        write_atomically(path, payload, before_rename=fail)

    monkeypatch.setattr(model_file, "write_atomically", full)
    assert imported("-c", of_detectron2, "--style", "detectron2", "-o", tmp_path / "model.tlt") == 70
    assert list(tmp_path.iterdir()) == []


def test_lack_of_memory_is_named(
    of_detectron2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(model_file, "_archive", fail)
    assert imported("-c", of_detectron2, "--style", "detectron2", "-o", tmp_path / "model.tlt") == 64
    assert f"the memory is too small for the weights of {of_detectron2}" in as_written(caplog.messages[-1])
