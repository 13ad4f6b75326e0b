"""The nine-step experiment in a cluster, and Jobs and pods as an API server would show them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object

UID = "6f1c2d34-0000-4000-8000-000000000001"
MANIFEST = yaml.safe_load((Path(__file__).parents[1] / "core" / "nine_steps.yaml").read_text())

Change = Callable[[dict[str, Any]], object]
Make = Callable[..., MaskRCNNExperiment]


@pytest.fixture
def make() -> Make:
    """Makes the experiment as an API server holds it, after some changes of its spec."""

    def build(*changes: Change, uid: str = UID) -> MaskRCNNExperiment:
        manifest = copy.deepcopy(MANIFEST)
        manifest["metadata"] |= {"namespace": "lab", "uid": uid, "generation": 1}
        for change in changes:
            change(manifest["spec"])
        return read_object(manifest)

    return build


def at(seconds: float) -> datetime:
    """A moment of these tests."""
    return datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(seconds=seconds)


def written(seconds: float) -> str:
    """The same as an API server writes it."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
