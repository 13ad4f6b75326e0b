"""Defaults of an installation for pods, and their precedence."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.jobs.defaults import JobDefaults, read_job_defaults
from maskrcnn_operator.jobs.manifests import job_manifest
from maskrcnn_trainer.errors import InvalidInput

from .test_manifests import Make, starts

TEXT = """
imagePullPolicy: IfNotPresent
imagePullSecrets: [{name: registry}]
nodeSelector: {pool: gpu}
tolerations: [{key: gpu, operator: Exists}]
queueName: research
"""


def job(make: Make, change: Any = None) -> dict[str, Any]:
    experiment = make(change) if change else make()
    config = JobConfig(default_image="trainer:1", defaults=read_job_defaults(TEXT, "defaults.yaml"))
    return job_manifest(experiment, starts(experiment)["evaluate"], config)


def test_experiment_without_settings_gets_the_defaults(make: Make) -> None:
    def without(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {}
        spec["queueName"] = ""

    made = job(make, without)
    pod = made["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert made["spec"]["suspend"] is True


def test_experiments_settings_override_defaults_field_by_field(make: Make) -> None:
    def asking(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"nodeSelector": {"pool": "cpu"}}
        spec["queueName"] = "own"

    made = job(make, asking)
    pod = made["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "own"


def security(make: Make, defaults: str, **overrides: Any) -> dict[str, Any]:
    """Return the ids in the pods' securityContext."""

    def change(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"securityContext": overrides} if overrides else {}

    config = JobConfig(default_image="trainer:1", defaults=read_job_defaults(defaults, "d"))
    experiment = make(change)
    found: dict[str, Any] = job_manifest(experiment, starts(experiment)["train"], config)["spec"]["template"]["spec"]
    context = found["securityContext"]
    assert context.pop("runAsNonRoot") is True
    assert context.pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert context.pop("fsGroupChangePolicy") == "OnRootMismatch"
    return dict(context)


PLATFORM = "securityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}"


def test_ids_are_1000_where_the_file_has_none(make: Make) -> None:
    assert security(make, "") == {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
    assert security(make, "securityContext: {runAsUser: 5}") == {"runAsUser": 5, "runAsGroup": 1000, "fsGroup": 1000}


def test_ids_that_are_null_are_left_to_the_platform(make: Make) -> None:
    assert security(make, PLATFORM) == {}
    assert security(make, "securityContext: {fsGroup: null}") == {"runAsUser": 1000, "runAsGroup": 1000}


def test_experiments_ids_override_the_platforms(make: Make) -> None:
    own = {"runAsUser": 7, "supplementalGroups": [5]}
    assert security(make, PLATFORM, **own) == own
    assert security(make, PLATFORM, fsGroup=0, supplementalGroups=[]) == {"fsGroup": 0}


def test_empty_file_has_no_defaults() -> None:
    assert read_job_defaults("", "d") == JobDefaults()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "d is invalid YAML"),
        ("[" * 3_000, "d is invalid YAML"),
        ("priorityClassName: !!bool x", "d is invalid YAML"),
        ("priorityClassName: a\npriorityClassName: b", "d is invalid YAML: duplicate key 'priorityClassName'"),
        ("nodeSelector: &a {b: *a}", "d is invalid YAML: the value of the anchor &a contains itself"),
        ("queueName: a\n---\nqueueName: b", "d must be a single mapping"),
        ("- 1", "d must be a single mapping"),
        ("nodeSelectors: {}", "nodeSelectors"),
        ("nodeSelector: [a]", "nodeSelector"),
        ("securityContext: {runAsUser: 0}", "securityContext.runAsUser"),
        ("securityContext: {privileged: true}", "securityContext.privileged"),
    ],
)
def test_invalid_defaults_are_refused_with_the_field(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_job_defaults(text, "d")
