"""The prune task from file to file: its output, log, and refusals."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.detector.tlt import read_trained_model
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import network_of
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.training.retraining import check_same_pruning, open_pruned

pytestmark = pytest.mark.trainer

EXPERIMENT: dict[str, Any] = {
    "initLearningRate": 0.01,
    "totalSteps": 10,
    "dataConfig": {"imageSize": [128, 128], "numClasses": 3},
    "maskrcnnConfig": {"nlayers": 10, "fastRcnnMlpHeadDim": 64, "mrcnnResolution": 8, "testRpnPostNmsTopn": 50},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model in which the first 24 filters of every layer are strong and stay at a threshold of 0.5."""
    network = MaskRCNN(Architecture.from_spec(parse_spec(EXPERIMENT)))
    generator = np.random.default_rng(0)
    variables = {}
    for name, variable in network.named_variables.items():
        value = generator.normal(size=tuple(variable.shape)).astype(np.float32)
        if name.endswith("/kernel"):
            value /= np.sqrt((value**2).sum(axis=tuple(range(value.ndim - 1))))
            value[..., 24:] *= 0.1
        variables[name] = np.abs(value) if name.endswith("variance") else value
    path = tmp_path_factory.mktemp("trained") / "model.step-10.tlt"
    write_model_file(
        path,
        ModelFile(
            architecture=network.architecture.to_json(),
            experiment=EXPERIMENT,
            class_map={"ids": [1, 2], "names": ["a", "b"]},
            step=10,
            variables=variables,
            optimizer={"conv1/kernel": np.zeros((7, 7, 3, 64), np.float32)},
            state={"fingerprint": "a8c47326caeee986b816f946d049d9ad-v1"},
        ),
    )
    return path


@pytest.fixture(autouse=True)
def tensorflow_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip setting TensorFlow's threads, which is possible only once in a process; these tests share one."""
    monkeypatch.setattr("maskrcnn_trainer.pruning.task.prepare_tensorflow", lambda **_options: None)


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "status.json").read_text().splitlines()]


def failed_with(code: int, *arguments: str) -> None:
    try:
        assert main(arguments) == code
    except SystemExit as end:
        assert end.code == code


