"""Settings of a training that follow the network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.training.settings import TrainSettings

pytestmark = pytest.mark.trainer


def test_targets_follow_the_network_where_one_is_given(make_spec: Callable[..., ExperimentSpec]) -> None:
    network = Architecture(bbox_reg_weights=(1.0, 2.0, 3.0, 4.0), mrcnn_resolution=56)
    settings = TrainSettings.from_spec(make_spec(), architecture=network)
    assert (settings.sampling.bbox_reg_weights, settings.mask_resolution) == ((1.0, 2.0, 3.0, 4.0), 56)


def test_targets_are_those_of_the_spec_without_a_network(make_spec: Callable[..., ExperimentSpec]) -> None:
    settings = TrainSettings.from_spec(make_spec(model={"mrcnn_resolution": 16}), ranks=3)
    assert (settings.sampling.bbox_reg_weights, settings.mask_resolution) == ((10.0, 10.0, 5.0, 5.0), 16)
