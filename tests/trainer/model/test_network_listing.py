"""Number, names, shapes, and order of variables for every depth, compared with TAO Toolkit's listing."""

from __future__ import annotations

import math

import pytest

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN, variable_listing

pytestmark = pytest.mark.trainer

# Lines from TAO Toolkit's log for ResNet-50 and 91 classes.
ORIGINAL = """
[#0001] conv1/kernel:0 => (7, 7, 3, 64)
[#0002] bn_conv1/gamma:0 => (64,)
[#0003] bn_conv1/beta:0 => (64,)
[#0004] block_1a_conv_1/kernel:0 => (1, 1, 64, 64)
[#0005] block_1a_bn_1/gamma:0 => (64,)
[#0006] block_1a_bn_1/beta:0 => (64,)
[#0007] block_1a_conv_2/kernel:0 => (3, 3, 64, 64)
[#0008] block_1a_bn_2/gamma:0 => (64,)
[#0009] block_1a_bn_2/beta:0 => (64,)
[#0010] block_1a_conv_3/kernel:0 => (1, 1, 64, 256)
[#0011] block_1a_bn_3/gamma:0 => (256,)
[#0012] block_1a_bn_3/beta:0 => (256,)
[#0110] block_3d_bn_3/gamma:0 => (1024,)
[#0111] block_3d_bn_3/beta:0 => (1024,)
[#0144] block_4b_bn_1/beta:0 => (512,)
[#0174] post_hoc_d5/kernel:0 => (3, 3, 256, 256)
[#0175] post_hoc_d5/bias:0 => (256,)
[#0176] rpn/kernel:0 => (3, 3, 256, 256)
[#0177] rpn/bias:0 => (256,)
[#0178] rpn-class/kernel:0 => (1, 1, 256, 3)
[#0179] rpn-class/bias:0 => (3,)
[#0180] rpn-box/kernel:0 => (1, 1, 256, 12)
[#0181] rpn-box/bias:0 => (12,)
[#0182] fc6/kernel:0 => (12544, 1024)
[#0183] fc6/bias:0 => (1024,)
[#0184] fc7/kernel:0 => (1024, 1024)
[#0185] fc7/bias:0 => (1024,)
[#0186] class-predict/kernel:0 => (1024, 91)
[#0187] class-predict/bias:0 => (91,)
[#0188] box-predict/kernel:0 => (1024, 364)
[#0189] box-predict/bias:0 => (364,)
[#0190] mask-conv-l0/kernel:0 => (3, 3, 256, 256)
[#0191] mask-conv-l0/bias:0 => (256,)
[#0192] mask-conv-l1/kernel:0 => (3, 3, 256, 256)
[#0193] mask-conv-l1/bias:0 => (256,)
[#0194] mask-conv-l2/kernel:0 => (3, 3, 256, 256)
[#0195] mask-conv-l2/bias:0 => (256,)
[#0196] mask-conv-l3/kernel:0 => (3, 3, 256, 256)
[#0197] mask-conv-l3/bias:0 => (256,)
[#0198] conv5-mask/kernel:0 => (2, 2, 256, 256)
[#0199] conv5-mask/bias:0 => (256,)
[#0200] mask_fcn_logits/kernel:0 => (1, 1, 256, 91)
[#0201] mask_fcn_logits/bias:0 => (91,)
""".strip().splitlines()


@pytest.mark.parametrize(
    ("nlayers", "variables", "convs", "parameters", "with_statistics"),
    [
        (10, 81, 13, 25_119_217, 25_125_105),
        (18, 105, 21, 31_389_937, 31_399_665),
        (34, 153, 37, 41_498_097, 41_515_249),
        (50, 201, 53, 44_454_513, 44_507_633),
        (101, 354, 104, 63_446_641, 63_551_985),
    ],
)
def test_numbers_of_every_depth(
    nlayers: int, variables: int, convs: int, parameters: int, with_statistics: int
) -> None:
    network = MaskRCNN(Architecture(nlayers=nlayers, num_classes=91))
    assert len(network.trainable_variables) == variables
    kernels = [name for name in network.named_variables if name.endswith("/kernel")]
    assert sum(name.startswith(("conv1/", "block_")) for name in kernels) == convs
    assert sum(math.prod(v.shape) for v in network.trainable_variables) == parameters
    assert sum(math.prod(v.shape) for v in network.variables) == with_statistics
    if nlayers == 50:
        listing = variable_listing(network)
        assert len(listing) == 201
        for line in ORIGINAL:
            number = int(line[2:6])
            assert listing[number - 1] == line
        assert listing[111].startswith("[#0112] block_3e_conv_1/kernel:0 => (1, 1, 1024, ")
