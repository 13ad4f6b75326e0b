"""One reader of YAML for manifests and specs; each of its callers words what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.yaml_reading import KeyNotPlain, KeyTwice, TooDeep, load_documents
from maskrcnn_trainer.spec.reading import read_spec

MERGED = """\
apiVersion: maskrcnn.dev/v1alpha1
kind: MaskRCNNExperiment
metadata: {name: merged}
spec:
  workspace: {persistentVolumeClaim: {claimName: maskrcnn}}
  experiment:
    totalSteps: 10
    initLearningRate: 1e-2
    learningRateSteps: [5]
    learningRateDecayLevels: [0.1]
    numExamplesPerEpoch: 4
    trainBatchSize: 1
    evalBatchSize: 1
    dataConfig: {numClasses: 2, imageSize: [128, 128]}
    maskrcnnConfig: {}
  steps:
  - &first {name: first, train: {}, revision: again}
  - <<: *first
    name: second
"""


def test_values_are_those_of_an_api_server() -> None:
    (document,) = load_documents("[1e-4, .5E1, 2024-01-01, 0.1, 12]\n---\n")
    assert document == [1e-4, 5.0, "2024-01-01", 0.1, 12]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\nb: 2\na: 3\n", KeyTwice),
        ("[a]: 1\n", KeyNotPlain),
        ("{a: [[1]]}", TooDeep),
        ("a: " + "9" * 5000, yaml.MarkedYAMLError),
        ('a: "\\U00ffffff"', yaml.MarkedYAMLError),
    ],
)
def test_faults_have_a_position(text: str, error: type[yaml.MarkedYAMLError]) -> None:
    with pytest.raises(error) as refused:
        load_documents(text, most_levels=3)
    assert refused.value.problem_mark is not None


def test_levels_are_counted_by_depth_not_by_number() -> None:
    text = "[[1, 2], [3], {a: 4}]"
    assert load_documents(text, most_levels=3) == [[[1, 2], [3], {"a": 4}]]
    with pytest.raises(TooDeep):
        load_documents(text, most_levels=2)


def test_own_keys_of_a_step_replace_merged_ones_in_operator_and_trainer() -> None:
    experiment = read_manifest(MERGED)
    assert [(step.name, step.revision) for step in experiment.spec.steps] == [("first", "again"), ("second", "again")]
    assert read_spec(MERGED).spec == experiment.spec.experiment


@pytest.mark.parametrize("read", [read_manifest, read_spec])
def test_key_twice_is_refused_by_operator_and_trainer(read: Any) -> None:
    with pytest.raises((ManifestError, InvalidInput), match="'name' stands twice"):
        read(MERGED + "    name: third\n")
