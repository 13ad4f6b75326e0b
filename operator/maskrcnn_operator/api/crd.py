"""The CustomResourceDefinition, made from the types: ``python -m maskrcnn_operator.api.crd [--check FILE]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import yaml

from maskrcnn_operator.api.base import API_VERSION, GROUP, KIND, PLURAL, SHORT_NAME, VERSION
from maskrcnn_operator.api.bounds import described
from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_operator.api.schema import Schema, definitions, written_out

HEADER = "# Made by `make manifests` from the types in operator/maskrcnn_operator/api. Do not edit.\n"


def _metric(name: str) -> str:
    return f'.status.metrics[?(@.name=="{name}")].value'


COLUMNS: tuple[dict[str, Any], ...] = (
    {
        "name": "State",
        "type": "string",
        "description": "Where the experiment stands: the reason of the condition Ready.",
        "jsonPath": '.status.conditions[?(@.type=="Ready")].reason',
    },
    {"name": "Step", "type": "string", "description": "The running step.", "jsonPath": ".status.currentStep"},
    {
        "name": "Progress",
        "type": "integer",
        "description": "How much of the running step is done, in percent.",
        "jsonPath": ".status.progress.percentage",
    },
    {
        "name": "ETA",
        "type": "string",
        "description": "Time left of the running step, h:mm:ss.",
        "jsonPath": ".status.progress.eta",
    },
    {"name": "AP", "type": "string", "description": "AP of the boxes.", "jsonPath": _metric("AP")},
    {"name": "Mask-AP", "type": "string", "description": "AP of the masks.", "jsonPath": _metric("mask_AP")},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {
        "name": "Restarts",
        "type": "integer",
        "description": "Restarts of all steps that counted.",
        "priority": 1,
        "jsonPath": ".status.restarts",
    },
    {
        "name": "Model",
        "type": "string",
        "description": "Model of the last finished train step.",
        "priority": 1,
        "jsonPath": ".status.modelPath",
    },
)
"""What ``kubectl get`` shows; priority 1 with ``-o wide``."""


def resource_schema() -> Schema:
    """The schema of the resource."""
    root = written_out(definitions(), KIND)
    properties = root["properties"]
    spec, status = _without_defaults_in_lists(described(properties["spec"])), _without_defaults(properties["status"])
    # what is absent stays absent: a hundred filled-in fields would be read, checked and written at every status write
    spec["properties"]["experiment"] = _without_defaults(spec["properties"]["experiment"])
    return {
        "type": "object",
        "description": root["description"],
        "required": ["spec"],
        "x-kubernetes-validations": root["x-kubernetes-validations"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of the schema of this object: {API_VERSION}."},
            "kind": {"type": "string", "description": f"What this object is: {KIND}."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": spec,
            "status": status,
        },
    }


def _without_defaults(schema: Schema) -> Schema:
    """A status that says only what the operator has written: absent is not the same as 0 to a reader."""
    found = {key: value for key, value in schema.items() if key != "default"}
    if "items" in found:
        found["items"] = _without_defaults(found["items"])
    if "properties" in found:
        found["properties"] = {field: _without_defaults(value) for field, value in found["properties"].items()}
    return found


def _without_defaults_in_lists(schema: Schema) -> Schema:
    """A spec whose lists stay as the user wrote them.

    Clients that compare a manifest with the object (``kubectl apply``, Argo CD) replace a list as a whole, so an entry
    that the server has filled up would look changed for ever. The types read an absent field as its default anyway.
    """
    found = dict(schema)
    if "items" in found:
        found["items"] = _without_defaults(found["items"])
    if "properties" in found:
        found["properties"] = {field: _without_defaults_in_lists(value) for field, value in found["properties"].items()}
    return found


def custom_resource_definition() -> dict[str, Any]:
    """The whole definition, as the API server takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(COLUMNS),
                    "schema": {"openAPIV3Schema": resource_schema()},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Every value written out where it stands: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's signature
        return True


def manifest() -> str:
    """The definition as YAML, the same text every time."""
    text: str = yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return HEADER + text


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the definition to standard output, or compare it with a file; return the exit code."""
    return write_or_check(manifest, arguments, module="maskrcnn_operator.api.crd", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
