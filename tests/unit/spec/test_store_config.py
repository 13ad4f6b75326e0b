"""The file of --store-config: what is read, and the sentence for each mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec.object_stores import MOST_STORES, LocalStore
from maskrcnn_trainer.spec.store_config import (
    MOST_CONFIG_BYTES,
    parse_store_config,
    read_store_config,
    stores_of_manifest,
)

SECRET = "s3cr3t"  # noqa: S105 - stands for a password
KEYS = "/keys"


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse_store_config(text, "stores.yaml")
    assert refused.value.exit_code == 64
    return str(refused.value)


def test_list_of_stores_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(
        "- {prefix: s3://data, secretDir: keys/data}\n- {prefix: gs://data, secretDir: /keys}\n- prefix: az://a"
    )
    assert read_store_config(file) == (
        LocalStore(prefix="s3://data", secret_dir=str(tmp_path / "keys/data")),
        LocalStore(prefix="gs://data", secret_dir=KEYS),
        LocalStore(prefix="az://a"),
    )


def test_empty_list_has_no_stores() -> None:
    assert parse_store_config("[]") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "stores.yaml is empty; it must be a list"),
        ("objectStores: []", "stores.yaml isn't a list; it must be a list"),
        ("[]\n---\n[]", "stores.yaml has several documents; it must be a list"),
        ("- {prefix: s3://data", "stores.yaml: line 1: invalid YAML"),
        ("- {prefix: s3://data, prefix: s3://a}", "stores.yaml: line 1: invalid YAML: duplicate key 'prefix'"),
        ("- {}", "stores.yaml: [0].prefix: is required"),
        ("- 5", "stores.yaml: [0]: 5 must be a mapping of fields"),
        ("- {prefix: 5}", "stores.yaml: [0].prefix: 5 must be a string"),
        ("- {prefix: s3://data, allow_http: true}", "[0].allow_http: unknown field; did you mean allowHttp?"),
        ("- {prefix: s3://data, owner: me}", "[0].owner: unknown field; known are prefix, endpoint,"),
        ("- {prefix: s3://data, secretRef: {name: a}}", "[0].secretRef: a Secret can't be read on this machine; give"),
        ("- {prefix: s3://data, secretDir: ''}", '[0].secretDir: "" is too short; at least 1 characters'),
        ("- {prefix: s3://data}\n- {prefix: data}", "stores.yaml: [1].prefix: a URL must be s3://BUCKET/KEY"),
        (f"[{', '.join(['{prefix: s3://a}'] * (MOST_STORES + 1))}]", "stores.yaml has 33 object stores; at most 32"),
        (f"- {{prefix: 's3://user:{SECRET}@data'}}", "stores.yaml: [0].prefix: user info"),
        (f"- {{prefix: ['s3://user:{SECRET}@data']}}", 'stores.yaml: [0].prefix: ["s3://...@data"] must be a string'),
        (f"- ['s3://data?sig={SECRET}']", 'stores.yaml: [0]: ["s3://data?..."] must be a mapping'),
        (f"{'[' * 20}{']' * 20}", "stores.yaml: line 1: invalid YAML"),
        ("- &a [*a]", "stores.yaml: line 1: invalid YAML"),
    ],
)
def test_mistake_is_named_with_its_place(text: str, message: str) -> None:
    found = refusal(text)
    assert message in found
    assert SECRET not in found


def test_all_problems_are_named_at_once() -> None:
    found = refusal("- {prefix: data}\n- {prefix: s3://a, endpoint: 'http://b'}")
    assert "stores.yaml: 2 problems:" in found
    assert "[0].prefix" in found
    assert "[1].endpoint" in found


def test_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"--store-config .*none\.yaml cannot be read: No such file"):
        read_store_config(tmp_path / "none.yaml")


def test_pipe_is_refused_instead_of_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match=r"pipe cannot be read: it is a pipe"):
        read_store_config(tmp_path / "pipe")


def test_large_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as stream:
        stream.truncate(MOST_CONFIG_BYTES + 1)
    with pytest.raises(InvalidInput, match=f"larger than {MOST_CONFIG_BYTES} bytes"):
        read_store_config(file)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(InvalidInput, match="is compressed"):
        read_store_config(file)


def manifest_with(stores: str, directory: Path) -> Path:
    path = directory / "manifest.yaml"
    path.write_text(f"kind: MaskRCNNExperiment\nspec:\n  objectStores: {stores}\n")
    return path


def test_stores_of_a_manifest_are_read(tmp_path: Path) -> None:
    (store,) = stores_of_manifest(manifest_with("[{prefix: 's3://b', secretRef: {name: keys}}]", tmp_path))
    assert (store.prefix, store.secret_ref.name if store.secret_ref else "") == ("s3://b", "keys")


def test_spec_file_of_another_format_has_no_stores(tmp_path: Path) -> None:
    for text in ("totalSteps: 4\n", "seed: 1\ndata_config {\n}\n"):
        (tmp_path / "spec").write_text(text)
        assert stores_of_manifest(tmp_path / "spec") == ()


@pytest.mark.parametrize("stores", ["3", "[{prefix: 's3://b?sig=SECRET'}]", "[{prefix: 's3://b', unknown: 1}]"])
def test_invalid_stores_of_a_manifest_are_refused_by_field(tmp_path: Path, stores: str) -> None:
    with pytest.raises(InvalidInput, match="spec.objectStores") as refusal:
        stores_of_manifest(manifest_with(stores, tmp_path))
    assert "SECRET" not in str(refusal.value)
