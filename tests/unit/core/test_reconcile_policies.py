"""Order of the policies: of several reasons to stop an attempt, the first is reported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.reconcile import reconcile

from .conftest import Change, Make
from .world import SETTINGS, World


def spec_changed(spec: dict[str, Any]) -> None:
    spec["steps"][0]["datasetConvert"]["numShards"] = 8


def template_changed(spec: dict[str, Any]) -> None:
    spec["image"] = "trainer:2"


def suspended(spec: dict[str, Any]) -> None:
    spec["suspend"] = True


def deadline_of_all(spec: dict[str, Any]) -> None:
    spec["activeDeadlineSeconds"] = 1


def deadline_of_pods(spec: dict[str, Any]) -> None:
    spec["preRunningDeadlineSeconds"] = 60


def deadline_of_the_step(spec: dict[str, Any]) -> None:
    spec["steps"][0]["activeDeadlineSeconds"] = 1


IN_ORDER: Mapping[Change, tuple[str, str]] = {
    spec_changed: ("SpecChanged", "the step was changed"),
    template_changed: ("TemplateChanged", "never ran and is replaced"),
    suspended: ("Suspended", "spec.suspend is true"),
    deadline_of_all: ("DeadlineExceeded", "activeDeadlineSeconds (1) exceeded"),
    deadline_of_pods: ("PreRunningDeadlineExceeded", "preRunningDeadlineSeconds (60)"),
    deadline_of_the_step: ("DeadlineExceeded", "of step convert-train exceeded"),
}


@pytest.mark.parametrize("position", range(len(IN_ORDER)))
def test_first_reason_to_stop_an_attempt_stays(world: World, make: Make, position: int) -> None:
    world.settle()
    ran = {"active_seconds": 2}
    steps = tuple(step.model_copy(update=ran) for step in world.experiment.status.steps)
    status = world.experiment.status.model_copy(update={**ran, "steps": steps})
    happening = list(IN_ORDER.items())[position:]
    experiment = make(*(change for change, _ in happening)).with_status(status)
    later = world.now + timedelta(minutes=2)
    step = reconcile(experiment, list(world.runs.values()), later, SETTINGS).status.step("convert-train")
    (_, (reason, message)), *_ = happening
    assert step is not None
    assert (step.state, step.reason) == (StepState.STOPPING, reason)
    assert message in step.message
