"""Recordings of all releases: this release has nothing to do for them, and trains nothing again."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.status import ExperimentStatus

from .recording import RECORDED, RELEASE, SETTINGS, replayed, scenes

if os.environ.get("MASKRCNN_WRITE_RECORDED"):
    (RECORDED / RELEASE).mkdir(parents=True, exist_ok=True)
    for _name, _scene in scenes():
        (RECORDED / RELEASE / f"{_name}.yaml").write_text(_scene.to_yaml())

_NOT_ACTIVE = {"image-pull-back-off", "name-taken", "starting", "stopping"}
"""Release 0.1.0 called an experiment Running, and its time active, while its steps were only starting, and did not
record whether a stopping step has run. One write corrects that."""
_REWORDED = {"failed", "invalid", "suspended"}
"""States with messages whose wording has changed since release 0.1.0. One write replaces them, and records the
workspace."""

FILES = sorted(RECORDED.glob("*/*.yaml"))


def test_there_are_recordings_of_every_state() -> None:
    assert {file.stem for file in FILES if file.parent.name == RELEASE} == {name for name, _ in scenes()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
@pytest.mark.parametrize("image", [SETTINGS.default_image, "example.org/maskrcnn-trainer:9.9.9"])
def test_recordings_need_no_action(file: Path, image: str) -> None:
    content = yaml.safe_load(file.read_text())
    experiment = read_object(content["experiment"])
    now = datetime.fromisoformat(content["now"])
    settings = replace(SETTINGS, default_image=image)
    for later in (timedelta(), timedelta(seconds=5)):
        plan = replayed(experiment, content["jobs"], content["pods"], now + later, settings=settings)
        if plan.write_status and file.stem in _NOT_ACTIVE:
            assert (plan.status.steps, plan.status.active_since) == (experiment.status.steps, None)
            experiment = experiment.with_status(plan.status)
            plan = replayed(experiment, content["jobs"], content["pods"], now + later, settings=settings)
        if plan.write_status and file.stem in _REWORDED:
            assert without_corrections(plan.status) == without_corrections(experiment.status)
            experiment = experiment.with_status(plan.status)
            plan = replayed(experiment, content["jobs"], content["pods"], now + later, settings=settings)
        assert (plan.start, plan.stop, plan.forget, plan.events) == ((), (), (), ())
        assert not plan.write_status
        assert not plan.drop_progress
        assert not plan.delete_experiment
        assert plan.status == experiment.status


def without_corrections(status: ExperimentStatus) -> ExperimentStatus:
    steps = tuple(step.model_copy(update={"message": ""}) for step in status.steps)
    conditions = tuple(condition.model_copy(update={"message": ""}) for condition in status.conditions)
    return status.model_copy(update={"steps": steps, "conditions": conditions, "workspace": None})


def test_recordings_have_content() -> None:
    """Check that the recordings have content that could be handled wrongly."""
    content = yaml.safe_load((RECORDED / RELEASE / "training.yaml").read_text())
    experiment = read_object(content["experiment"])
    assert experiment.status.current_step == "train"
    lost = replayed(experiment, [], [], datetime.fromisoformat(content["now"]))
    assert lost.write_status
    back_off = yaml.safe_load((RECORDED / RELEASE / "back-off.yaml").read_text())
    later = datetime.fromisoformat(back_off["now"]) + timedelta(seconds=10)
    plan = replayed(read_object(back_off["experiment"]), back_off["jobs"], back_off["pods"], later)
    assert [(start.step, start.attempt) for start in plan.start] == [("train", 2)]
