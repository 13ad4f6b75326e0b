"""Refused URLs with a signature or user info: no text of them in what the operator keeps, logs, or writes."""

from __future__ import annotations

import copy
import functools
import json
import logging
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.cluster.unreadable import report_on_unreadable
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.url_fields import SPEC_URLS, STEP_URLS

FILE = Path(__file__).resolve().parents[2] / "apiserver" / "manifests" / "accepted" / "inputs-by-url.yaml"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECRET = "c2lnbmF0dXJl"  # noqa: S105 - made up
REFUSED = (
    f"s3://AKID:{SECRET}@data/a",
    f"gs://data/a?X-Goog-Signature={SECRET}",
    f"az://data/a#{SECRET}",
    f"https://data.s3.amazonaws.com/a?X-Amz-Signature={SECRET}",
    f"https://user:{SECRET}@store.test/a",
    f"S3://data/a?X-Amz-Signature={SECRET}",
)
WITHOUT_A_SCHEME = f"data.blob.core.windows.net/data/a?sv=2024-01-01&sig={SECRET}"


def experiment() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    found["metadata"] |= {"namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 1}
    return found


def put(part: dict[str, Any], path: str, text: str) -> None:
    """Set a field below a mapping by its path."""
    *above, name = path.split(".")
    functools.reduce(lambda found, key: found.setdefault(key, {}), above, part)[name] = text


def kept_and_written(value: dict[str, Any], caplog: pytest.LogCaptureFixture) -> str:
    """Return all that the operator keeps, logs, and writes of an object that it must not be able to read."""
    caplog.set_level(logging.DEBUG)
    cache = Cache()
    found: list[str] = []
    for status in ({}, {"conditions": [], "steps": [{"name": "train", "state": "Pending"}]}):
        cache.put(EXPERIMENTS, {**copy.deepcopy(value), "status": status})
        entry = cache.entry(Key("ns", "inputs-by-url"))
        assert entry is not None
        assert entry.experiment is None, "nothing that a pod template is made of"
        written = report_on_unreadable(entry, NOW)
        assert isinstance(written, dict)
        assert "InvalidSpec" in json.dumps(written)
        found += [pickle.dumps(entry).decode("latin-1"), json.dumps(written)]
    return "\n".join([*found, caplog.text])


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize("path", SPEC_URLS, ids=dotted)
def test_refused_url_of_the_spec_is_in_nothing_that_is_kept_or_written(
    path: tuple[Any, ...], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = experiment()
    put(value["spec"]["experiment"], dotted(path), url)
    found = kept_and_written(value, caplog)
    assert f"spec.experiment.{dotted(path)}: " in found
    assert SECRET not in found


@pytest.mark.parametrize("url", [*REFUSED, WITHOUT_A_SCHEME])
@pytest.mark.parametrize("path", STEP_URLS, ids=dotted)
def test_refused_url_of_a_step_is_in_nothing_that_is_kept_or_written(
    path: tuple[Any, ...], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = experiment()
    field = dotted(path)
    task = field.partition(".")[0]
    index, step = next((i, step) for i, step in enumerate(value["spec"]["steps"]) if task in step)
    put(step, field, url)
    found = kept_and_written(value, caplog)
    assert f"spec.steps[{index}].{field}: " in found
    assert SECRET not in found


@pytest.mark.parametrize("url", [*REFUSED, WITHOUT_A_SCHEME])
@pytest.mark.parametrize("field", ["prefix", "endpoint"])
def test_refused_url_of_a_store_is_in_nothing_that_is_kept_or_written(
    field: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = experiment()
    value["spec"]["objectStores"][1][field] = url
    found = kept_and_written(value, caplog)
    assert f"spec.objectStores[1].{field}: " in found
    assert SECRET not in found


def test_private_key_in_a_bundle_is_in_nothing_that_is_kept_or_written(caplog: pytest.LogCaptureFixture) -> None:
    value = experiment()
    value["spec"]["objectStores"][0]["caBundle"] = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    found = kept_and_written(value, caplog)
    assert "spec.objectStores[0].caBundle: has a private key" in found
    assert SECRET not in found
