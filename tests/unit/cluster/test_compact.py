from __future__ import annotations

import json
from typing import Any

from tests.apiserver.scale import experiment as manifest

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.status import Artifact, Metric
from maskrcnn_operator.cluster.compact import compact


def read(name: str) -> Any:
    item = json.loads(json.dumps(manifest(name)))
    item["status"] = {
        "steps": [{"name": step["name"], "state": "Succeeded", "attempt": 1} for step in item["spec"]["steps"]]
    }
    return read_object(item)


def sets_of(experiment: Any) -> set[int]:
    parts = [experiment.spec, experiment.spec.experiment, experiment.metadata, experiment.status]
    return {id(part.__pydantic_fields_set__) for part in (*parts, *experiment.status.steps, *experiment.spec.steps)}


def test_models_of_the_same_fields_share_the_set_of_given_fields() -> None:
    one, other = read("one"), read("other")
    assert not sets_of(one) & sets_of(other)

    assert sets_of(compact(one)) == sets_of(compact(other))


def test_compact_model_is_equal_and_serializes_the_same() -> None:
    plain, compacted = read("one"), compact(read("one"))

    assert compacted == plain
    assert compacted.to_json() == plain.to_json()
    assert compacted.spec.model_dump(exclude_unset=True) == plain.spec.model_dump(exclude_unset=True)


def test_models_with_only_defaults_are_one_object() -> None:
    one, other = compact(read("one")), compact(read("other"))

    assert one.spec.experiment.maskrcnn_config is other.spec.experiment.maskrcnn_config
    assert one.spec.steps[3].evaluate is other.spec.steps[3].evaluate
    assert one.spec.experiment.data_config is not other.spec.experiment.data_config


def test_metrics_and_artifacts_have_no_dictionary() -> None:
    assert not hasattr(Metric(name="AP", value="0.5"), "__dict__")
    assert not hasattr(Artifact(path="/workspace/a", bytes=1), "__dict__")


def test_a_copy_with_more_fields_leaves_the_shared_set_alone() -> None:
    one, other = compact(read("one")), compact(read("other"))

    copied = one.status.steps[0].model_copy(update={"reason": "Completed"})

    assert "reason" in copied.model_fields_set
    assert "reason" not in one.status.steps[0].model_fields_set
    assert "reason" not in other.status.steps[0].model_fields_set