def test_strong_filters_stay_and_the_file_requires_retraining(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert (
            main(["prune", "-m", str(trained), "-o", str(tmp_path), "-pth", "0.5", "-el", "fc6", "l3", "bn_conv1"]) == 0
        )
    before, after = read_model_file(trained), read_model_file(tmp_path / "model.tlt")
    assert after.retrain_required
    assert (after.step, after.experiment, after.class_map) == (10, before.experiment, before.class_map)
    assert not after.optimizer
    assert not after.state
    filters = after.architecture["filters"]
    assert filters["conv1"] == filters["block_4a_conv_1"] == filters["fc7"] == filters["mask-conv-l2"] == 24
    # The excluded layer, those in its group, and those that reach an output.
    assert not {"fc6", "l2", "l3", "l5", "post_hoc_d2", "rpn-box", "conv5-mask", "mask_fcn_logits"} & set(filters)
    np.testing.assert_array_equal(after.variables["conv1/kernel"], before.variables["conv1/kernel"][..., :24])
    np.testing.assert_array_equal(after.variables["bn_conv1/beta"], before.variables["bn_conv1/beta"][:24])
    np.testing.assert_array_equal(after.variables["fc7/kernel"], before.variables["fc7/kernel"][:, :24])
    network_of(after)

    counts = [sum(value.size for value in model.variables.values()) for model in (before, after)]
    result = json.loads((tmp_path / "result.json").read_text())
    metrics = result["metrics"]
    assert metrics["param_count"] == counts[1]
    assert result["facts"] == {"parameters": counts[1]}
    assert metrics["pruning_ratio"] == pytest.approx(counts[1] / counts[0])
    assert metrics["size"] == (tmp_path / "model.tlt").stat().st_size == result["artifacts"]["model"]["bytes"]
    assert 0 < metrics["flops_ratio"] < 1
    assert (result["task"], result["modelPath"]) == ("prune", str(tmp_path / "model.tlt"))
    first, *_, last = records(tmp_path)
    assert (first["status"], first["message"]) == ("STARTED", "Starting Mask R-CNN pruning.")
    assert (last["status"], last["kpi"]) == ("SUCCESS", metrics)

    said = [record.getMessage() for record in caplog.records]
    assert any(line.split() == ["conv1", "64", "24"] for line in said)
    assert [line for line in said if "has no effect" in line] == [
        "--excluded-layers bn_conv1 has no effect: the layer has no filters; name the convolution or dense layer "
        "before it"
    ]
    assert any(line.split() == ["rpn-box", "12", "12", "(kept", "whole)"] for line in said)
    assert f"Pruning ratio (pruned model / original model): {counts[1] / counts[0]:.6f}" in said


def test_dry_run_logs_the_same_and_writes_nothing(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKRCNN_TERMINATION_LOG", str(tmp_path / "termination.json"))
    with caplog.at_level(logging.INFO):
        assert main(["prune", "-m", str(trained), "-o", str(tmp_path / "out"), "-pth", "0.5", "--dry-run"]) == 0
    assert any(record.getMessage().split() == ["conv1", "64", "24"] for record in caplog.records)
    assert "Pruning ratio" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_pruned_model_is_refused_until_it_is_trained_and_may_be_pruned_again(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert main(["prune", "-m", str(trained), "-o", str(once), "-pth", "0.5", "-k", "secret"]) == 0
    spec = parse_spec(EXPERIMENT)
    with pytest.raises(InvalidInput, match="needs to be retrained first") as refused:
        read_trained_model(once / "model.tlt", "secret", spec)
    assert (refused.value.exit_code, refused.value.reason) == (64, "RetrainFirst")

    with caplog.at_level(logging.INFO):
        again = ["prune", "-m", str(once / "model.tlt"), "-o", str(twice), "-pth", "0.97", "-nf", "4", "-pg", "2"]
        assert main([*again, "-k", "secret"]) == 0
    assert "is already pruned and is pruned further" in caplog.text
    filters = read_model_file(twice / "model.tlt", "secret").architecture["filters"]
    assert filters["fc7"] < 24
    assert json.loads((twice / "result.json").read_text())["metrics"]["pruning_ratio"] < 1
    failed_with(64, *again[:3], "-o", str(tmp_path / "third"), "-k", "wrong")
    assert not (tmp_path / "third" / "model.tlt").exists()


def test_run_of_the_operator_replaces_the_result_of_an_earlier_attempt(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.tlt").write_bytes(b"left by an earlier attempt")
    (tmp_path / ".model.tlt.12345678.partial").touch()
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", "a8c47326caeee986b816f946d049d9ad-v1")
    monkeypatch.setenv("MASKRCNN_RESULTS_DIR", str(tmp_path))
    assert main(["prune", "-m", str(trained), "-pth", "0.5"]) == 0
    assert read_model_file(tmp_path / "model.tlt").retrain_required
    assert json.loads((tmp_path / "result.json").read_text())["fingerprint"] == "a8c47326caeee986b816f946d049d9ad-v1"
    assert list(tmp_path.glob(".*.partial")) == []


def test_superseded_run_does_not_replace_the_model_of_its_successor(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.tlt").write_bytes(b"of the successor")
    run = {
        "version": 1,
        "experimentUid": "u",
        "attempt": 2,
        "fingerprint": "a8c47326caeee986b816f946d049d9ad-v1",
        "token": "theirs",
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", "a8c47326caeee986b816f946d049d9ad-v1")
    monkeypatch.setenv("MASKRCNN_RUN_TOKEN", "ours")
    failed_with(75, "prune", "-m", str(trained), "-o", str(tmp_path))
    assert (tmp_path / "model.tlt").read_bytes() == b"of the successor"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-pth", "1.0", "-nf", "0"], "nothing would be left of conv1"),
        (["-el", "block_1a_conv1"], "did you mean block_1a_conv_1"),
        (["-pth", "0.0"], "No filter was removed"),
    ],
)
def test_pruning_nothing_or_everything_is_reported(
    trained: Path, tmp_path: Path, flags: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        failed_with(0 if said.startswith("No filter") else 64, "prune", "-m", str(trained), "-o", str(tmp_path), *flags)
    assert said in caplog.text
    assert (tmp_path / "model.tlt").exists() == said.startswith("No filter")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (("architecture", {"nlayers": 7}), "architecture.nlayers: 7 is not one of"),
        (("architecture", {"mrcnn_resolution": "8"}), 'architecture.mrcnn_resolution: "8" is not a whole number'),
        (("architecture", {"aspect_ratios": 3}), "architecture.aspect_ratios: 3 is not a list of (width, height)"),
        (("architecture", {"bbox_reg_weights": [1, 2]}), "architecture.bbox_reg_weights: [1, 2] is not four numbers"),
        (("architecture", {"depth": 50}), "architecture: unknown or missing fields: depth"),
        (("architecture", {"filters": {"conv1": 32}}), "conv1 has 32 filters in the architecture of model"),
        (
            ("architecture", {"filters": {"conv9": 32}}),
            "conv9 has 32 filters in the architecture of model.json, but the",
        ),
        (
            ("architecture", {"fast_rcnn_mlp_head_dim": 10**9}),
            "fc6 has 1000000000 filters in the architecture of model",
        ),
        (("architecture", {"num_classes": 10**8}), "class-predict has 100000000 filters in the architecture of model"),
        (("architecture", {"num_scales": 10**6}), "rpn-class has 3000000 filters in the architecture of model.json"),
        (
            ("architecture", {"mrcnn_resolution": 10**6}),
            "architecture.mrcnn_resolution: 1000000 is not a multiple of 4",
        ),
        (("experiment", {"maskrcnnConfig": {"nlayers": 7}}), "its experiment: maskrcnnConfig.nlayers: "),
        (
            ("variables", {"conv1/bias": np.float32(0)}),
            "the file and the network of its architecture have different variables (1)",
        ),
        (("variables", {"fc6/bias": np.zeros(64, np.float64)}), "fc6/bias is float64 in the file, float32 in"),
        (("variables", {"fc6/bias": np.full(64, np.nan, np.float32)}), "fc6/bias has values that are NaN or infinite"),
    ],
)
def test_a_model_file_with_wrong_content_is_named_by_its_path(
    trained: Path, tmp_path: Path, content: tuple[str, dict[str, Any]], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, (part, values) = read_model_file(trained), content
    write_model_file(tmp_path / "wrong.tlt", replace(model, **{part: {**getattr(model, part), **values}}))
    failed_with(64, "prune", "-m", str(tmp_path / "wrong.tlt"), "-o", str(tmp_path / "out"))
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(f"{tmp_path / 'wrong.tlt'}: {fault}")
    assert not (tmp_path / "out" / "model.tlt").exists()


def test_threshold_above_all_norms_is_a_warning(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["prune", "-m", str(trained), "--dry-run", "-pth", "2"]) == 0
    assert "--pruning-threshold 2: with --normalizer max no filter is above 1" in caplog.text


def test_train_accepts_a_pruned_model_and_names_the_fields_that_it_determines(trained: Path, tmp_path: Path) -> None:
    assert main(["prune", "-m", str(trained), "-o", str(tmp_path), "-pth", "0.5"]) == 0
    path = str(tmp_path / "model.tlt")

    def spec(**model: Any) -> Any:
        config = {**EXPERIMENT["maskrcnnConfig"], **model}
        return parse_spec({**EXPERIMENT, "trainBatchSize": 7, "prunedModelPath": path, "maskrcnnConfig": config})

    opened = open_pruned(spec(testNms=0.3, freezeBn=False), None)
    assert opened is not None
    assert opened.architecture["filters"]["conv1"] == 24
    with pytest.raises(InvalidInput, match="prunedModelPath.*maskrcnnConfig.nlayers: 18 in the spec") as refused:
        open_pruned(spec(nlayers=18), None)
    assert "To follow the file, remove maskrcnnConfig.nlayers from the spec" in str(refused.value)


def test_model_that_was_not_pruned_is_refused_as_pruned_model(trained: Path) -> None:
    with pytest.raises(InvalidInput, match="is not pruned; give it as checkpoint"):
        open_pruned(parse_spec({**EXPERIMENT, "prunedModelPath": str(trained)}), None)


def test_retraining_continues_without_the_pruned_file_but_not_with_another(trained: Path, tmp_path: Path) -> None:
    for name, flags in (("first", []), ("second", ["-el", "conv1"])):
        assert main(["prune", "-m", str(trained), "-o", str(tmp_path / name), "-pth", "0.5", *flags]) == 0
    first, second = (tmp_path / name / "model.tlt" for name in ("first", "second"))
    checkpoint = read_model_file(first).architecture
    check_same_pruning(parse_spec({**EXPERIMENT, "prunedModelPath": str(first)}), None, checkpoint)
    with pytest.raises(
        InvalidInput, match="is not the pruned model of the .*first is conv1: 24 filters in the checkpoint, all"
    ) as refused:
        check_same_pruning(parse_spec({**EXPERIMENT, "prunedModelPath": str(second)}), None, checkpoint)
    assert str(second) in str(refused.value)
    assert "Give another results directory" in str(refused.value)
    second.unlink()
    check_same_pruning(parse_spec({**EXPERIMENT, "prunedModelPath": str(second)}), None, checkpoint)
