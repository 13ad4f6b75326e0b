"""Variables of inputs by URL in a local run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import ExperimentBody
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.pod_stores import MOST_STORES_BYTES
from maskrcnn_operator.local.input_variables import input_variables
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec.object_stores import stores_from_json

from .bench import MANIFEST

WITH_SECRET = [{"prefix": "s3://data", "secretRef": {"name": "keys"}}]
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{'MIIB' * 15000}\n-----END CERTIFICATE-----\n"


def body(**fields: Any) -> ExperimentBody:
    return read_object({**MANIFEST, "spec": MANIFEST["spec"] | fields}).spec


def store_config(folder: Path, *entries: dict[str, Any]) -> Path:
    file = folder / "stores.yaml"
    file.write_text(yaml.safe_dump(list(entries)))
    return file


def test_entry_of_the_file_takes_the_place_of_a_secret(tmp_path: Path) -> None:
    file = store_config(tmp_path, {"prefix": "s3://data", "secretDir": "keys", "endpoint": "https://a.example.com"})
    found = input_variables(body(objectStores=WITH_SECRET), {}, store_config=file, cache=None)
    (store,) = stores_from_json(found["MASKRCNN_OBJECT_STORES"])
    assert (store.secret_dir, store.from_manifest) == (f"{tmp_path}/keys", False)


def test_endpoint_that_only_the_manifest_names_is_marked() -> None:
    stores = [{"prefix": "s3://data", "endpoint": "https://a.example.com"}]
    found = input_variables(body(objectStores=stores), {}, store_config=None, cache=None)
    (store,) = stores_from_json(found["MASKRCNN_OBJECT_STORES"])
    assert store.from_manifest


def test_secret_without_an_entry_is_refused_with_the_line_to_add() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.objectStores\[0\]\.secretRef.*\n.*secretDir: \"DIR\""):
        input_variables(body(objectStores=WITH_SECRET), {}, store_config=None, cache=None)


def test_stores_that_no_variable_can_hold_are_refused(tmp_path: Path) -> None:
    file = store_config(tmp_path, *({"prefix": f"s3://data/{n}", "caBundle": CERTIFICATE} for n in range(2)))
    with pytest.raises(InvalidInput, match=f"stores.yaml with spec.objectStores: .* at most {MOST_STORES_BYTES}"):
        input_variables(body(), {}, store_config=file, cache=None)


def test_without_stores_and_cache_the_defaults_of_the_tasks_apply() -> None:
    assert input_variables(body(), {}, store_config=None, cache=None) == {}


@pytest.mark.parametrize(
    ("environment", "given", "expected"),
    [
        ({"MASKRCNN_CACHE": "/own"}, None, "/own"),
        ({"MASKRCNN_CACHE": "/own"}, Path("/given"), "/given"),
        ({}, Path("given"), f"{Path.cwd()}/given"),
    ],
)
def test_directory_of_the_cache(environment: dict[str, str], given: Path | None, expected: str) -> None:
    assert input_variables(body(), environment, store_config=None, cache=given)["MASKRCNN_CACHE"] == expected
