"""Labels and annotations that belong to controllers: those that a user may set, and reasons why others are refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_operator.api.reserved import RESERVED, Place, carried_by, refusal

MANIFEST: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "core" / "nine_steps.yaml").read_text())
KUEUE = "kueue.x-k8s.io/"


def problems(field: str, values: dict[str, str], *, step: int | None = None) -> dict[str, str]:
    """Return the problems of labels or annotations in spec.podOverrides, or in those of a step."""
    manifest = copy.deepcopy(MANIFEST)
    (manifest["spec"] if step is None else manifest["spec"]["steps"][step])["podOverrides"] = {field: values}
    try:
        read_object(manifest)
    except ManifestError as error:
        return {problem.field: problem.message for problem in error.problems}
    return {}


@pytest.mark.parametrize(
    ("field", "key", "place"),
    [
        ("labels", f"{KUEUE}priority-class", Place.JOB),
        ("labels", f"{KUEUE}max-exec-time-seconds", Place.JOB),
        ("annotations", "provreq.kueue.x-k8s.io/maxRunDurationSeconds", Place.JOB),
        ("annotations", f"{KUEUE}podset-required-topology", Place.PODS),
        ("annotations", f"{KUEUE}podset-preferred-topology", Place.PODS),
        ("annotations", f"{KUEUE}podset-unconstrained-topology", Place.PODS),
        ("annotations", f"{KUEUE}podset-slice-required-topology", Place.PODS),
        ("annotations", f"{KUEUE}podset-slice-size", Place.PODS),
        ("labels", "team", Place.PODS),
        ("annotations", "example.com/note", Place.PODS),
    ],
)
@pytest.mark.parametrize("step", [None, 2])
def test_permitted_key_is_set_on_the_object_where_it_is_read(
    field: Any, key: str, place: Place, step: int | None
) -> None:
    assert not problems(field, {key: "1"}, step=step)
    assert {where: carried_by(where, field, {key: "1"}) for where in Place} == {
        where: {key: "1"} if where is place else {} for where in Place
    }


@pytest.mark.parametrize(
    ("field", "key", "why"),
    [
        ("labels", f"{KUEUE}queue-name", "set spec.queueName instead"),
        ("annotations", f"{KUEUE}job-min-parallelism", "all together or not at all"),
        ("annotations", f"{KUEUE}elastic-job", "all together or not at all"),
        ("annotations", f"{KUEUE}priority-class", "belong to controllers"),
        ("annotations", f"{KUEUE}podset-group-name", "belong to controllers"),
        ("annotations", f"{KUEUE}podset-required-topologies", "belong to controllers"),
        ("annotations", f"{KUEUE}job-completions-equal-parallelism", "belong to controllers"),
        ("labels", f"{KUEUE}podset-required-topology", f"only {KUEUE}priority-class, {KUEUE}max-exec-time-seconds"),
        ("labels", f"{KUEUE}prebuilt-workload-name", "belong to controllers"),
        ("labels", "maskrcnn.dev/step", "belong to controllers"),
        ("annotations", "batch.kubernetes.io/job-name", "belong to controllers"),
    ],
)
@pytest.mark.parametrize(("step", "where"), [(None, "spec.podOverrides"), (2, "spec.steps[2].podOverrides")])
def test_another_reserved_key_is_refused_with_its_reason(
    field: str, key: str, why: str, step: int | None, where: str
) -> None:
    (said,) = problems(field, {key: "1", "team": "vision"}, step=step).items()
    assert said[0] == f"{where}.{field}"
    assert said[1].startswith(f"{key}: ")
    assert why in said[1]


def test_keys_that_are_refused_for_the_same_reason_are_named_together() -> None:
    keys = [f"{KUEUE}elastic-job", f"{KUEUE}job-min-parallelism"]
    (message,) = problems("annotations", dict.fromkeys([*keys, "maskrcnn.dev/spec"], "1")).values()
    assert message.count("all together") == 1
    assert message.startswith(", ".join(keys))
    assert "maskrcnn.dev/spec: keys under" in message


def test_every_row_of_the_table_has_either_an_object_or_a_reason_for_refusal() -> None:
    for row in RESERVED:
        assert (row.place is None) == bool(row.why), row
        example = row.key + "x" if row.is_prefix else row.key
        assert refusal(row.field, example) == row.why
