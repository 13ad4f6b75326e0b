from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from maskrcnn_operator.core.arguments import (
    ProcessPaths,
    launch_arguments,
    results_in_store_environment,
    task_arguments,
    task_environment,
)


def process_paths(**changes: Any) -> ProcessPaths:
    given: dict[str, Any] = {
        "results_dir": "/workspace/nuclei/x",
        "spec_file": "/etc/spec.yaml",
        "model_path": "/workspace/m.tlt",
        "termination_log": "/dev/termination-log",
    }
    return ProcessPaths(**(given | changes))


R = "/workspace/nuclei/x"

COMMANDS = [
    (
        "convert-val",
        f"dataset_convert -i /workspace/raw/val -a /workspace/raw/val.json -o {R} -t val -s 32 --include_mask",
    ),
    ("train", f"train -e /etc/spec.yaml -d {R}"),
    ("evaluate", f"evaluate -e /etc/spec.yaml -m /workspace/m.tlt -r {R}"),
    ("prune", f"prune -m /workspace/m.tlt -o {R} -n max -eq union -pg 8 -pth 0.5 -nf 16"),
    (
        "inference",
        f"inference -e /etc/spec.yaml -m /workspace/m.tlt -i /workspace/samples -r {R} -t 0.5 --include_mask",
    ),
    (
        "export",
        f"export -e /etc/spec.yaml -m /workspace/m.tlt -o {R}/model.onnx --data_type int8 --batch_size 8 "
        f"--max_batch_size 1 --max_workspace_size 2147483648 --batches 10 --cal_cache_file {R}/cal.bin",
    ),
]


@pytest.mark.parametrize(("step", "expected"), COMMANDS)
def test_command_lines(make: Any, step: str, expected: str) -> None:
    assert " ".join(task_arguments(make().step(step), process_paths())) == expected


