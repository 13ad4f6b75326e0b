"""Registry of backbones by ``maskrcnnConfig.arch``.

To add a backbone:

1. Write ``model/backbones/<family>.py`` with a class that implements `Backbone`, such as ``resnet.py``. Import Keras
   only inside ``build``: the module is also imported where TensorFlow is not installed.
2. Add an instance for each arch to `BACKBONES`.
3. Add its arch and its depths to the Literals ``arch`` and ``nlayers`` in ``spec/maskrcnn_config.py``, and run
   ``make manifests``, which updates the CRD and docs/reference/resource.md.
4. A new type of layer needs a rule in each of ``pruning/groups.py`` (channels that are pruned together),
   ``pruning/flops.py`` (operations of a call), and ``export/dense.py`` (ONNX nodes). A layer without a rule raises an
   error that names it. A layer with variables is created by a method of `BackboneLayers`.

These tests cover all registered backbones and need no change:

- tests/unit/model/backbones/test_registry.py: the spec accepts exactly the registered backbones.
- tests/trainer/model/backbones/test_registry.py: strides, freezing, names, and rules for every type of layer.
- tests/trainer/pruning/test_apply_equivalence.py: a pruned network equals the full one without the removed filters.
- tests/trainer/export/test_graph.py: the ONNX graph has the same outputs as the network.
- tests/trainer/model/test_network.py: folded batch norms do not change values or gradients.

Pretrained weights need a test of the backbone: compare features with an independent forward pass, as
tests/trainer/training/pretrained/test_torch_names.py does for ResNet.
"""

from __future__ import annotations

from collections.abc import Mapping

from maskrcnn_trainer.model.backbones.protocol import Backbone
from maskrcnn_trainer.model.backbones.resnet import ResNet


def _by_arch(*backbones: Backbone) -> Mapping[str, Backbone]:
    return {backbone.arch: backbone for backbone in backbones}


BACKBONES = _by_arch(
    ResNet("resnet", epsilon=1e-3, as_torchvision=False, stride_on_1x1=True),
    ResNet("resnet_v1", epsilon=1e-5, as_torchvision=True, stride_on_1x1=True),
    ResNet("resnet_v1_5", epsilon=1e-5, as_torchvision=True, stride_on_1x1=False),
)
