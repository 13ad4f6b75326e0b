"""Recognition of the three formats of a spec, and refused texts."""

from __future__ import annotations

import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import SpecError, load_spec, load_yaml, parse_spec, read_spec


def manifest(minimal: dict[str, Any], **step: Any) -> dict[str, Any]:
    return {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": "shapes"},
        "spec": {"experiment": minimal, "steps": [{"name": "train", "train": {}, **step}]},
    }


def test_the_three_forms_are_recognized_by_content(minimal: dict[str, Any], prototxt: str) -> None:
    assert read_spec(yaml.safe_dump(minimal)).form == "yaml"
    assert read_spec(json.dumps(minimal, indent=1)).form == "yaml"
    assert read_spec(yaml.safe_dump(manifest(minimal))).form == "manifest"
    assert read_spec(prototxt).form == "prototxt"
    assert read_spec(yaml.safe_dump(manifest(minimal))).spec == read_spec(yaml.safe_dump(minimal)).spec


def test_snake_case_yaml_is_not_read_as_prototxt() -> None:
    text = "init_learning_rate: 1\ntotal_steps: 2\ndata_config: {image_size: [128, 128], num_classes: 2}\n"
    read = read_spec(text)
    assert (read.form, read.spec.momentum) == ("yaml", 0.9)


def test_a_prototxt_on_one_line_that_yaml_could_read_is_still_a_prototxt() -> None:
    text = 'data_config: { image_size: "(128, 128)", num_classes: 2 }\ninit_learning_rate: 1\nnum_epochs: 2'
    assert isinstance(yaml.safe_load(text), dict)
    read = read_spec(text)
    assert (read.form, read.spec.data_config.image_size) == ("prototxt", (128, 128))


def test_a_manifest_among_other_documents(minimal: dict[str, Any]) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "maskrcnn"}}
    text = yaml.safe_dump_all([claim, manifest(minimal), None])
    assert read_spec(text).spec == parse_spec(minimal)
    with pytest.raises(InvalidInput, match=r"a.yaml must have exactly one MaskRCNNExperiment; .*PersistentVolumeClaim"):
        read_spec(yaml.safe_dump(claim), "a.yaml")
    with pytest.raises(InvalidInput, match="must have exactly one MaskRCNNExperiment"):
        read_spec(yaml.safe_dump_all([manifest(minimal)] * 2))


def test_a_manifest_names_its_fields_from_the_top(minimal: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"spec.experiment.dataConfig.numClasses: 1 must be at least 2"):
        read_spec(yaml.safe_dump(manifest({**minimal, "dataConfig": {"imageSize": [128, 128], "numClasses": 1}})))
    with pytest.raises(InvalidInput, match=r"spec.experiment of the MaskRCNNExperiment is missing"):
        read_spec("kind: MaskRCNNExperiment\nspec: {}")


def test_changes_of_steps_are_not_applied_silently(minimal: dict[str, Any]) -> None:
    read = read_spec(yaml.safe_dump(manifest(minimal, experiment={"seed": 5})))
    assert read.spec.seed == 123
    assert read.warnings == ("experiment fields of the steps train are not applied",)


def test_numbers_are_read_as_an_api_server_reads_them(minimal: dict[str, Any]) -> None:
    (document,) = load_yaml("[1e-4, 2E+3, .5e1, -1.e2, 1e5x, 0.1, 12, 2024-01-01]")
    assert document == [0.0001, 2000.0, 5.0, -100.0, "1e5x", 0.1, 12, "2024-01-01"]
    text = yaml.safe_dump(minimal) + "l2WeightDecay: 1e-4\n"
    assert read_spec(text).spec.l2_weight_decay == 0.0001


def test_duplicate_key_is_refused(minimal: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="duplicate key 'seed'.*line"):
        read_spec(yaml.safe_dump(minimal) + "seed: 1\n" if "seed" in minimal else "seed: 1\nseed: 2\n")


