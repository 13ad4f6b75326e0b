"""The page on differences from TAO Toolkit is complete, and each row is held by tests that exist."""

from __future__ import annotations

import argparse
import ast
import functools
import logging
import os
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from maskrcnn_trainer.cli import build_parser, main
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.arguments import with_hyphens

ROOT = Path(__file__).resolve().parents[3]
WITHOUT_VALUE = ("--multi-node", "--launch_cuda_blocking", "--force_ptq", "-v")
PAGE = ROOT / "docs" / "reference" / "from-tao.md"
TESTS = Path(__file__).with_name("from_tao_tests.yaml")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        section: the heading above it.
        key: its first cell, or its second if the first is empty, without backquotes.
        original, here: texts in backquotes in the first two cells.
    """

    section: str
    line: int
    key: str
    original: tuple[str, ...]
    here: tuple[str, ...]


@functools.cache
def rows() -> tuple[Row, ...]:
    found, section = [], ""
    for number, line in enumerate(PAGE.read_text().splitlines(), start=1):
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not line.startswith("|") or line.startswith(("|---", "| TAO Toolkit |")):
            continue
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        assert len(cells) == 3, f"line {number} has {len(cells)} cells"
        original, here = (tuple(re.findall(r"`([^`]+)`", cell)) for cell in cells[:2])
        found.append(Row(section, number, (cells[0] or cells[1]).replace("`", ""), original, here))
    return tuple(found)


def held_by() -> dict[str, dict[str, list[str]]]:
    """Return the tests that hold each row, by section and key."""
    found: dict[str, dict[str, list[str]]] = yaml.safe_load(TESTS.read_text(encoding="utf-8"))
    return found


@functools.cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def commands(parser: argparse.ArgumentParser, name: str = "maskrcnn") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield all commands that have flags of their own, without aliases."""
    children = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not children:
        yield name, parser
    for action in children:
        seen = set()
        for word, child in action.choices.items():
            if id(child) not in seen:
                seen.add(id(child))
                yield from commands(child, f"{name} {word}")


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield all fields by their names in YAML; a part of a field follows the field's name and a dot."""
    for field in model.model_fields.values():
        yield f"{prefix}{field.alias}"
        for part in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                own = "" if field.alias in ("dataConfig", "maskrcnnConfig") else f"{field.alias}."
                yield from fields(part, own)


def test_each_row_has_tests_and_each_of_them_exists() -> None:
    assert len(rows()) > 150
    listed = {(section, key): tests for section, keys in held_by().items() for key, tests in keys.items()}
    keys = [(row.section, row.key) for row in rows()]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(listed)
    wrong = []
    for row, tests in listed.items():
        if not tests:
            wrong.append(f"{row} has no test")
        for test in tests:
            path, _, name = test.partition("::")
            file = ROOT / "tests" / path
            if not file.is_file() or name not in functions(file):
                wrong.append(f"{row}: {test} doesn't exist")
    assert not wrong, "\n".join(wrong)


def test_rows_are_short_enough_to_read() -> None:
    assert [row.line for row in rows() if len(PAGE.read_text().splitlines()[row.line - 1]) > 400] == []


def test_every_flag_has_a_row_below_its_command() -> None:
    missing = []
    for name, parser in commands(build_parser()):
        listed = {flag for row in rows() if row.section == name for cell in row.here for flag in cell.split()}
        for action in parser._actions:
            for flag in set(action.option_strings) - {"-h", "--help"} - listed:
                missing.append(f"{name} {flag}")
    assert not missing, f"{PAGE.name} has no row for {', '.join(sorted(missing))}"


def test_no_row_names_a_flag_that_is_not_there() -> None:
    known = {name: {flag for action in parser._actions for flag in action.option_strings}
             for name, parser in commands(build_parser())}  # fmt: skip
    stale = [
        f"line {row.line}: {flag}"
        for row in rows()
        if row.section.startswith("maskrcnn ")
        for cell in row.here
        for flag in cell.split()
        if flag not in known.get(row.section, set())
    ]
    assert not stale, "\n".join(stale)


