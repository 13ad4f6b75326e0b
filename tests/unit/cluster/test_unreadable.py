"""Status of experiments that cannot be read."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import Cache, ExperimentEntry
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.cluster.unreadable import report_on_unreadable
from maskrcnn_operator.core.notice import Notice, raw_conditions, with_notice

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEPS = [{"name": "train", "state": "Succeeded", "modelPath": "/workspace/nuclei/train/model"}, {"name": "evaluate"}]


def entry_of(experiment: dict[str, Any], status: Any) -> ExperimentEntry:
    cache = Cache()
    stored = copy.deepcopy(experiment)
    stored["metadata"] |= {"namespace": "ns", "resourceVersion": "7"}
    cache.put(EXPERIMENTS, {**stored, "status": status})
    found = cache.entry(Key("ns", "nuclei"))
    assert found is not None
    assert found.experiment is None
    return found


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"state": "Checkpointing"}, "status.steps[0].state"),
        ({"attempt": "third"}, "status.steps[0].attempt"),
        ({"metrics": [{"name": "AP", "value": 0.5}]}, "status.steps[0].metrics[0].value"),
    ],
)
def test_unreadable_status_gets_a_notice_and_no_new_steps(
    experiment_object: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    found = report_on_unreadable(entry_of(experiment_object, {"steps": [{**STEPS[0], **change}, STEPS[1]]}), NOW)
    assert isinstance(found, Notice)
    assert (found.reason, found.stalled) == (Reason.STATUS_UNREADABLE, True)
    assert field in found.message


def test_unreadable_spec_and_status_get_a_notice(experiment_object: dict[str, Any]) -> None:
    experiment_object["spec"]["steps"] = []
    found = report_on_unreadable(entry_of(experiment_object, {"steps": [{"name": "x", "state": "New"}]}), NOW)
    assert isinstance(found, Notice)


def test_existing_notice_is_not_written_again(experiment_object: dict[str, Any]) -> None:
    status: dict[str, Any] = {"steps": [{"name": "train", "state": "Checkpointing"}]}
    entry = entry_of(experiment_object, status)
    said = report_on_unreadable(entry, NOW)
    assert isinstance(said, Notice)
    stored = with_notice(raw_conditions(entry.raw or {}), said, entry.generation, NOW)
    assert report_on_unreadable(entry_of(experiment_object, {**status, "conditions": list(stored)}), NOW) is None


def test_readable_status_of_an_unreadable_spec_is_written_whole(experiment_object: dict[str, Any]) -> None:
    experiment_object["spec"]["steps"] = []
    status = report_on_unreadable(entry_of(experiment_object, {"steps": STEPS, "restarts": 2}), NOW)
    assert isinstance(status, dict)
    assert [step["name"] for step in status["steps"]] == ["train", "evaluate"]
    assert status["steps"][0]["modelPath"] == "/workspace/nuclei/train/model"
    assert {item["type"]: item["reason"] for item in status["conditions"]}["Stalled"] == Reason.INVALID_SPEC
    assert report_on_unreadable(entry_of(experiment_object, status), NOW) is None


def test_conditions_of_other_writers_cost_no_write(experiment_object: dict[str, Any]) -> None:
    experiment_object["spec"]["steps"] = []
    first = report_on_unreadable(entry_of(experiment_object, {}), NOW)
    assert isinstance(first, dict)
    foreign = {"type": "Approved", "status": "True", "reason": "ByHand", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    stored = {**first, "conditions": [foreign, *first["conditions"]]}
    assert report_on_unreadable(entry_of(experiment_object, stored), NOW) is None


def condition_types(report: Any) -> set[str]:
    assert isinstance(report, dict)
    return {item["type"] for item in report["conditions"] if item["status"] == "True"}


def unreadable_and_suspended(experiment: dict[str, Any], step: dict[str, Any]) -> ExperimentEntry:
    experiment["spec"] |= {"steps": [], "suspend": True}
    return entry_of(experiment, {"steps": [step]})


def test_unreadable_experiment_of_which_nothing_runs_is_suspended(experiment_object: dict[str, Any]) -> None:
    entry = unreadable_and_suspended(experiment_object, {"name": "train", "state": "Pending", "attempt": 1})
    report = report_on_unreadable(entry, NOW, nothing_runs=True)
    assert condition_types(report) == {"Stalled", "Suspended"}


@pytest.mark.parametrize(
    ("state", "nothing_runs"), [("Pending", False), ("Running", True)], ids=["a Job runs", "the status has a live step"]
)
def test_unreadable_experiment_is_not_suspended_before_everything_has_ended(
    experiment_object: dict[str, Any], state: str, nothing_runs: bool
) -> None:
    entry = unreadable_and_suspended(experiment_object, {"name": "train", "state": state, "attempt": 1})
    report = report_on_unreadable(entry, NOW, nothing_runs=nothing_runs)
    assert condition_types(report) == {"Stalled"}


@pytest.mark.parametrize("suspend", [False, "true", 1, None, {}])
def test_unreadable_experiment_is_suspended_only_by_true(experiment_object: dict[str, Any], suspend: object) -> None:
    experiment_object["spec"] |= {"steps": [], "suspend": suspend}
    report = report_on_unreadable(entry_of(experiment_object, {}), NOW, nothing_runs=True)
    assert condition_types(report) == {"Stalled"}
