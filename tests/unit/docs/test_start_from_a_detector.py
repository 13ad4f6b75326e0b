"""The page on detectors of other projects: styles, fields, sizes, numbers, and refusals are those of the code."""

from __future__ import annotations

import ast
import re
import textwrap
import typing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from maskrcnn_trainer.data.padded_image import pad_image
from maskrcnn_trainer.spec import ExperimentSpec, read_spec
from maskrcnn_trainer.weights import refusals
from maskrcnn_trainer.weights.style import STYLES, StyleName

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "how-to" / "start-from-a-detector.md").read_text(encoding="utf-8")
TRAINER = ROOT / "trainer" / "maskrcnn_trainer"
REFUSING = ("refusals", "project", "detector", "style_choice", "opening", "input_statistics")
"""Modules whose messages the page lists."""


def section(title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without their heads."""
    lines = text.splitlines()
    found = []
    for above, line in pairwise(lines):
        if line.startswith("|") and not line.startswith("|---") and above.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def fields_of(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a spec as YAML has them, without those of the parts that they are in."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(field.alias or name)
        for part in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                names |= fields_of(part)
    return names


def strings(module: str) -> list[str]:
    """Return the texts in a module, without importing it; a value in one is {}."""
    found = []
    for node in ast.walk(ast.parse((TRAINER / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def constant(module: str, name: str) -> int:
    """Return a number in a module that needs TensorFlow."""
    [value] = re.findall(rf"^{name} = (\d+)$", (TRAINER / f"{module}.py").read_text(encoding="utf-8"), re.MULTILINE)
    return int(value)


def test_each_style_is_chosen_proved_or_explained_and_no_other_is_named() -> None:
    chosen = {cells[1].strip("`") for cells in rows(section("Choose the style"))}
    assert chosen == set(StyleName)
    named = set(re.findall(r"checkpointStyle: ([\w-]+)|--style ([\w-]+)", PAGE))
    assert {name for pair in named for name in pair if name} <= set(StyleName)
    proved = [cells[1].strip("`") for cells in rows(section("Prove it on real weights"))]
    # the model zoos have no model of the style that is missing
    assert set(proved) == set(StyleName) - {StyleName.DETECTRON2_TORCHVISION}


def test_fields_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`(?:\w+\.)*([a-z]+[A-Z]\w+)(?:: [^`]*)?`", PAGE))
    assert {
        "checkpointStyle",
        "checkpointConfig",
        "checkpointBnEpsilon",
        "checkpointClassNames",
        "classMapping",
    } <= named
    assert {"freezeBnAffine", "freezeBlocks", "testCandidateLimit", "imageSize"} <= named
    assert named <= fields_of(ExperimentSpec)


def test_settings_of_the_original_trainings_are_those_of_the_styles() -> None:
    listed = {cells[0].strip("`"): cells[1:] for cells in rows(section("What to freeze, and the learning rate"))}
    assert listed == {
        name: [str(not style.bn_affine_trained).lower(), str(list(style.frozen_blocks))]
        for name, style in STYLES.items()
    }


def test_epsilon_of_torchvision_is_that_of_the_style() -> None:
    text = " ".join(section("Epsilon of torchvision").split())
    assert f"the style `torchvision` has {STYLES[StyleName.TORCHVISION].bn_epsilon:g}," in text
    assert "`checkpointBnEpsilon`" in text


def test_scales_of_images_are_those_of_the_padded_image() -> None:
    text = section("Size of the images")
    canvases = [(int(height), int(width)) for height, width in re.findall(r"\[(\d+), (\d+)\] (?=\|)", text)]
    assert len(canvases) == 3
    listed = rows(text)
    assert len(listed) > 3
    for size, *scales in listed:
        width, height = map(int, size.split("x"))
        original = min(800 / min(width, height), 1333 / max(width, height))
        image = np.zeros((height, width, 3), np.uint8)
        shown = [1 / pad_image(image, canvas).image_info[2] / original for canvas in canvases]
        assert scales == [f"{scale:.2f}" for scale in shown], size


def test_limit_of_an_export_is_that_of_the_code() -> None:
    text = " ".join(section("Evaluate, run, or export it as it is").split())
    limit, documented = constant("model/architecture", "LARGEST_TOPK"), constant("export/graph", "SAFE_TOPK")
    assert f"TensorRT sorts at most {limit:,}," in text
    assert f"`maskrcnnConfig.testCandidateLimit`, at most {limit};" in text
    assert f"TensorRT 8.6 documents {documented:,}." in text
    assert "with more than three classes" in text
    assert 3 * 1000 <= limit < 4 * 1000, "pairs of 1,000 proposals and the classes"


def test_line_of_the_log_is_that_of_the_training() -> None:
    [line] = re.findall(r"^\S+ INFO +checkpoint: class layers: (.+)$", PAGE, re.MULTILINE)
    texts = [
        text for text in strings("training/pretrained/class_layers") if text.startswith("weights of the background")
    ]
    [pattern] = [re.escape(text).replace(r"\{\}", "(.*)") for text in texts if "{}" in text]
    found = re.fullmatch(pattern, line)
    assert found
    assert found.groups() == ("2 classes (pedestrian, car)", "1 class (scooter)", "")


def test_spec_for_the_proof_is_complete(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(initLearningRate.*?)```", PAGE, re.DOTALL)
    spec = read_spec(text).spec
    assert spec.data_config.num_classes == 91
    assert not spec.maskrcnn_config.model_fields_set


def test_each_manifest_gives_what_its_file_needs() -> None:
    blocks = re.findall(r"```yaml\n(spec:.*?)```", PAGE, re.DOTALL)
    found = [yaml.safe_load(textwrap.dedent(block))["spec"]["experiment"] for block in blocks]
    assert [given.get("checkpointStyle", "config") for given in found] == ["torchvision", "config", "mmdet-pytorch"]
    assert all("checkpointStyle" in given or "checkpointConfig" in given for given in found)
    for given in found:
        style = STYLES[StyleName(given.get("checkpointStyle", "detectron2"))]
        assert given.get("maskrcnnConfig", {}).get("freezeBnAffine", False) is not style.bn_affine_trained


def test_refusals_on_the_page_are_those_of_the_code() -> None:
    texts = "\n".join(text for module in REFUSING for text in strings(f"weights/{module}"))
    listed = [cells[0].strip("`") for cells in rows(section("What is refused"))]
    assert len(listed) > 15
    assert [phrase for phrase in listed if phrase not in texts] == []


@pytest.mark.parametrize("row", [*refusals._PRESENT, *refusals._ABSENT], ids=lambda row: f"{row.project}: {row.model}")
def test_each_model_that_is_refused_by_its_names_is_on_the_page(row: object) -> None:
    listed = [cells[0].strip("`") for cells in rows(section("What is refused"))]
    model = getattr(row, "model", "")
    assert any(phrase in model for phrase in listed), model
