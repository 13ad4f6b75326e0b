"""The backbones by ``maskrcnnConfig.arch``.

To add a backbone:

1. Write ``model/backbones/<family>.py`` with a class that has the members of `Backbone` (``resnet.py`` is one). Import
   Keras inside ``build`` only: the module is also read where TensorFlow is not installed.
2. Add an instance for each arch to `BACKBONES`.
3. Add its arch and its depths to the Literals ``arch`` and ``nlayers`` in ``spec/maskrcnn_config.py``, and run
   ``make manifests``: the CRD and docs/reference/resource.md follow.
4. A type of layer that the network did not have needs a rule in each of ``pruning/groups.py`` (which channels go
   together), ``pruning/flops.py`` (what a call costs) and ``export/dense.py`` (its ONNX nodes). A layer without a rule
   is refused by name. A layer with variables is made by a method of `BackboneLayers`.

These tests run over all that is registered here, so they need no change:

- tests/unit/model/backbones/test_registry.py: the spec offers what is registered, and nothing else.
- tests/trainer/model/backbones/test_registry.py: strides, freezing, names, and rules for every type of layer.
- tests/trainer/pruning/test_apply_equivalence.py: a pruned network gives what the whole one gives without the filters.
- tests/trainer/export/test_graph.py: the ONNX graph gives what the network gives.
- tests/trainer/model/test_network.py: folded batch norms change no value and no gradient.

Weights are the backbone's own matter: compare features with an independent forward pass, as
tests/trainer/training/pretrained/test_torch_names.py does for ResNet.
"""

from __future__ import annotations

from collections.abc import Mapping

from maskrcnn_trainer.model.backbones.protocol import Backbone
from maskrcnn_trainer.model.backbones.resnet import ResNet


def _by_arch(*backbones: Backbone) -> Mapping[str, Backbone]:
    return {backbone.arch: backbone for backbone in backbones}


BACKBONES = _by_arch(
    ResNet("resnet", epsilon=1e-3, as_torchvision=False),
    ResNet("resnet_v1_5", epsilon=1e-5, as_torchvision=True),
)