def test_every_field_of_a_task_reaches_its_command_line(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        steps = {step["name"]: step for step in spec["steps"]}
        steps["convert-train"]["datasetConvert"].update(includeMask=False, skipBadImages=True, crowdAsObjects=True)
        steps["train"]["train"]["output"] = "best"
        steps["prune"]["prune"]["excludedLayers"] = ["fc6", "l2"]
        steps["inference"]["inference"].update(classMap="/workspace/names.txt", exif=True)
        steps["export"]["export"].update(
            calibration={"imageDir": "/workspace/cal"}, engine={"build": True}, genDsConfig=True, preprocessing=True
        )

    experiment = make(change)
    lines = {step.name: " ".join(task_arguments(step, process_paths(encrypted=True))) for step in experiment.spec.steps}
    assert lines["convert-train"].endswith("--no-include_mask --skip_bad_images --crowd_as_objects")
    assert lines["train"].endswith("--output best")
    assert lines["prune"].endswith("-el fc6 l2")
    assert lines["inference"].endswith("-c /workspace/names.txt --include_mask --exif")
    for part in (
        f"-o {R}/model.etlt",
        "--cal_image_dir /workspace/cal",
        f"--engine_file {R}/model.engine",
        "--gen_ds_config",
        "--preprocessing",
    ):
        assert part in lines["export"]


@pytest.mark.parametrize(
    ("step", "mapped"),
    [
        ("convert-train", {"-i": "/home/me/ws/raw/train", "-a": "/home/me/ws/raw/train.json"}),
        ("evaluate", {"-m": "/home/me/ws/m.tlt"}),
        ("prune", {"-m": "/home/me/ws/m.tlt"}),
        (
            "inference",
            {"-m": "/home/me/ws/m.tlt", "-i": "/home/me/ws/samples", "-c": "/home/me/ws/names.txt"},
        ),
        ("export", {"-m": "/home/me/ws/m.tlt", "--cal_image_dir": "/home/me/ws/cal"}),
    ],
)
def test_every_path_of_the_manifest_is_mapped(make: Any, step: str, mapped: dict[str, str]) -> None:
    def name_files(spec: dict[str, Any]) -> None:
        steps = {step["name"]: step for step in spec["steps"]}
        steps["inference"]["inference"]["classMap"] = "/workspace/names.txt"
        steps["export"]["export"]["calibration"] = {"imageDir": "/workspace/cal"}

    def local(path: str) -> str:
        return path.replace("/workspace", "/home/me/ws")

    line = task_arguments(make(name_files).step(step), process_paths(path=local, results_dir="/results"))
    assert {flag: line[line.index(flag) + 1] for flag in mapped} == mapped
    assert not [argument for argument in line if argument.startswith("/workspace")]


@pytest.mark.parametrize(("step", "missing"), [("train", "spec_file"), ("prune", "model_path")])
def test_missing_spec_file_or_model_raises(make: Any, step: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"step {step}: the task {step} needs"):
        task_arguments(make().step(step), process_paths(**{missing: None}))


def test_launch(make: Any) -> None:
    step = make(lambda spec: spec["steps"][2].update(threadsPerProcess=4)).step("train")
    line = launch_arguments(
        step, ("train", "-e", "S"), nodes=2, processes_per_node=8, node_rank="$(INDEX)", rendezvous="train-0:29500"
    )
    expected = (
        "launch --nodes 2 --node-rank $(INDEX) --processes-per-node 8 --rendezvous train-0:29500 "
        "--threads-per-process 4 -- train -e S"
    )
    assert " ".join(line) == expected
    kept = launch_arguments(step, ("train",), nodes=1, processes_per_node=1, keep_logs=True)
    assert " ".join(kept).endswith("--threads-per-process 4 --keep-logs -- train")


def test_environment_holds_no_key() -> None:
    found = task_environment(process_paths(), fingerprints=["f"], attempt=3, experiment_uid="u")
    assert found == {
        "MASKRCNN_RESULTS_DIR": R,
        "MASKRCNN_FINGERPRINT": "f",
        "MASKRCNN_ATTEMPT": "3",
        "MASKRCNN_EXPERIMENT_UID": "u",
        "MASKRCNN_TERMINATION_LOG": "/dev/termination-log",
    }


def test_time_of_creation_is_handed_to_the_task() -> None:
    created = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = task_environment(process_paths(), fingerprints=["f"], attempt=1, experiment_uid="u", created=created)
    assert found["MASKRCNN_CREATED"] == "2026-01-31T12:00:00Z"


def test_a_task_is_given_the_oldest_fingerprint_and_all_of_them() -> None:
    found = task_environment(process_paths(), fingerprints=["f-v1", "g-v2"], attempt=1, experiment_uid="u")
    assert (found["MASKRCNN_FINGERPRINT"], found["MASKRCNN_FINGERPRINTS"]) == ("f-v1", "f-v1 g-v2")


def test_conversion_without_a_tag_has_no_tag_argument(make: Any) -> None:
    experiment = make(lambda spec: spec["steps"][0]["datasetConvert"].pop("tag"))
    assert "-t" not in task_arguments(experiment.step("convert-train"), process_paths())


def test_results_in_object_storage_need_owner_inputs_and_a_working_directory() -> None:
    found = results_in_store_environment(
        owner_id="me", working_dir="/state/.working", input_fingerprints={"train": ("old", "new"), "prune": ("p",)}
    )
    assert json.loads(found.pop("MASKRCNN_INPUT_FINGERPRINTS")) == {"train": ["old", "new"], "prune": ["p"]}
    assert found == {"MASKRCNN_OWNER_ID": "me", "MASKRCNN_WORKING_DIR": "/state/.working"}


def test_namespace_and_owner_to_replace_are_passed_if_there_are_any() -> None:
    found = results_in_store_environment(
        owner_id="me", owner_namespace="team", working_dir="/w", input_fingerprints={}, take_over_from="other/3"
    )
    assert (found["MASKRCNN_OWNER_NAMESPACE"], found["MASKRCNN_TAKE_OVER_FROM"]) == ("team", "other/3")
