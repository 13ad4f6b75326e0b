"""Command line of prune: all flags of TAO Toolkit, and an existing model is not overwritten."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

import pytest

from maskrcnn_trainer.cli import build_parser, main
from maskrcnn_trainer.task.arguments import with_hyphens
from maskrcnn_trainer.task.gpus import GpuRequest, own_gpu


def test_every_spelling_of_the_original_is_read(caplog: pytest.LogCaptureFixture) -> None:
    short = shlex.split("prune -m model.tlt -o out -k secret -n L2 -eq geometric_mean -pg 4 -pth 0.7 -nf 8 -el fc6 fc7")
    long = shlex.split(
        "prune --model model.tlt --output_dir out --key secret --normalizer L2 --equalization_criterion geometric_mean "
        "--pruning_granularity 4 --pruning_threshold 0.7 --min_num_filters 8 --excluded_layers fc6 fc7"
    )
    parser = build_parser()
    first, second = (vars(parser.parse_args(with_hyphens(arguments))) for arguments in (short, long))
    assert first == second
    assert (first["pruning_threshold"], first["min_num_filters"], first["excluded_layers"]) == (0.7, 8, ["fc6", "fc7"])
    with caplog.at_level(logging.WARNING):
        parser.parse_args([*with_hyphens(short), "-v", "--log-file", "log.txt"])
    assert [record.args for record in caplog.records] == [("-v",), ("--log-file",)]


def test_the_defaults_are_those_of_the_original() -> None:
    parsed = build_parser().parse_args(["prune", "-m", "model.tlt", "-o", "out"])
    assert (parsed.normalizer, parsed.equalization_criterion) == ("max", "union")
    assert (parsed.pruning_granularity, parsed.pruning_threshold, parsed.min_num_filters) == (8, 0.1, 16)
    assert not parsed.excluded_layers
    assert not parsed.dry_run


def test_pruning_hides_all_gpus_and_ignores_gpu_index(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("MASKRCNN_GPUS", "8")
    assert main(["prune", "-m", "absent.tlt", "-o", "out", "--gpu_index", "2"]) == 64
    assert "--gpu-index has no effect here and is ignored" in caplog.text
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    # a process without a GPU meets the request of its step
    assert own_gpu(0, GpuRequest.from_environ(), local_rank=0) is None


def test_existing_model_is_not_overwritten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model.tlt").write_bytes(b"precious")
    (tmp_path / "result.json").write_text("{}")
    with caplog.at_level(logging.ERROR):
        assert main(["prune", "-m", "trained.tlt", "-o", str(tmp_path)]) == 64
    assert f"{tmp_path / 'model.tlt'} already exists" in caplog.text
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "model.tlt": b"precious",
        "result.json": b"{}",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "out"], "-m"),
        (["-m", "a.tlt"], "-o is missing"),
        (["-m", "a.tlt", "-o", "out", "-n", "l2"], "invalid choice: 'l2'"),
        (["-m", "a.tlt", "-o", "out", "-pth", "nan"], "--pruning-threshold nan"),
        (["-m", "a.tlt", "-o", "out", "--gpus", "2"], "prune runs as one process"),
    ],
)
def test_invalid_command_line_ends_with_64(arguments: list[str], said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert main(["prune", *arguments]) == 64
    assert said in caplog.text
