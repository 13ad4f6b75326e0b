"""Volumes and mounts that a user can't give to pods, since those for object storage have their names and places."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.desired import resolve

from .conftest import Make

STORES = {"objectStores": [{"prefix": "s3://data"}]}
BUCKET = {"workspace": {"objectStorage": {"url": "s3://lab/results"}}}


TAKEN = [
    ({"volumes": [{"name": "maskrcnn-cache", "emptyDir": {}}]}, "volumes: found maskrcnn-cache;"),
    ({"volumes": [{"name": "maskrcnn-store-7", "emptyDir": {}}]}, "volumes: found maskrcnn-store-7;"),
    ({"volumeMounts": [{"name": "a", "mountPath": "/var/cache//maskrcnn/"}]}, "volumeMounts: found /var/cache//"),
    (
        {"volumeMounts": [{"name": "a", "mountPath": "/var/run/secrets/maskrcnn-stores/0"}]},
        "volumeMounts: found /var/run/secrets/maskrcnn-stores/0;",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), TAKEN)
def test_volume_or_mount_in_the_place_of_an_input_is_a_problem(
    make: Make, overrides: dict[str, Any], message: str
) -> None:
    (of_all,) = resolve(make(lambda spec: spec.update(STORES, podOverrides=overrides))).problems
    assert str(of_all).startswith(f"spec.podOverrides.{message}")
    own = make(lambda spec: spec.update(STORES), lambda spec: spec["steps"][2].update(podOverrides=overrides))
    (of_one,) = resolve(own).problems
    assert str(of_one).startswith(f"spec.steps[2].podOverrides.{message}")


@pytest.mark.parametrize(("overrides", "_"), TAKEN)
def test_volume_or_mount_of_a_step_without_urls_is_accepted(make: Make, overrides: dict[str, Any], _: str) -> None:
    assert resolve(make(lambda spec: spec.update(podOverrides=overrides))).problems == ()


@pytest.mark.parametrize(
    "overrides",
    [
        {"volumes": [{"name": "maskrcnn-caches", "emptyDir": {}}]},
        {"volumeMounts": [{"name": "a", "mountPath": "/var/cache/maskrcnn2"}]},
        {"volumeMounts": [{"name": "a", "mountPath": "/var/cache"}]},
    ],
)
def test_volume_or_mount_next_to_an_input_is_accepted(make: Make, overrides: dict[str, Any]) -> None:
    assert resolve(make(lambda spec: spec.update(STORES, podOverrides=overrides))).problems == ()


SCRATCH = [
    ({"volumes": [{"name": "maskrcnn-scratch", "emptyDir": {}}]}, "volumes: found maskrcnn-scratch;"),
    ({"volumeMounts": [{"name": "a", "mountPath": "/scratch/mine"}]}, "volumeMounts: found /scratch/mine;"),
    ({"volumeMounts": [{"name": "a", "mountPath": "/workspace/data"}]}, "volumeMounts: found /workspace/data;"),
]


@pytest.mark.parametrize(("overrides", "message"), SCRATCH)
def test_volume_or_mount_in_the_place_of_unpublished_results_is_a_problem(
    make: Make, overrides: dict[str, Any], message: str
) -> None:
    (problem,) = resolve(make(lambda spec: spec.update(BUCKET, podOverrides=overrides))).problems
    assert str(problem).startswith(f"spec.podOverrides.{message}")


@pytest.mark.parametrize(("overrides", "_"), SCRATCH)
def test_volume_or_mount_with_that_name_is_accepted_with_a_claim(make: Make, overrides: dict[str, Any], _: str) -> None:
    assert resolve(make(lambda spec: spec.update(STORES, podOverrides=overrides))).problems == ()
