"""The nine-step experiment, and ways to change it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.core.runs import RunState

from .world import World

Change = Callable[[dict[str, Any]], object]
Make = Callable[..., MaskRCNNExperiment]

MANIFEST = yaml.safe_load(Path(__file__).with_name("nine_steps.yaml").read_text())


BUCKET = "s3://results/lab"


def in_a_bucket(spec: dict[str, Any]) -> None:
    """Give the experiment a workspace in object storage."""
    spec["workspace"] = {"objectStorage": {"url": BUCKET}}


@pytest.fixture
def make() -> Make:
    """Return a function that makes the nine-step experiment after changes of its spec (a dictionary, in place)."""

    def build(*changes: Change) -> MaskRCNNExperiment:
        manifest = copy.deepcopy(MANIFEST)
        for change in changes:
            change(manifest["spec"])
        return read_object(manifest)

    return build


@pytest.fixture
def world(make: Make) -> World:
    """Return the nine-step experiment before its first reconciliation."""
    return World(make())


@pytest.fixture
def training(world: World) -> World:
    """Return the experiment with succeeded conversions and a running training."""
    world.settle()
    world.succeed("convert-train", "convert-val")
    world.change("train", state=RunState.RUNNING, ran=world.now)
    world.settle()
    return world
