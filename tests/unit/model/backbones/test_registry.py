"""The experiment spec accepts the registered backbones, and the registry does not need TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import maskrcnn_trainer
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.spec.maskrcnn_config import MaskRCNNConfig

FREEZE_BLOCKS = MaskRCNNConfig.model_json_schema()["properties"]["freezeBlocks"]
ALL = [(arch, depth) for arch, backbone in BACKBONES.items() for depth in backbone.depths]


def offered(field: str) -> set[Any]:
    return set(get_args(MaskRCNNConfig.model_fields[field].annotation))


def test_arch_of_the_spec_is_what_is_registered() -> None:
    registered = set(BACKBONES)
    assert not registered - offered("arch"), "registered, but not in the Literal of maskrcnnConfig.arch"
    assert not offered("arch") - registered, "in the Literal of maskrcnnConfig.arch, but not registered"


def test_nlayers_of_the_spec_are_the_depths_of_the_registered() -> None:
    registered = {depth for backbone in BACKBONES.values() for depth in backbone.depths}
    assert not registered - offered("nlayers"), "a backbone has depths that maskrcnnConfig.nlayers does not offer"
    assert not offered("nlayers") - registered, "maskrcnnConfig.nlayers offers depths that no backbone has"


@pytest.mark.parametrize("arch", BACKBONES)
def test_freeze_blocks_of_the_spec_are_the_blocks_of_every_backbone(arch: str) -> None:
    backbone, items = BACKBONES[arch], FREEZE_BLOCKS["items"]
    for depth in backbone.depths:
        assert list(backbone.blocks(depth)) == list(range(items["minimum"], items["maximum"] + 1)), (arch, depth)
        assert len(backbone.blocks(depth)) == FREEZE_BLOCKS["maxItems"], (arch, depth)


@pytest.mark.parametrize(("arch", "depth"), ALL)
def test_layer_is_in_one_block_and_its_variables_are_owned(arch: str, depth: int) -> None:
    layers = [layer for block in BACKBONES[arch].blocks(depth).values() for layer in block]
    assert len(layers) == len(set(layers))
    assert all(BACKBONES[arch].owns(f"{layer}/kernel") for layer in layers)


@pytest.mark.parametrize(("arch", "depth"), ALL)
def test_depth_of_a_file_is_recognized_from_its_variables(arch: str, depth: int) -> None:
    backbone = BACKBONES[arch]
    variables = {f"{layer}/kernel" for block in backbone.blocks(depth).values() for layer in block}
    for other in backbone.depths:
        assert (backbone.found_instead(variables, other) is None) == (depth == other), other


def test_registry_is_read_without_tensorflow() -> None:
    script = (
        "import sys, maskrcnn_trainer.model.architecture;"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def texts_of(file: Path) -> Iterator[str]:
    """Return the texts in the code of a file, docstrings left out."""
    tree = ast.parse(file.read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.value


def test_no_package_but_model_spec_and_weights_names_a_family() -> None:
    """Files of other projects that `weights` reads hold a ResNet."""
    root = Path(maskrcnn_trainer.__file__).parent
    families = {backbone.title.lower() for backbone in BACKBONES.values()}
    found = [
        f"{file.relative_to(root)}: {text}"
        for file in sorted(root.rglob("*.py"))
        if file.relative_to(root).parts[0] not in ("model", "spec", "weights")
        for text in texts_of(file)
        if any(family in text.lower() for family in families)
    ]
    assert not found, "ask the backbone for what these texts say:\n" + "\n".join(found)