def test_anchors_and_merge_keys_work() -> None:
    (document,) = load_yaml("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n")
    assert document["b"] == {"p": 1, "q": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- 1\n- 2\n", "is not a mapping"),
        ("a: [1, 2\nb: 3\n", "my.yaml is neither YAML nor a prototxt spec: while parsing a flow sequence at line 1"),
        ("just words", "is not a mapping"),
        ("a: 1\n---\nb: 2\n", "has several documents"),
        ("a: !!python/object/apply:os.system ['true']", "neither YAML nor a prototxt"),
        ("[" * 3000, "my.yaml: line 1: mappings or lists are nested more than 100 levels deep"),
        ("a: !!bool x", "neither YAML nor a prototxt"),
        (r'a: "\UFFFFFFFF"', "neither YAML nor a prototxt"),
        ("a: \x00", "neither YAML nor a prototxt"),
    ],
)
def test_text_that_is_not_a_spec_is_refused_with_its_name(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_spec(text, "my.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none.yaml cannot be read: No such file"):
        load_spec(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        load_spec(tmp_path)


def test_bytes_that_are_not_utf_8_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"\xef\xbb\xbfseed: 1\n# gr\xfcn\n")
    with pytest.raises(
        InvalidInput, match="latin.txt is not UTF-8 text: line 2 has the byte 0xfc; save the file as UTF-8"
    ):
        load_spec(tmp_path / "latin.txt")


def test_compressed_spec_and_manifest_are_named_with_remedy(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml.gz").write_bytes(gzip.compress(b"seed: 1"))
    with pytest.raises(InvalidInput, match=r"spec.yaml.gz is compressed \(gzip\), not text; unpack it$"):
        load_spec(tmp_path / "spec.yaml.gz")


def test_windows_files_are_read(tmp_path: Path, prototxt: str, minimal: dict[str, Any]) -> None:
    (tmp_path / "spec.txt").write_bytes(b"\xef\xbb\xbf" + prototxt.replace("\n", "\r\n").encode())
    assert load_spec(tmp_path / "spec.txt") == read_spec(prototxt).spec
    (tmp_path / "spec.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(minimal).replace("\n", "\r\n").encode())
    assert load_spec(tmp_path / "spec.yaml") == parse_spec(minimal)


def test_loading_logs_filled_in_values_and_notes(
    tmp_path: Path, prototxt: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spec.txt"
    path.write_text(prototxt.replace("momentum: 0.8\n", "").replace("freeze_bn: False", "freeze_bn: True"))
    with caplog.at_level(logging.INFO):
        load_spec(path)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("momentum is absent; using 0" in text for text in warnings)
    assert any("maskrcnn_config.freeze_bn is true without a checkpoint" in text for text in warnings)
    infos = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert f"{path}: momentum is absent, using 0.0" in infos


def test_notes_on_a_training_are_left_out_for_other_tasks(
    tmp_path: Path, minimal: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(minimal))
    load_spec(path, trains=False)
    assert caplog.messages == []
    load_spec(path)
    assert any("freezeBn is true without a checkpoint" in text for text in caplog.messages)


def test_snake_case_in_a_manifest_is_refused_with_the_right_name(minimal: dict[str, Any]) -> None:
    minimal["total_steps"] = minimal.pop("totalSteps")
    manifest = {"kind": "MaskRCNNExperiment", "spec": {"experiment": minimal}}
    with pytest.raises(SpecError) as caught:
        read_spec(yaml.safe_dump(manifest), "m.yaml")
    assert str(caught.value) == ("m.yaml: spec.experiment.total_steps: unknown field; did you mean totalSteps?")


@pytest.mark.parametrize("text", ["{\n" * 5000, "[\n" * 5000, "a: {\n" * 5000, "{a:\n" * 5000, "- " * 5000])
def test_yaml_nested_too_deep_is_one_sentence_with_the_line(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_spec(text, "spec.yaml")
    assert re.match(r"spec\.yaml: line (1|5\d|10[01]): mappings or lists are nested more than 100", str(refused.value))
