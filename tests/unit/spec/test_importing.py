"""``maskrcnn spec import``: the manifest has the values of the prototxt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import import_spec, parse_spec, read_spec
from maskrcnn_trainer.spec.importing import experiment_name, import_text


def test_the_manifest_trains_and_evaluates_the_same_spec(prototxt: str, tmp_path: Path) -> None:
    (tmp_path / "Shapes_v2.txt").write_text(prototxt)
    imported = import_spec(tmp_path / "Shapes_v2.txt", claim="my-claim")
    document = yaml.safe_load(imported.manifest)
    assert (document["apiVersion"], document["kind"]) == ("maskrcnn.dev/v1alpha1", "MaskRCNNExperiment")
    assert document["metadata"] == {"name": "shapes-v2"}
    body = document["spec"]
    assert body["workspace"] == {"persistentVolumeClaim": {"claimName": "my-claim"}}
    assert [step["name"] for step in body["steps"]] == ["train", "evaluate"]
    assert [step[step["name"]] for step in body["steps"]] == [{}, {}]
    assert parse_spec(body["experiment"]) == imported.spec == read_spec(prototxt).spec


def test_values_filled_in_are_marked_and_reported(prototxt: str) -> None:
    imported = import_text(prototxt.replace("momentum: 0.8\n", ""), source="a.txt")
    lines = imported.manifest.splitlines()
    assert "    momentum: 0.0  # filled in" in lines
    assert "    seed: 7" in lines
    assert "      fgThresh: 0.5  # filled in" in lines
    assert "filled in: momentum = 0.0" in imported.report
    assert "filled in: maskrcnn_config.fg_thresh = 0.5" in imported.report
    marked = sum(line.endswith("# filled in") for line in lines)
    assert marked == sum(line.startswith("filled in: ") for line in imported.report) > 30


FOLLOW_A_MODEL_FILE = ("anchorOffset", "roiMaxLevel", "roiAligned", "testScoreThreshold", "checkpointStyle")


def test_absent_fields_that_follow_a_model_file_are_not_written(prototxt: str) -> None:
    manifest = import_text(prototxt, source="a.txt").manifest
    written = yaml.safe_load(manifest)["spec"]["experiment"]
    fields = {*written, *written["maskrcnnConfig"]}
    assert "nlayers" in fields
    assert not fields & {*FOLLOW_A_MODEL_FILE, "classMapping", "checkpointClassNames", "freezeBnAffine"}


def test_given_fields_that_follow_a_model_file_are_written(minimal: dict[str, Any]) -> None:
    given = {
        "checkpoint": "/workspace/detector.pth",
        "checkpointStyle": "torchvision",
        "checkpointConfig": "config.yaml",
        "checkpointClassNames": ["person", "N/A"],
        "classMapping": {"traffic light": "Ampel"},
    }
    model = {"anchorOffset": 0.5, "roiMaxLevel": 6, "roiAligned": True, "testScoreThreshold": 0.0}
    imported = import_text(yaml.safe_dump({**minimal, **given, "maskrcnnConfig": model}), source="a.yaml")
    written = yaml.safe_load(imported.manifest)["spec"]["experiment"]
    assert {name: written[name] for name in given} == given
    assert {name: written["maskrcnnConfig"][name] for name in model} == model
    assert read_spec(imported.manifest).spec == imported.spec
    assert "checkpointConfig: config.yaml is not below /workspace, where the claim is mounted" in imported.report


def test_paths_outside_the_workspace_are_reported(prototxt: str) -> None:
    text = prototxt.replace("/workspace/data/train*", "/data/train*").replace(
        '  val_json_file: "/workspace/data/val.json"', ""
    )
    report = import_text(text, source="a.txt").report
    assert any("training_file_pattern: /data/train*.tfrecord is not below /workspace" in line for line in report)
    assert "data_config.val_json_file is missing; training and evaluation need it" in report


def test_yaml_of_a_spec_can_be_imported_but_a_manifest_cannot(minimal: dict[str, Any]) -> None:
    imported = import_text(yaml.safe_dump(minimal), source="a.yaml")
    assert imported.spec == parse_spec(minimal)
    with pytest.raises(InvalidInput, match="is already a MaskRCNNExperiment manifest"):
        import_text(imported.manifest, source="b.yaml")


@pytest.mark.parametrize("claim", ["", "Upper", "a b", "-a", "a: b", "a\n"])
def test_invalid_claim_name_is_refused(prototxt: str, claim: str) -> None:
    with pytest.raises(InvalidInput, match="--claim"):
        import_text(prototxt, source="a.txt", claim=claim)


def test_names_that_yaml_would_read_otherwise_are_quoted(prototxt: str) -> None:
    document = yaml.safe_load(import_text(prototxt, source="true.txt", claim="123").manifest)
    assert document["metadata"]["name"] == "true"
    assert document["spec"]["workspace"]["persistentVolumeClaim"]["claimName"] == "123"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("maskrcnn_train_resnet50.txt", "maskrcnn-train-resnet50"),
        ("/a/b/9 lives.txt", "experiment-9-lives"),
        ("___.txt", "experiment"),
        ("Ünïcode.prototxt", "n-code"),
        ("a" * 31 + "-b.txt", "a" * 31),
    ],
)
def test_names_of_files(path: str, name: str) -> None:
    assert experiment_name(path) == name


@given(st.text(max_size=60))
def test_every_name_is_a_dns_label_that_starts_with_a_letter(path: str) -> None:
    name = experiment_name(path)
    assert 1 <= len(name) <= 32
    assert name[0] in "abcdefghijklmnopqrstuvwxyz"
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not name.endswith("-")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_string_is_unchanged_in_the_manifest(text: str) -> None:
    spec = {"initLearningRate": 1e-05, "totalSteps": 5, "dataConfig": {"imageSize": [128, 128], "numClasses": 2}}
    # in quotes: PyYAML writes 1e100 without, and an API server reads that as a number
    quoted = yaml.safe_dump(text, default_style='"', allow_unicode=False)
    source = f"{yaml.safe_dump(spec)}checkpoint: {quoted}"
    imported = import_text(source, source="a.yaml")
    assert read_spec(imported.manifest).spec == imported.spec
    assert imported.spec.checkpoint == text
