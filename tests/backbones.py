"""Registered backbones, by arch and depth, for tests that take seconds with each."""

from __future__ import annotations

from maskrcnn_trainer.model.backbones.registry import BACKBONES

DISTINCT = [
    (arch, depth)
    for arch, backbone in BACKBONES.items()
    for depth in backbone.depths
    # Without bottlenecks it is resnet_v1_5, see tests/unit/model/backbones/test_resnet.py.
    if arch != "resnet_v1" or depth >= 50
]
"""All that build different networks."""

SMALLEST = [
    (arch, backbone.depths[0]) for arch, backbone in BACKBONES.items() if (arch, backbone.depths[0]) in DISTINCT
]
"""The smallest of each arch, if it isn't that of another one."""
