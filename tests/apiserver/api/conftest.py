"""Fixtures of the tests of the resource: it is served, and an older release of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest
from tests.apiserver.bed import Bed

from maskrcnn_operator.api.base import PLURAL
from maskrcnn_operator.api.crd import custom_resource_definition

Kubectl = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def served(kubectl: Kubectl, crd: None) -> None:
    """Wait until kubectl finds the resource by its short name; its cached list of resources may be older."""
    deadline = time.monotonic() + 60
    while (done := kubectl("get", "mrx", "-A", check=False)).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shared_namespace(bed: Bed, served: None) -> Iterator[str]:
    """Create one namespace for dry runs, which leave nothing behind."""
    name = bed.create_namespace("manifests")
    yield name
    bed.delete_namespace(name)


def without_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without bounds and rules, as in an older release."""
    gone = ("maxLength", "maxItems", "maxProperties", "maximum", "minimum", "pattern", "x-kubernetes-validations")
    found = {key: value for key, value in schema.items() if key not in gone}
    if "items" in found:
        found["items"] = without_bounds(found["items"])
    if "additionalProperties" in found:
        found["additionalProperties"] = without_bounds(found["additionalProperties"])
    if "properties" in found:
        found["properties"] = {name: without_bounds(value) for name, value in found["properties"].items()}
    return found


def older_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of an older release.

    It has no bounds and rules, steps in the status are merged by name, and the only kind of workspace is a claim.
    """
    found = without_bounds(schema)
    workspace = found["properties"]["spec"]["properties"]["workspace"]
    del workspace["properties"]["objectStorage"]
    workspace["required"] = ["persistentVolumeClaim"]
    found["properties"]["status"]["properties"]["steps"] |= {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    return found


@pytest.fixture
def older_definition(bed: Bed) -> Iterator[tuple[str, Callable[[], None]]]:
    """Create a definition of an older release; yield its group, and a function that upgrades it to this release."""
    yield from _created(bed, "older.example.com", older_schema)


@pytest.fixture
def definition_without_bounds(bed: Bed) -> Iterator[tuple[str, Callable[[], None]]]:
    """Create this definition without bounds and rules; yield its group, and a function that adds them."""
    yield from _created(bed, "unbounded.example.com", without_bounds)


def _created(
    bed: Bed, group: str, older: Callable[[dict[str, Any]], dict[str, Any]]
) -> Iterator[tuple[str, Callable[[], None]]]:
    definition = custom_resource_definition()
    definition["metadata"]["name"] = f"{PLURAL}.{group}"
    definition["spec"] |= {"group": group}
    definition["spec"]["names"] |= {"shortNames": [], "categories": []}
    schema = definition["spec"]["versions"][0]["schema"]
    newer, schema["openAPIV3Schema"] = schema["openAPIV3Schema"], older(schema["openAPIV3Schema"])
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    bed.api("POST", definitions, definition)
    deadline = time.monotonic() + 60
    while True:  # kubectl wait fails as long as the definition has no conditions
        conditions = bed.api("GET", f"{definitions}/{PLURAL}.{group}").get("status", {}).get("conditions") or ()
        if any((found["type"], found["status"]) == ("Established", "True") for found in conditions):
            break
        assert time.monotonic() < deadline, conditions
        time.sleep(0.1)

    def upgrade() -> None:
        spec = {"versions": [{**definition["spec"]["versions"][0], "schema": {"openAPIV3Schema": newer}}]}
        bed.api("PATCH", f"{definitions}/{PLURAL}.{group}", {"spec": spec})

    yield group, upgrade
    bed.api("DELETE", f"{definitions}/{PLURAL}.{group}")
    deadline = time.monotonic() + 60
    while any(found["metadata"]["name"] == f"{PLURAL}.{group}" for found in bed.api("GET", definitions)["items"]):
        assert time.monotonic() < deadline, "the definition is still there"
        time.sleep(0.1)
