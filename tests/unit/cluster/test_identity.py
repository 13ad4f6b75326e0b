"""Identity of objects with any metadata."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.cluster.identity import (
    Key,
    experiment_key,
    generation_number,
    uid_of,
    version_number,
)
from maskrcnn_operator.cluster.resources import EXPERIMENT_LABEL, EXPERIMENTS, JOBS

METADATA = {"namespace": "lab", "name": "nuclei", "uid": "uid-1", "resourceVersion": "7"}


def test_uid_of_an_object_is_read() -> None:
    assert uid_of({"metadata": METADATA}) == "uid-1"


@pytest.mark.parametrize(
    "item", [None, 3, [], {}, {"metadata": None}, {"metadata": {}}, {"metadata": {"uid": 3}}, {"metadata": {"uid": ""}}]
)
def test_object_without_a_uid_has_none(item: object) -> None:
    assert uid_of(item) is None


def test_experiment_is_named_by_its_metadata_and_a_job_by_its_label() -> None:
    assert experiment_key(EXPERIMENTS, METADATA) == Key("lab", "nuclei")
    job = {**METADATA, "name": "nuclei-train-1", "labels": {EXPERIMENT_LABEL: "nuclei"}}
    assert experiment_key(JOBS, job) == Key("lab", "nuclei")


def test_job_without_the_label_belongs_to_no_experiment() -> None:
    assert experiment_key(JOBS, METADATA) is None


@pytest.mark.parametrize("label", ["x" * 254, "a\nb", 3])
def test_label_that_is_invalid_in_kubernetes_is_refused(label: Any) -> None:
    with pytest.raises(ValueError, match=f"{EXPERIMENT_LABEL} isn't a string of 1 to 253 printable characters"):
        experiment_key(JOBS, {**METADATA, "labels": {EXPERIMENT_LABEL: label}})


def test_version_is_a_number_and_an_absent_generation_is_the_first() -> None:
    assert (version_number(METADATA), generation_number(METADATA)) == (7, 1)


@pytest.mark.parametrize("version", ["", "-1", "1.0", "9" * 21, 7, None])
def test_version_that_is_not_a_whole_number_is_refused(version: Any) -> None:
    with pytest.raises(ValueError, match="resourceVersion isn't a whole number"):
        version_number({"resourceVersion": version})
