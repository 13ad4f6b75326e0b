"""Argo CD's view of an experiment: the health script in a real Lua interpreter over recorded objects."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import LuaRuntime

ROOT = Path(__file__).resolve().parents[3]
ARGOCD = ROOT / "docs" / "gitops" / "argocd"
RECORDED = Path(__file__).with_name("recorded")

# for every recorded object: its documented conditions, and the health that Argo CD shows
ROWS: dict[str, tuple[dict[str, str], str]] = {
    "just-seen": ({"Reconciling": "True", "Succeeded": "Unknown", "Ready": "Unknown"}, "Progressing"),
    "running": ({"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}, "Progressing"),
    "stopping": ({"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}, "Progressing"),
    "queued": ({"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}, "Progressing"),
    "waiting": ({"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}, "Progressing"),
    "one-failed-others-run": ({"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}, "Progressing"),
    "suspended": ({"Suspended": "True", "Succeeded": "Unknown", "Ready": "True"}, "Suspended"),
    "invalid": ({"Stalled": "True", "Succeeded": "Unknown", "Ready": "False"}, "Degraded"),
    "failed": ({"Stalled": "True", "Succeeded": "False", "Ready": "False"}, "Degraded"),
    "done": ({"Succeeded": "True", "Ready": "True"}, "Healthy"),
}


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RECORDED / f"{name}.yaml").read_text())
    return found


def health(experiment: dict[str, Any]) -> tuple[str, str]:
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.globals().obj = lua.table_from(experiment, recursive=True)
    # Argo CD provides no library that accesses the machine
    for name in ("os", "io", "package", "require", "python"):
        lua.globals()[name] = None
    result = lua.execute((ARGOCD / "health.lua").read_text())
    return result.status, result.message


def test_every_recorded_object_has_a_row() -> None:
    assert {path.stem for path in RECORDED.glob("*.yaml")} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_recorded_object_has_the_documented_health(name: str) -> None:
    experiment = recorded(name)
    conditions, expected = ROWS[name]
    assert {item["type"]: item["status"] for item in experiment["status"]["conditions"]} == conditions
    ready = next(item for item in experiment["status"]["conditions"] if item["type"] == "Ready")
    assert health(experiment) == (expected, ready["message"])


def test_experiment_without_conditions_is_progressing() -> None:
    experiment = recorded("done")
    del experiment["status"]
    assert health(experiment) == ("Progressing", "Waiting for the operator")
    experiment["status"] = {"observedGeneration": 1}
    assert health(experiment) == ("Progressing", "Waiting for the operator")


@pytest.mark.parametrize("name", ["done", "failed", "suspended"])
def test_outdated_status_is_progressing(name: str) -> None:
    experiment = recorded(name)
    experiment["metadata"]["generation"] += 1
    assert health(experiment)[0] == "Progressing"


def test_experiment_being_deleted_is_progressing() -> None:
    experiment = recorded("failed")
    experiment["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert health(experiment) == ("Progressing", "Being deleted")


@pytest.mark.parametrize(("name", "expected"), [("invalid", "Degraded"), ("done", "Healthy")])
def test_invalid_or_finished_experiment_keeps_its_health_when_suspended(name: str, expected: str) -> None:
    experiment = copy.deepcopy(recorded(name))
    experiment["status"]["conditions"].insert(0, {"type": "Suspended", "status": "True", "reason": "Suspended"})
    assert health(experiment)[0] == expected


def test_snippet_for_argocd_cm_has_the_script_and_ignores_progress() -> None:
    data = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text())["data"]
    assert (
        data.pop("resource.customizations.health.maskrcnn.dev_MaskRCNNExperiment")
        == (ARGOCD / "health.lua").read_text()
    )
    ignored = yaml.safe_load(data.pop("resource.customizations.ignoreResourceUpdates.maskrcnn.dev_MaskRCNNExperiment"))
    assert ignored == {"jsonPointers": ["/status/progress"]}
    assert not data
