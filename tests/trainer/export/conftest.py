"""Small networks with weights for which batch norms, boxes and classes affect the results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec

Built = tuple[MaskRCNN, ExperimentSpec, ClassMap]


def small_spec(size: tuple[int, int], num_classes: int, **model: Any) -> ExperimentSpec:
    settings = {
        "nlayers": 10,
        "mrcnnResolution": 16,
        "fastRcnnMlpHeadDim": 32,
        "testRpnPreNmsTopn": 150,
        "testRpnPostNmsTopn": 60,
        "testDetectionsPerImage": 20,
    }
    return parse_spec(
        {
            "totalSteps": 10,
            "initLearningRate": 0.01,
            "evalBatchSize": 3,
            "dataConfig": {"imageSize": list(size), "numClasses": num_classes},
            "maskrcnnConfig": settings | model,
        }
    )


def randomize(network: MaskRCNN, seed: int) -> None:
    """Set statistics that differ from a new layer's, and weights whose predictions differ between positions."""
    rng = np.random.default_rng(seed)
    wide = {"rpn-class/kernel": 0.05, "rpn-box/kernel": 0.05, "class-predict/kernel": 0.1, "box-predict/kernel": 0.02}
    draws: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
        "moving_mean": lambda shape: rng.normal(0, 0.2, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 2, shape),
        "gamma": lambda shape: rng.uniform(0.7, 1.3, shape),
        "beta": lambda shape: rng.normal(0, 0.2, shape),
        "bias": lambda shape: rng.normal(0, 0.05, shape),
    }
    for name, variable in network.named_variables.items():
        kind = name.rpartition("/")[2]
        if kind in draws:
            variable.assign(draws[kind](tuple(variable.shape)))
        elif name in wide:
            variable.assign(rng.normal(0, wide[name], tuple(variable.shape)))


def smooth_images(size: tuple[int, int], count: int) -> np.ndarray:
    """Return float32 [count, H, W, 3]; white noise would give scores so similar that rounding reorders them."""
    coarse = np.random.default_rng(count).normal(size=(count, size[0] // 8, size[1] // 8, 3)).astype(np.float32)
    return tf.image.resize(coarse, size).numpy()


@pytest.fixture(scope="session")
def build() -> Callable[..., Built]:
    def built(
        size: tuple[int, int],
        num_classes: int,
        filters: dict[str, int] | None = None,
        settings: dict[str, Any] | None = None,
        **model: Any,
    ) -> Built:
        spec = small_spec(size, num_classes, **model)
        values = Architecture.from_spec(spec).to_json() | {"filters": filters or {}} | (settings or {})
        network = MaskRCNN(Architecture.from_json(values), seed=3)
        randomize(network, num_classes)
        ids = tuple(range(1, num_classes))
        return network, spec, ClassMap(ids, tuple(f"class {one}" for one in ids), num_classes)

    return built
