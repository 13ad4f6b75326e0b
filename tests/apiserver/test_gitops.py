"""Flux's health check expressions, evaluated by the API server's CEL over recorded objects of every state.

A definition made for this test has the three expressions as validation rules, so that the API server's refusal of an
object lists the expressions that are false for it. Flux evaluates them in order: in progress, failed, current; an
object for which none is true is in progress.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from tests.apiserver.bed import Bed

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "unit" / "gitops" / "recorded"
KUSTOMIZATION = yaml.safe_load((ROOT / "docs" / "gitops" / "flux" / "kustomization.yaml").read_text())
PLURAL = "healthprobes"
GROUP = "test.maskrcnn.dev"

EXPECTED = {
    "just-seen": "inProgress",
    "running": "inProgress",
    "stopping": "inProgress",
    "queued": "inProgress",
    "waiting": "inProgress",
    "one-failed-others-run": "inProgress",
    "suspended": "none",
    "invalid": "failed",
    "failed": "failed",
    "done": "current",
}
ORDER = ("inProgress", "failed", "current")


def expressions() -> dict[str, str]:
    (found,) = KUSTOMIZATION["spec"]["healthCheckExprs"]
    assert (found["apiVersion"], found["kind"]) == ("maskrcnn.dev/v1alpha1", "MaskRCNNExperiment")
    return {name: found[name] for name in ORDER}


def of_self(expression: str) -> str:
    """Rewrite an expression over an object's fields as one over ``self``."""
    return re.sub(r"(?<![.\w])(status|metadata)\.", r"self.\1.", expression)


def definition() -> dict[str, Any]:
    text = {"type": "string", "maxLength": 64}
    condition = {"type": "object", "properties": {"type": text, "status": text}}
    # The status is part of spec, so that one write is enough, and metadata too: rules cannot read metadata.generation.
    seen = {
        "type": "object",
        "properties": {
            "observedGeneration": {"type": "integer"},
            "conditions": {"type": "array", "maxItems": 16, "items": condition},
        },
    }
    properties = {"status": seen, "metadata": {"type": "object", "properties": {"generation": {"type": "integer"}}}}
    rules = [{"rule": of_self(expression), "message": name} for name, expression in expressions().items()]
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": PLURAL, "singular": "healthprobe", "kind": "HealthProbe"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.fixture(scope="module")
def probe(bed: Bed, kubectl: Callable[..., CompletedProcess[str]]) -> Callable[[dict[str, Any]], str]:
    """Return a function that gives Flux's view of an object: the first expression that is true."""
    kubectl("apply", "-f", "-", input=json.dumps(definition()))
    bed.wait_established(f"crd/{PLURAL}.{GROUP}")

    def evaluate(experiment: dict[str, Any]) -> str:
        status = experiment["status"]
        conditions = [{"type": item["type"], "status": item["status"]} for item in status.get("conditions", ())]
        seen = {key: status[key] for key in ("observedGeneration",) if key in status}
        spec = {
            "metadata": {"generation": experiment["metadata"]["generation"]},
            "status": seen | ({"conditions": conditions} if "conditions" in status else {}),
        }
        value = {"apiVersion": f"{GROUP}/v1", "kind": "HealthProbe", "metadata": {"name": "probe"}, "spec": spec}
        answer = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(value), check=False)
        false = [name for name in ORDER if f": {name}" in answer.stderr]
        assert false or answer.returncode == 0, answer.stderr
        assert "evaluat" not in answer.stderr, answer.stderr
        return next((name for name in ORDER if name not in false), "none")

    return evaluate


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RECORDED / f"{name}.yaml").read_text())
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_object_has_the_expected_health(probe: Callable[[dict[str, Any]], str], name: str) -> None:
    assert probe(recorded(name)) == EXPECTED[name]


def test_missing_or_outdated_status_is_in_progress(probe: Callable[[dict[str, Any]], str]) -> None:
    done = recorded("done")
    assert probe({**done, "status": {}}) == "inProgress"
    assert probe({**done, "metadata": {"generation": 2}}) == "inProgress"


def test_every_recorded_object_has_an_expectation() -> None:
    assert {path.stem for path in RECORDED.glob("*.yaml")} == set(EXPECTED)
