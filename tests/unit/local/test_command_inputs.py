"""Local runs with inputs by URL, with a fake trainer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from .bench import Bench

# A hanging run must fail before CI kills pytest, which would then run no finalizers and leave processes behind.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def remote(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return the bench with a conversion from a store, and a file that has the directory of its keys."""
    monkeypatch.setenv("MASKRCNN_CACHE", str(bench.folder / "cache"))
    spec = bench.manifest["spec"]
    spec["objectStores"] = [{"prefix": "s3://data", "secretRef": {"name": "keys"}}]
    spec["steps"] = [
        {"name": "convert", "datasetConvert": {"imageDir": "s3://data/raw", "annotationsFile": "s3://data/a.json"}}
    ]
    bench.store_config = bench.folder / "stores.yaml"
    bench.store_config.write_text(yaml.safe_dump([{"prefix": "s3://data", "secretDir": "keys"}]))
    return bench


def test_tasks_and_the_report_get_stores_and_cache(remote: Bench) -> None:
    assert remote.run() == 0
    for call in (*remote.calls(), *remote.reports()):
        environment = call["environment"]
        assert environment["MASKRCNN_CACHE"] == str(remote.folder / "cache")
        (store,) = json.loads(environment["MASKRCNN_OBJECT_STORES"])
        assert store["secretDir"] == str(remote.folder / "keys")
    assert (len(remote.calls()), len(remote.reports())) == (1, 1)


def test_url_reaches_the_task_as_written(remote: Bench) -> None:
    assert remote.run() == 0
    (call,) = remote.calls()
    arguments = call["arguments"]
    assert arguments[arguments.index("-i") + 1] == "s3://data/raw"
    assert arguments[arguments.index("-a") + 1] == "s3://data/a.json"


def test_secret_without_an_entry_starts_no_step(remote: Bench, caplog: pytest.LogCaptureFixture) -> None:
    remote.store_config = None
    assert remote.run() == 64
    assert remote.calls() == []
    assert "spec.objectStores[0].secretRef" in caplog.text


def test_invalid_store_config_starts_no_step(remote: Bench, caplog: pytest.LogCaptureFixture) -> None:
    remote.store_config = remote.folder / "absent.yaml"
    assert remote.run() == 64
    assert remote.calls() == []
    assert "absent.yaml cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("cache", "noted"), [({"persistentVolumeClaim": {"claimName": "copies"}}, 1), ({"sizeLimit": "1Gi"}, 0)]
)
def test_claim_of_the_cache_is_ignored_with_a_note(
    bench: Bench, caplog: pytest.LogCaptureFixture, cache: dict[str, Any], noted: int
) -> None:
    caplog.set_level("INFO")
    bench.manifest["spec"]["cache"] = cache
    assert bench.run() == 0
    notes = [record.getMessage() for record in caplog.records if "spec.cache" in record.getMessage()]
    expected = "spec.cache.persistentVolumeClaim is ignored in a local run: it only has an effect on a cluster"
    assert notes == [expected] * noted


def test_flags_reach_the_run(remote: Bench) -> None:
    process = remote.start({}, "--store-config", str(remote.store_config), "--cache", str(remote.folder / "other"))
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, output
    (call,) = remote.calls()
    assert call["environment"]["MASKRCNN_CACHE"] == str(remote.folder / "other")