def test_every_field_of_the_specification_has_a_row() -> None:
    listed = {
        cell for row in rows() if row.section in ("Top level", "dataConfig", "maskrcnnConfig") for cell in row.here
    }
    assert set(fields(ExperimentSpec)) - listed == set()
    assert listed - set(fields(ExperimentSpec)) == set()


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            ["train", "-e", "spec.txt", "-d", "out"],
            ["--log_file", "--mpirun-arg", "--multi-node", "--launch_cuda_blocking"],
        ),
        (["evaluate", "-e", "spec.txt", "-m", "a.tlt"], ["-i", "--image_dir", "--log_file"]),
        (["inference", "-i", "images", "-e", "spec.txt", "-m", "a.tlt"], ["--log_file"]),
        (
            ["dataset_convert", "-i", "images", "-a", "a.json", "-o", "out"],
            ["--gpus", "--gpu_index", "--num_processes", "--log_file"],
        ),
        (
            ["export", "-e", "spec.txt", "-m", "a.tlt"],
            [
                "--cal_json_file",
                "--static_batch_size",
                "--target_opset",
                "--force_ptq",
                "-v",
                "--log_file",
            ],
        ),
    ],
)
def test_flags_without_a_meaning_are_read_and_warned_about(
    command: list[str], flags: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = [word for flag in flags for word in ([flag] if flag in WITHOUT_VALUE else [flag, "0"])]
    with caplog.at_level(logging.WARNING):
        build_parser().parse_args(with_hyphens([*command, *words]))
    assert [record.getMessage() for record in caplog.records] == [
        f"{with_hyphens([flag])[0]} has no effect here and is ignored" for flag in flags
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "-e", "spec.txt", "-m", "a.tlt"],
        ["prune", "-m", "a.tlt", "-o", "out"],
        ["inference", "-i", "images", "-e", "spec.txt", "-m", "a.tlt", "-r", "out"],
        ["export", "-e", "spec.txt", "-m", "a.tlt", "-o", "a.onnx"],
    ],
)
def test_only_train_takes_several_processes(command: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert main([*command, "--gpus", "2"]) == 64
    assert "only train takes several" in caplog.text


@pytest.mark.parametrize(
    ("short", "long", "wanted"),
    [
        (
            "evaluate -e spec.txt -m a.tlt -k key -r out",
            "evaluate --experiment_spec spec.txt --model_path a.tlt --key key --results_dir out",
            {"experiment_spec": "spec.txt", "model_path": "a.tlt", "key": "key", "results_dir": "out"},
        ),
        (
            "inference -i images -m a.tlt -e spec.txt -k key -c names.txt -t 0.5 --include_mask -r out --exif",
            "inference --image_dir images --model_path a.tlt --experiment_spec spec.txt --key key "
            "--class_map names.txt --threshold 0.5 --include_mask --results_dir out --exif",
            {
                "image_dir": "images",
                "model_path": "a.tlt",
                "experiment_spec": "spec.txt",
                "key": "key",
                "class_map": "names.txt",
                "threshold": 0.5,
                "include_mask": True,
                "results_dir": "out",
                "exif": True,
            },
        ),
        (
            "export -m a.tlt -k key -e spec.txt -o a.etlt --data_type int8 --cal_data_file t --cal_image_dir i "
            "--cal_cache_file c --batches 2 --batch_size 3 --max_batch_size 4 --min_batch_size 1 --opt_batch_size 2 "
            "--max_workspace_size 5 --engine_file e --gen_ds_config -s --results_dir r --preprocessing",
            "export --model a.tlt --key key --experiment_spec spec.txt --output_file a.etlt --data-type int8 "
            "--cal-data-file t --cal-image-dir i --cal-cache-file c --batches 2 --batch-size 3 --max-batch-size 4 "
            "--min-batch-size 1 --opt-batch-size 2 --max-workspace-size 5 --engine-file e --gen-ds-config "
            "--strict_type_constraints --results-dir r --preprocessing",
            {
                "data_type": "int8",
                "cal_data_file": "t",
                "cal_image_dir": "i",
                "cal_cache_file": "c",
                "batches": 2,
                "batch_size": 3,
                "max_batch_size": 4,
                "min_batch_size": 1,
                "opt_batch_size": 2,
                "max_workspace_size": 5,
                "engine_file": "e",
                "gen_ds_config": True,
                "strict_type_constraints": True,
                "results_dir": "r",
                "preprocessing": True,
            },
        ),
    ],
    ids=["evaluate", "inference", "export"],
)
def test_every_spelling_of_the_original_is_read(short: str, long: str, wanted: dict[str, Any]) -> None:
    first, second = (vars(build_parser().parse_args(with_hyphens(words.split()))) for words in (short, long))
    assert first == second
    assert {name: first[name] for name in wanted} == wanted


def launched(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Return the settings that ``maskrcnn train`` with several processes passes to ``launch``."""
    asked: list[Any] = []

    def instead(settings: Any, _environment: Any, **_options: Any) -> int:
        asked.append(settings)
        return 0

    monkeypatch.delenv("HOROVOD_RANK", raising=False)
    monkeypatch.setattr("maskrcnn_trainer.launch.launch", instead)
    assert main(["train", "-e", "spec.txt", "-d", "out", *arguments]) == 0
    (settings,) = asked
    return settings


def test_gpu_index_chooses_the_devices_and_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("MASKRCNN_GPU_INDEX", "")
    settings = launched(monkeypatch, "--gpu_index", "1", "3")
    assert settings.processes == 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,3"


@pytest.mark.parametrize("command", ["evaluate -e s -r o", "inference -e s -i absent -r o", "export -e s"])
def test_gpu_index_is_the_one_gpu_that_a_task_sees(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with pytest.raises(SystemExit):  # the model is absent
        raise SystemExit(main([*command.split(), "-m", "absent.tlt", "--gpu_index", "2"]))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    for given, said in ((["1", "3"], "uses one GPU"), (["-1"], "start at 0")):
        assert main([*command.split(), "-m", "absent.tlt", "--gpu_index", *given]) == 64
        assert f"--gpu_index {' '.join(given)}" in caplog.text
        assert said in caplog.text
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"


@pytest.mark.parametrize(("given", "said"), [(["-1"], "start at 0"), (["1", "1"], "given twice")])
def test_gpus_of_a_training_are_counted_from_0_and_differ(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert main(["train", "-e", "spec.txt", "-d", "out", "--gpu_index", *given]) == 64
    assert said in caplog.text


def test_use_amp_of_the_command_line_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--use-amp" in launched(monkeypatch, "--gpus", "2", "--use_amp").task
    assert "--use-amp" not in launched(monkeypatch, "--gpus", "2").task


def test_xla_of_the_command_line_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--xla" in launched(monkeypatch, "--gpus", "2", "--xla").task
    assert "--xla" not in launched(monkeypatch, "--gpus", "2").task
