"""The definition in the repository: up to date, structural, small, described, and bounded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.api.schema_parts import walk

from maskrcnn_operator.api import crd, docs
from maskrcnn_operator.api.bounds import bounds_in_words, default_in_words
from maskrcnn_operator.api.rules import FIELD_RULES, TYPE_RULES
from maskrcnn_operator.api.schema import definitions
from maskrcnn_operator.api.status import ConditionType
from maskrcnn_trainer.spec.rules import RULES

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml"
DEFINITION: dict[str, Any] = yaml.safe_load(FILE.read_text())
VERSION = DEFINITION["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
SPEC, STATUS = SCHEMA["properties"]["spec"], SCHEMA["properties"]["status"]
OPEN = {
    "podOverrides.affinity",
    "podOverrides.env[].valueFrom",
    "podOverrides.volumes[]",
    "podOverrides.volumeMounts[]",
    "steps[].podOverrides",
}
"""Parts that Kubernetes defines, not this resource."""


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schemas of fields, without those of entries of lists and maps."""
    return ((path, part) for path, part in walk(schema) if path and not path.endswith(("[]", "{}")))


def test_file_matches_the_types(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert FILE.read_text() == crd.manifest()
    assert crd.main(["--check", str(FILE)]) == 0
    stale = tmp_path / "stale.yaml"
    stale.write_text(crd.manifest().replace("served: true", "served: false"))
    assert crd.main(["--check", str(stale)]) == 1
    assert crd.main(["--check", str(tmp_path / "missing.yaml")]) == 1
    assert "make manifests" in capsys.readouterr().err
    assert crd.main([]) == 0
    assert capsys.readouterr().out == FILE.read_text()


def test_reference_matches_the_types() -> None:
    assert docs.main(["--check", str(ROOT / "docs" / "reference" / "resource.md")]) == 0


def test_definition_fits_into_an_annotation_of_kubectl_apply() -> None:
    assert FILE.stat().st_size < 200_000


def test_the_kustomization_names_the_file() -> None:
    assert yaml.safe_load((FILE.parent / "kustomization.yaml").read_text())["resources"] == [FILE.name]


def test_names() -> None:
    names = DEFINITION["spec"]["names"]
    assert DEFINITION["metadata"]["name"] == "maskrcnnexperiments.maskrcnn.dev"
    assert (names["kind"], names["plural"], names["shortNames"]) == (
        "MaskRCNNExperiment",
        "maskrcnnexperiments",
        ["mrx"],
    )
    assert VERSION["subresources"] == {"status": {}}
    columns = [(column["name"].upper(), column.get("priority", 0)) for column in VERSION["additionalPrinterColumns"]]
    shown = [("STATE", 0), ("STEP", 0), ("PROGRESS", 0), ("ETA", 0), ("AP", 0), ("MASK-AP", 0), ("AGE", 0)]
    assert columns == [*shown, ("RESTARTS", 1), ("MODEL", 1)]


def test_definition_is_structural() -> None:
    forbidden = {
        "$ref",
        "$defs",
        "anyOf",
        "oneOf",
        "allOf",
        "title",
        "const",
        "propertyNames",
        "prefixItems",
        "nullable",
    }
    for path, part in walk(SCHEMA):
        assert not forbidden & part.keys(), path
        assert part.get("type") in {"object", "array", "string", "integer", "number", "boolean"} or part.get(
            "x-kubernetes-int-or-string"
        ), path
        assert not ("properties" in part and "additionalProperties" in part), path
        assert not isinstance(part.get("additionalProperties"), bool), path
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert part.get(bound, True) is True, path  # in OpenAPI 3.0 a flag next to the bound


def test_every_field_has_its_description() -> None:
    for schema in (SPEC, STATUS):
        for path, part in fields(schema):
            assert part.get("description", "").strip(), path
            assert "``" not in part["description"], path


def test_descriptions_have_defaults_and_bounds() -> None:
    explained = SPEC["properties"]["experiment"]["properties"]
    assert explained["momentum"]["description"].endswith("Default 0.9, at least 0, less than 1.")
    assert explained["trainBatchSize"]["description"].endswith("Default 2, 1 to 1024.")
    assert explained["maskrcnnConfig"]["properties"]["aspectRatios"]["description"].endswith(
        "Default [[1, 1], [1.4, 0.7], [0.7, 1.4]], 1 to 16 entries, each 2 entries, each more than 0, at most 100."
    )
    part = SPEC["properties"]["steps"]["items"]["properties"]["experiment"]["properties"]
    assert part["momentum"]["description"].endswith("At least 0, less than 1.")


def test_every_field_of_the_spec_is_bounded() -> None:
    for path, part in walk(SPEC):
        if path in OPEN:
            assert part["x-kubernetes-preserve-unknown-fields"] is True
            assert part["maxProperties"] == 16, path
            continue
        assert "x-kubernetes-preserve-unknown-fields" not in part, path
        if "enum" in part or part.get("type") == "boolean":
            continue
        if part.get("type") in ("integer", "number"):
            assert {"minimum", "maximum"} <= part.keys(), path
            assert part.get("maximum") <= 2**31 - 1 or part.get("format") == "int64" or part["type"] == "number", path
        elif part.get("type") == "string" or part.get("x-kubernetes-int-or-string"):
            assert "maxLength" in part, path
        elif part.get("type") == "array":
            assert "maxItems" in part, path
        elif "additionalProperties" in part:
            assert "maxProperties" in part, path


def test_a_steps_experiment_is_partial() -> None:
    part = SPEC["properties"]["steps"]["items"]["properties"]["experiment"]
    whole = SPEC["properties"]["experiment"]
    assert {path for path, _ in walk(part)} == {path for path, _ in walk(whole)}
    for path, schema in walk(part):
        assert not {"default", "required"} & schema.keys(), path


def test_entries_of_lists_have_no_defaults() -> None:
    assert not [path for path, part in walk(SPEC) if "[]" in path and "default" in part]
    step = SPEC["properties"]["steps"]["items"]["properties"]
    assert step["nodes"]["description"].endswith("Default 1, 1 to 999.")


def test_experiment_has_no_defaults_except_in_descriptions() -> None:
    experiment = SPEC["properties"]["experiment"]
    assert not [path for path, part in walk(experiment) if "default" in part]
    assert experiment["properties"]["momentum"]["description"].endswith("Default 0.9, at least 0, less than 1.")


def test_optional_fields_outside_of_lists_have_their_defaults() -> None:
    types = definitions()
    for name in ("ExperimentBody", "Workspace", "SecretKeyReference"):
        at = next(
            part for _, part in walk(SCHEMA) if part.get("properties", {}).keys() == types[name]["properties"].keys()
        )
        for field, part in types[name]["properties"].items():
            assert part.get("default") == at["properties"][field].get("default"), (name, field)


def test_the_status_has_no_defaults() -> None:
    assert not [path for path, part in walk(STATUS) if "default" in part]


def test_lists_have_a_list_type() -> None:
    kinds = {
        path: part["x-kubernetes-list-type"]
        for path, part in walk(SCHEMA)
        if part.get("type") == "array" and path not in OPEN
    }
    assert {path for path, kind in kinds.items() if kind == "map"} == {
        "spec.steps",
        "spec.objectStores",
        "spec.podOverrides.env",
        "spec.podOverrides.imagePullSecrets",
        "status.conditions",
    }
    for path, part in walk(SCHEMA):
        if part.get("x-kubernetes-list-type") == "map":
            assert set(part["x-kubernetes-list-map-keys"]) <= set(part["items"]["required"]), path


def test_the_status_holds_every_condition_and_state() -> None:
    assert len(ConditionType) <= STATUS["properties"]["conditions"]["maxItems"]
    longest = STATUS["properties"]["conditions"]["items"]["properties"]["type"]["maxLength"]
    assert max(map(len, ConditionType)) <= longest
    assert "maxLength" not in STATUS["properties"]["steps"]["items"]["properties"]["reason"]
    assert "enum" not in STATUS["properties"]["conditions"]["items"]["properties"]["reason"]


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, part in walk(SCHEMA):
        for rule in part.get("x-kubernetes-validations", ()):
            yield path, rule


def test_rules_are_well_formed() -> None:
    found = list(rules())
    assert len(found) > 40
    for path, rule in found:
        assert "\n" not in rule["rule"], path
        assert "\n" not in rule["message"], path
        assert 0 < len(rule["message"]) <= 2048, path
        if field := rule.get("fieldPath"):
            at = f"{path}{field}" if path else field.removeprefix(".")
            assert at in {known for known, _ in walk(SCHEMA)}, at


def test_regular_expressions_cost_less_than_the_api_server_allows() -> None:
    """The estimate of cel-go (checker/cost.go), and the limit of a rule in k8s.io/apiextensions-apiserver."""
    parts = dict(walk(SCHEMA))
    for path, rule in rules():
        for pattern in re.findall(r"self\.matches\('([^']*)'\)", rule["rule"]):
            longest = 4 * parts[path]["maxLength"]  # bytes of UTF-8
            entries = [parts[path[: end.start()]]["maxItems"] for end in re.finditer(r"\[\]", path)]
            cost = math.ceil(0.1 * (longest + 1)) * math.ceil(0.25 * len(pattern)) * math.prod(entries)
            assert cost < 8_000_000, path


def test_every_rule_belongs_to_an_existing_type() -> None:
    types = definitions()
    assert set(TYPE_RULES) <= set(types)
    for name, field in FIELD_RULES:
        assert field in types[name]["properties"], (name, field)


def test_every_rule_of_the_trainer_has_one_in_cel() -> None:
    """The CEL rule belongs to a field that the trainer's rule reads, or to an object that has it."""
    at = {f"{path}{rule.get('fieldPath', '')}" for path, rule in rules()}
    for rule in RULES:
        names = {f"spec.experiment.{'.'.join(_camel(part) for part in path)}" for path in rule.reads}
        assert names & at, names


def _camel(part: str | int) -> str:
    head, *tail = str(part).split("_")
    return head + "".join(word.capitalize() for word in tail)


@pytest.mark.parametrize(
    ("schema", "default", "bounds"),
    [
        ({"type": "number", "default": 0.0001, "minimum": 0, "maximum": 1}, "Default 0.0001", "0 to 1"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "", "more than 0"),
        ({"type": "integer", "minimum": 2, "maximum": 2, "default": 2}, "Default 2", "2"),
        ({"type": "integer"}, "", ""),
        ({"type": "boolean", "default": False}, "Default false", ""),
        ({"type": "string", "default": "", "maxLength": 5}, 'Default ""', "at most 5 characters"),
        ({"type": "string", "enum": ["a"], "default": "a", "maxLength": 5}, "Default a", ""),
        ({"type": "object", "default": {}, "maxProperties": 3}, "", "at most 3 entries"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}, "", "2 entries"),
        ({"type": "array", "items": {"type": "string"}}, "", ""),
    ],
)
def test_defaults_and_bounds_in_words(schema: dict[str, Any], default: str, bounds: str) -> None:
    assert default_in_words(schema) == default
    assert bounds_in_words(schema) == bounds


def test_the_reference_names_every_field_and_rule() -> None:
    text = docs.reference()
    for name, part in definitions().items():
        if not name.startswith(docs.PARTIAL) and name not in ("MaskRCNNExperiment", "ObjectMeta"):
            assert "enum" in part or f"### {name}\n" in text, name
            for field in part.get("properties", {}):
                assert f"| `{field}`" in text, (name, field)
    for _, rule in rules():
        assert rule["message"].replace("<", "&lt;") in text
