"""Specs for the tests of the spec package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.spelling import use_names

PROTOTXT = """\
# A small experiment: two classes of textured shapes.
seed: 7
use_amp: True
warmup_steps: 100
warmup_learning_rate: 0.0005
init_learning_rate: 0.01  # for one GPU
learning_rate_steps: "[600, 800]"
learning_rate_decay_levels: "[0.1, 0.02]"
num_epochs: 3
num_examples_per_epoch: 101
train_batch_size: 4
eval_batch_size: 2
momentum: 0.8
l2_weight_decay: 0.0002
skip_checkpoint_variables: 'head'
data_config {
  image_size: "(128, 192)"
  augment_input_data: True
  num_classes: 3
  training_file_pattern: "/workspace/data/train*.tfrecord"
  validation_file_pattern: "/workspace/data/val*.tfrecord"
  val_json_file: "/workspace/data/val.json"
}
maskrcnn_config < nlayers: 18 arch: "resnet"
  freeze_bn: False
  freeze_blocks: "[]"
  aspect_ratios: "[(1.0, 1.0), (2.0, 0.5)]"
  bbox_reg_weights: "(10, 10, 5., 5.)"
  test_rpn_nms_thresh: 0.6
>
"""


@pytest.fixture(autouse=True)
def _camel_case_after_each_test() -> Iterator[None]:
    yield
    use_names({})


@pytest.fixture
def prototxt() -> str:
    """Return a complete spec of TAO Toolkit."""
    return PROTOTXT


@pytest.fixture
def minimal() -> dict[str, Any]:
    """Return only the required fields, in camelCase."""
    return {"initLearningRate": 0.02, "totalSteps": 1000, "dataConfig": {"imageSize": [128, 192], "numClasses": 3}}


@pytest.fixture(scope="session")
def sample() -> str:
    """Return the sample specification of TAO Toolkit's documentation, word for word."""
    folder = Path(os.environ.get("MASKRCNN_SEED", Path(__file__).resolve().parents[4] / "shared" / "seed"))
    for page in sorted(folder.glob("*.txt")):
        text = page.read_text(encoding="utf-8")
        start = text.find("\nseed: 123\n")
        if start >= 0:
            return text[start + 1 : text.index("\n}\nField |", start) + 3]
    pytest.skip(f"the documentation page of TAO Toolkit is not in {folder}: set MASKRCNN_SEED")
