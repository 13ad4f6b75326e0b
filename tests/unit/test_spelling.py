"""Spelling of field names in messages, as in the user's spec file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.errors import InvalidInput, describe_error
from maskrcnn_trainer.spec import load_spec, require_paths
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spelling import as_written, use_flags_of, use_names
from maskrcnn_trainer.task.log_setup import setup_logging

PROTOTXT = """\
init_learning_rate: 0.01
total_steps: 5
data_config { image_size: "(128, 128)" num_classes: 2 }
maskrcnn_config { freeze_bn: True test_rpn_nms_thresh: 0.5 }
"""
YAML = "initLearningRate: 0.01\ntotalSteps: 5\ndataConfig: {imageSize: [128, 128], num_classes: 2}\n"


@pytest.fixture(autouse=True)
def _camel_case_afterwards() -> Iterator[None]:
    yield
    use_names({})
    use_flags_of([])


def _load(folder: Path, text: str) -> None:
    (folder / "spec").write_text(text)
    load_spec(folder / "spec")


def test_messages_name_fields_as_a_prototxt_writes_them(tmp_path: Path) -> None:
    _load(tmp_path, PROTOTXT)
    assert as_written("maskrcnnConfig.nlayers: 18; lower initLearningRate.") == (
        "maskrcnn_config.nlayers: 18; lower init_learning_rate."
    )
    assert as_written("testRpnNmsThreshold") == "test_rpn_nms_thresh"


def test_messages_use_camel_case_for_yaml_except_for_other_spellings(tmp_path: Path) -> None:
    _load(tmp_path, YAML)
    assert as_written("dataConfig.numClasses and trainBatchSize") == "dataConfig.num_classes and trainBatchSize"


@pytest.mark.parametrize(
    "text", ["/data/numClasses/a", "numClasses.json", '"numClasses"', "a-numClasses", "xnumClasses"]
)
def test_paths_and_quoted_values_are_left_alone(tmp_path: Path, text: str) -> None:
    _load(tmp_path, PROTOTXT)
    assert as_written(text) == text


def test_log_lines_and_errors_of_a_task_have_the_users_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging()
    _load(tmp_path, PROTOTXT)
    logging.getLogger("maskrcnn").warning("set l1WeightDecay to %d", 0)
    err = capsys.readouterr().err
    assert "maskrcnn_config.freeze_bn is true without a checkpoint" in err
    assert "set l1_weight_decay to 0" in err
    assert describe_error(InvalidInput("valJsonFile: no such file"))[2] == "val_json_file: no such file"


def test_missing_path_is_reported_with_the_file_and_the_users_spelling(tmp_path: Path) -> None:
    _load(tmp_path, PROTOTXT)
    with pytest.raises(InvalidInput) as caught:
        require_paths(load_spec(tmp_path / "spec"), TaskName.EVALUATE, source=str(tmp_path / "spec"))
    message = describe_error(caught.value)[2]
    assert message.startswith(f"{tmp_path}/spec: 2 problems:\n  data_config.validation_file_pattern: is required by")
    assert "data_config.val_json_file" in message


def test_the_next_command_begins_in_camel_case(tmp_path: Path) -> None:
    _load(tmp_path, PROTOTXT)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert as_written("numClasses") == "numClasses"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["prune", "--results_dir", "x"], "--pruning_threshold 2: lower it; --gpus"),
        (["prune", "--results-dir", "a_b"], "--pruning-threshold 2: lower it; --gpus"),
        (["prune", "-r", "x"], "--pruning-threshold 2: lower it; --gpus"),
    ],
)
def test_flags_are_written_as_on_the_command_line(given: list[str], shown: str) -> None:
    use_flags_of(given)
    for text in ("--pruning_threshold 2: lower it; --gpus", "--pruning-threshold 2: lower it; --gpus"):
        assert as_written(text) == shown
