"""Message for a spec that contradicts a model file."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.contradictions import refuse_contradictions

ARCH = 'maskrcnnConfig.arch: "resnet" in the spec, but the model was built with "resnet_v1"'
DEPTH = "maskrcnnConfig.nlayers: 50 in the spec, but the model was built with 101"
CLASSES = "dataConfig.numClasses: 2 in the spec, but the model was built with 91"
SIZE = "dataConfig.imageSize: [128, 128] in the spec, but the model was exported with [832, 1344]"
REMOVED = "from the spec, with kubectl edit where release 0.1.0 has stored defaults in a MaskRCNNExperiment"


def test_spec_without_contradictions_is_taken() -> None:
    refuse_contradictions("model.tlt", [])


@pytest.mark.parametrize(
    ("contradictions", "advice"),
    [
        ([DEPTH], f"remove maskrcnnConfig.nlayers {REMOVED}"),
        ([ARCH, DEPTH], f"remove maskrcnnConfig.arch and maskrcnnConfig.nlayers {REMOVED}"),
        # a spec cannot be without these
        ([CLASSES, SIZE], "set dataConfig.numClasses and dataConfig.imageSize as in the file"),
        ([DEPTH, CLASSES], f"set dataConfig.numClasses as in the file, and remove maskrcnnConfig.nlayers {REMOVED}"),
    ],
)
def test_message_names_each_field_and_how_to_follow_the_file(contradictions: list[str], advice: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse_contradictions("model.tlt", contradictions)
    assert str(caught.value) == (
        f"model.tlt does not match the spec: {'; '.join(contradictions)}. To follow the file, {advice}"
    )
    assert caught.value.exit_code == 64
