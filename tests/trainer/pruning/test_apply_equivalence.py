"""A pruned network has the same outputs as the full one with the removed filters zeroed.

A filter is zeroed if its kernel, its bias, and the scale and shift of its batch norm are zero, so that its output is
zero everywhere. The outputs must be equal for any choice of filters, and for every registered backbone and depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from tests.backbones import DISTINCT

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import assign_variables, network_of
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.pruning.apply import Retained, apply
from maskrcnn_trainer.pruning.groups import Connectivity, connectivity

pytestmark = pytest.mark.trainer

SIDE = 64
LATE = ["l2", "l3", "l4", "l5", "post_hoc_d2", "post_hoc_d3", "post_hoc_d4", "post_hoc_d5", "rpn", "conv5-mask"]
LATE += [f"mask-conv-l{i}" for i in range(4)]


def narrow(arch: str, depth: int) -> MaskRCNN:
    """Return a network of all layers with few filters, so that a hundred layers are built in seconds."""
    layers = [layer for block in BACKBONES[arch].blocks(depth).values() for layer in block]
    architecture = Architecture(
        nlayers=depth,
        arch=arch,
        num_classes=3,
        fast_rcnn_mlp_head_dim=24,
        mrcnn_resolution=8,
        filters=dict.fromkeys([*layers, *LATE], 10),
    )
    network = MaskRCNN(architecture)
    # A batch norm has no filters, and a model file that has some for it is refused.
    filters = {name: 10 for name in architecture.filters if not isinstance(network.layers[name], BatchNorm)}
    network.architecture = replace(architecture, filters=filters)
    return network


def filled(network: MaskRCNN, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Return random values for all variables, also for those that are initialized with zeros or ones."""
    values = {}
    for name, variable in network.named_variables.items():
        shape, kind = tuple(variable.shape), name.rpartition("/")[2]
        if kind == "kernel":
            # He et al. 2015: the variance stays the same from layer to layer in a ReLU network.
            fan_in = int(np.prod(shape[:-1]))
            values[name] = generator.normal(0, np.sqrt(2 / fan_in), shape)
        elif kind in ("gamma", "moving_variance"):
            values[name] = generator.uniform(0.5, 1.2, shape)
        else:
            values[name] = generator.normal(0, 0.3, shape)
    return {name: value.astype(np.float32) for name, value in values.items()}


def random_masks(connected: Connectivity, generator: np.random.Generator) -> Retained:
    """Return some filters of each group that may be pruned: at least one stays, and at least one is removed."""
    return {
        number: np.sort(generator.permutation(group.filters)[: generator.integers(1, group.filters)])
        for number, group in enumerate(connected.groups)
        if group.whole is None
    }


def zeroed(
    network: MaskRCNN, values: Mapping[str, np.ndarray], connected: Connectivity, retained: Retained
) -> dict[str, np.ndarray]:
    """Return ``values`` with the removed filters zeroed, without using pruning's result for other layers."""
    changed = {name: value.copy() for name, value in values.items()}
    norms = {
        layer.input._keras_history.operation.name: layer.name
        for layer in network.feature_extractor.layers
        if isinstance(layer, BatchNorm)
    }
    for number, kept in retained.items():
        gone = np.setdiff1d(np.arange(connected.groups[number].filters), kept)
        for layer in connected.groups[number].members:
            norm = norms.get(layer)
            for name in (f"{layer}/kernel", f"{layer}/bias", f"{norm}/gamma", f"{norm}/beta"):
                if name in changed:
                    changed[name][..., gone] = 0
    return changed


def outputs(network: MaskRCNN) -> dict[str, np.ndarray]:
    """Return all outputs of the three parts of the network for fixed random inputs."""
    generator = np.random.default_rng(7)

    def random(shape: tuple[int, ...]) -> np.ndarray:
        return generator.normal(size=shape).astype(np.float32)

    features = {name: value.numpy() for name, value in network.feature_extractor(random((2, SIDE, SIDE, 3))).items()}
    logits, deltas = network.box_head(random((5, *network.box_head.inputs[0].shape[1:])))
    masks = network.mask_head(random((5, *network.mask_head.inputs[0].shape[1:])))
    return {**features, "class_logits": logits.numpy(), "box_deltas": deltas.numpy(), "mask_logits": masks.numpy()}


def prove(network: MaskRCNN, seed: int, masks: int) -> None:
    generator, architecture = np.random.default_rng(seed), network.architecture
    connected = connectivity([network.feature_extractor, network.box_head, network.mask_head])
    values = filled(network, generator)
    model = ModelFile(architecture.to_json(), experiment={}, class_map={}, step=9, variables=values)
    assign_variables(network, model)
    whole = outputs(network)
    for _ in range(masks):
        retained = random_masks(connected, generator)
        pruned = apply(model, connected, retained)
        assert pruned.retrain_required
        narrower = network_of(pruned)
        for number, kept in retained.items():
            for layer in connected.groups[number].members:
                assert narrower.architecture.filters[layer] == len(kept)
        assert replace(narrower.architecture, filters={}) == replace(architecture, filters={})
        without = ModelFile(architecture.to_json(), {}, {}, 9, variables=zeroed(network, values, connected, retained))
        assign_variables(network, without)
        expected, found = outputs(network), outputs(narrower)
        assert set(expected) >= {"p2", "p5", "rpn_logits", "rpn_deltas", "class_logits", "mask_logits"}
        for name, value in expected.items():
            size = np.abs(value).max()
            assert size > 1e-3, f"{name} is nearly zero"
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4 * max(1.0, size), err_msg=name)
            assert np.abs(value - whole[name]).max() > 1e-2 * size, f"{name} does not depend on the zeroed filters"


# The strides of resnet_v1 are in the blocks that both depths have.
@pytest.mark.parametrize(("arch", "depth"), [one for one in DISTINCT if one != ("resnet_v1", 101)])
def test_pruned_network_equals_the_full_one_with_removed_filters_set_to_zero(arch: str, depth: int) -> None:
    prove(narrow(arch, depth), seed=depth, masks=1 if depth >= 50 else 2)


def test_pruned_network_of_full_width_with_five_levels_equals_the_full_one() -> None:
    architecture = Architecture(
        nlayers=10,
        num_classes=4,
        max_level=5,
        fast_rcnn_mlp_head_dim=64,
        batch_norm_epsilon=0.0,
        mask_pasting="whole_pixels",
    )
    prove(MaskRCNN(architecture), seed=1, masks=1)
