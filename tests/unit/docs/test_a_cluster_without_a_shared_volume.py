"""docs/how-to/a-cluster-without-a-shared-volume.md: permissions, values, fields, and names are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.docs.test_results_in_object_storage import names_in, permissions_of

from maskrcnn_operator.api.workspace import Workspace
from maskrcnn_trainer.spec.object_stores import ObjectStore, store_problems

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "how-to" / "a-cluster-without-a-shared-volume.md").read_text(encoding="utf-8")
CHART = ROOT / "charts" / "maskrcnn-operator"


def fenced(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def specs() -> list[dict[str, Any]]:
    """Return the parts of a manifest's spec on the page."""
    found = [yaml.safe_load(block) for block in fenced("yaml")]
    return [document["spec"] for document in found if "spec" in document]


@pytest.mark.parametrize("spec", specs())
def test_workspaces_and_stores_are_valid(spec: dict[str, Any]) -> None:
    assert Workspace.model_validate_json(json.dumps(spec["workspace"])).url is not None
    stores = [ObjectStore.model_validate(entry, by_alias=True, by_name=False) for entry in spec.get("objectStores", ())]
    assert list(store_problems(stores)) == []


def statements() -> list[dict[str, Any]]:
    """Return the statements of the policy about objects."""
    [policy] = [document for document in map(json.loads, fenced("json")) if "s3:PutObject" in json.dumps(document)]
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def actions_of(statement: dict[str, Any]) -> set[str]:
    """Return the actions that a statement allows."""
    actions = statement["Action"]
    return {actions} if isinstance(actions, str) else set(actions)


def test_policy_of_aws_has_the_permissions_of_the_table() -> None:
    assert set().union(*map(actions_of, statements())) == names_in(permissions_of("S3"))


def test_list_permission_is_on_the_bucket_and_the_others_on_the_objects() -> None:
    of_bucket, of_objects = "arn:aws:s3:::my-data", "arn:aws:s3:::my-data/results/*"
    for statement in statements():
        expected = of_bucket if actions_of(statement) == {"s3:ListBucket"} else of_objects
        assert statement["Resource"] == expected


def test_lifecycle_rule_of_aws_covers_broken_uploads_old_versions_and_delete_markers() -> None:
    [document] = [found for found in map(json.loads, fenced("json")) if "Rules" in found]
    [rule] = document["Rules"]
    assert {name: rule[name] for name in rule if name not in ("ID", "Status", "Filter")} == {
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        # S3 refuses it together with a number of days
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }


def test_bucket_is_tried_after_identities_are_explained() -> None:
    assert TEXT.index("## Give the pods an identity") < TEXT.index("make prove-store")


def test_values_have_the_fields_of_the_charts_schema() -> None:
    [values] = [document for document in map(yaml.safe_load, fenced("yaml")) if "networkPolicy" in document]
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["networkPolicy"]["properties"]
    entry = schema["objectStores"]["items"]
    assert set(values["networkPolicy"]) <= set(schema)
    for given in values["networkPolicy"]["objectStores"]:
        assert set(given) == set(entry["required"])
        assert re.fullmatch(r"[0-9.]+/[0-9]+", given["cidr"])
        assert all(isinstance(port, int) for port in given["ports"])


def test_owner_id_is_a_value_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert "objectStorage.ownerId" in TEXT
    assert "ownerId" in values["objectStorage"]
