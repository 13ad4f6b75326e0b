"""Properties of built backbones that the rest of the trainer relies on, for all registered backbones."""

from __future__ import annotations

import keras
import pytest
from tests.backbones import SMALLEST

from maskrcnn_trainer.export.dense import Emitted, LayerEmitter
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.pruning.flops import model_flops
from maskrcnn_trainer.pruning.groups import connectivity
from maskrcnn_trainer.pruning.walk import calls

pytestmark = pytest.mark.trainer

LARGEST = [(arch, backbone.depths[-1]) for arch, backbone in BACKBONES.items()]


def small(arch: str, depth: int, freeze_blocks: tuple[int, ...] = ()) -> MaskRCNN:
    layers = [layer for block in BACKBONES[arch].blocks(depth).values() for layer in block]
    architecture = Architecture(
        arch=arch,
        nlayers=depth,
        num_classes=2,
        fast_rcnn_mlp_head_dim=4,
        filters=dict.fromkeys(layers, 4),
    )
    return MaskRCNN(architecture, freeze_bn=False, freeze_blocks=freeze_blocks)


@pytest.fixture(scope="module", params=[*SMALLEST, *LARGEST], ids=lambda one: f"{one[0]}-{one[1]}")
def network(request: pytest.FixtureRequest) -> MaskRCNN:
    return small(*request.param)


def variables_of(network: MaskRCNN) -> list[str]:
    return [name for name in network.named_variables if network.network_path(name).startswith("backbone/")]


def test_stages_have_the_strides_of_levels_2_to_5(network: MaskRCNN) -> None:
    backbone, depth = network.architecture.backbone, network.architecture.nlayers
    stages = backbone.stages(depth)
    assert [stage.level for stage in stages] == [2, 3, 4, 5]
    outputs = {stage.level: network.feature_extractor.get_layer(stage.layer).output for stage in stages}
    shapes = keras.Model(network.feature_extractor.inputs, outputs).compute_output_shape((1, 64, 128, 3))
    assert {level: shape[1:3] for level, shape in shapes.items()} == {
        level: (64 >> level, 128 >> level) for level in outputs
    }
    laterals = {call.layer.name: call.inputs[0] for call in calls(network.feature_extractor)}
    assert all(laterals[f"l{level}"] is output for level, output in outputs.items())


def test_blocks_are_all_layers_with_variables(network: MaskRCNN) -> None:
    blocks = network.architecture.backbone.blocks(network.architecture.nlayers)
    named = {layer for block in blocks.values() for layer in block}
    assert named == {name.partition("/")[0] for name in variables_of(network)}


def test_backbone_owns_its_variables_and_no_others(network: MaskRCNN) -> None:
    owned = [name for name in network.named_variables if network.architecture.backbone.owns(name)]
    assert owned == variables_of(network)


def test_every_layer_can_be_pruned_counted_and_exported(network: MaskRCNN) -> None:
    connected = connectivity([network.feature_extractor])
    assert set(variables_of(network)) <= set(connected.slices)
    assert model_flops(network.feature_extractor, (1, 64, 64, 3)) > 0
    emitter = LayerEmitter(GraphBuilder(), {network.feature_extractor.inputs[0]: Emitted("images", (3, 64, 128))})
    for stage in network.architecture.backbone.stages(network.architecture.nlayers):
        emitted = emitter.emit(network.feature_extractor.get_layer(stage.layer).output)
        assert emitted.shape[1:] == (64 >> stage.level, 128 >> stage.level)


@pytest.mark.parametrize(("arch", "depth"), SMALLEST)
def test_frozen_blocks_freeze_their_layers_and_no_others(arch: str, depth: int) -> None:
    blocks = BACKBONES[arch].blocks(depth)
    frozen = tuple(blocks)[::2]
    network = small(arch, depth, freeze_blocks=frozen)
    trained = {network.variable_name(variable).partition("/")[0] for variable in network.trainable_variables}
    for block, layers in blocks.items():
        assert trained.isdisjoint(layers) if block in frozen else trained >= set(layers), block
