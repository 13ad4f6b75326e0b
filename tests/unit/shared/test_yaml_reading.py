"""YAML reader of manifests and specs, and the messages of its callers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.yaml_reading import AliasesTooLarge, KeyNotPlain, KeyTwice, TooDeep, load_documents
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
    with pytest.raises((ManifestError, InvalidInput), match="duplicate key 'name'"):
        read(MERGED + "    name: third\n")


def _bomb(levels: int) -> str:
    """Return lists of nine aliases, each to the previous list."""
    lines = ["a0: &a0 [x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join([*lines, f"kind: *a{levels - 1}"]) + "\n"


MANY = "text: &text " + "x" * 20_000 + "\nlist: [" + "*text," * 2_000 + "]\n"
CHAIN = "\n".join(["a0: &a0 [x]", *(f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 120))])


@pytest.mark.parametrize("levels", [5, 9, 60])
def test_aliases_of_aliases_are_refused_before_they_are_expanded(levels: int) -> None:
    with pytest.raises(AliasesTooLarge) as refused:
        load_documents(_bomb(levels))
    assert refused.value.problem_mark is not None
    assert refused.value.problem_mark.line < 5


@pytest.mark.parametrize(("text", "line"), [(MANY, 1), ("a: &a {b: &b [*a]}\n", 0), ("a: &a [x]\nb: &b [*a, *b]\n", 1)])
def test_long_text_or_anchor_in_itself_is_refused(text: str, line: int) -> None:
    with pytest.raises(AliasesTooLarge) as refused:
        load_documents(text)
    assert refused.value.problem_mark is not None
    assert refused.value.problem_mark.line == line


def test_levels_are_counted_through_aliases() -> None:
    with pytest.raises(TooDeep):
        load_documents(CHAIN, most_levels=100)


def test_aliases_that_api_server_takes_are_expanded() -> None:
    """95% of the values, as in a manifest with many equal steps."""
    (document,) = load_documents("first: &first {a: 1, b: [2, 3], c: d}\nsteps: [" + "*first," * 500 + "]\n")
    assert document["steps"] == [{"a": 1, "b": [2, 3], "c": "d"}] * 500


def test_anchors_of_one_document_end_with_it() -> None:
    assert load_documents("[&a 1, *a]\n---\n[&a 2, *a]\n") == [[1, 1], [2, 2]]


@pytest.mark.parametrize("text", [_bomb(9), MANY, "a: &a [*a]\nkind: *a\n"], ids=["levels", "text", "itself"])
def test_manifest_and_spec_name_line_of_alias(text: str) -> None:
    with pytest.raises(ManifestError, match=r"line \d+: invalid YAML: .*(aliases repeat|contains itself)"):
        read_manifest(text)
    with pytest.raises(InvalidInput, match=r"^spec.yaml: line \d+: .*(aliases repeat|contains itself)"):
        read_spec(text, "spec.yaml")
