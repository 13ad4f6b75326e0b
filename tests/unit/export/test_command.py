"""The command line of export: names of outputs, and errors that are found before any work."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from maskrcnn_trainer.cli import build_parser, main
from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput
from maskrcnn_trainer.export.outputs import ExportFiles, model_file
from maskrcnn_trainer.task.arguments import with_hyphens

MODEL = Path("/models/model.step-9.tlt")


@pytest.mark.parametrize(
    ("output", "directory", "key", "expected"),
    [
        (None, None, None, "/models/model.step-9.onnx"),
        (None, "/results", "k", "/results/model.step-9.etlt"),
        ("out/net.onnx", "/results", None, "out/net.onnx"),
        ("out/net", None, None, "out/net.onnx"),
        ("out/net.v2", None, "k", "out/net.v2.etlt"),
    ],
)
def test_where_the_model_goes(output: str | None, directory: str | None, key: str | None, expected: str) -> None:
    assert model_file(output, MODEL, directory, key) == Path(expected)


def test_a_name_of_another_format_is_completed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert model_file("out/net.uff", MODEL, None, None) == Path("out/net.uff.onnx")
    assert "-o out/net.uff: export writes ONNX; writing out/net.uff.onnx instead" in caplog.text


def test_name_that_contradicts_the_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no key"):
        model_file("net.etlt", MODEL, None, None)
    with pytest.raises(InvalidInput, match="name an .etlt"):
        model_file("net.onnx", MODEL, None, "k")
    with pytest.raises(InvalidInput, match="is a directory"):
        model_file(str(tmp_path), MODEL, None, None)


def test_every_flag_and_long_name_of_the_original_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    line = (
        "export --model m.tlt --key k --experiment_spec s.txt --output_file o.etlt --data_type int8 "
        "--cal_data_file t.h5 --cal_image_dir i --cal_cache_file c.bin --cal_json_file j --batches 3 --batch_size 4 "
        "--max_batch_size 8 --max_workspace_size 1000 --engine_file e --gen_ds_config -s --strict_type_constraints "
        "--static_batch_size -1 --target_opset 12 --results_dir r --min_batch_size 1 --opt_batch_size 2 --force_ptq "
        "-v --gpu_index 0 --log_file l"
    )
    with caplog.at_level(logging.WARNING):
        arguments = build_parser().parse_args(with_hyphens(line.split()))
    assert (arguments.batches, arguments.batch_size, arguments.max_batch_size, arguments.opt_batch_size) == (3, 4, 8, 2)
    assert (arguments.model, arguments.output_file, arguments.cal_data_file) == ("m.tlt", "o.etlt", "t.h5")
    assert arguments.gen_ds_config
    assert arguments.strict_type_constraints
    ignored = {record.message.split()[0] for record in caplog.records}
    assert ignored == {
        "--cal-json-file", "--static-batch-size", "--target-opset", "--force-ptq", "-v", "--log-file",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--batches", "0"], "--batches 0"),
        (["--batch_size", "-1"], "--batch_size -1"),
        (["--max_batch_size", "2", "--opt_batch_size", "4"], "--opt_batch_size 4"),
        (["--max_workspace_size", "0"], "--max_workspace_size 0"),
        (["--data_type", "int4"], "int4"),
    ],
)
def test_numbers_that_cannot_be(flags: list[str], named: str, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["export", "-m", "m.tlt", "-e", "s.yaml", *flags]) == EXIT_INVALID
    assert named in caplog.text


def test_nothing_that_exists_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MASKRCNN_FINGERPRINT", raising=False)
    files = ExportFiles(tmp_path / "m.onnx", tmp_path / "cal.bin", tmp_path / "m.engine", deepstream=True)
    flags = ["--data_type", "int8", "--cal_cache_file", str(files.cache), "--engine_file", str(files.engine)]
    names = ["m.onnx", "cal.bin", "m.engine", "m.engine.json", "nvinfer_config.txt", "labels.txt"]
    assert [path.name for path in files.all] == names
    for name in names:
        there = tmp_path / name
        there.touch()
        caplog.clear()
        command = ["export", "-m", "m.tlt", "-e", "s.yaml", "-o", str(tmp_path / "m"), *flags, "--gen_ds_config"]
        assert main(command) == EXIT_INVALID
        assert str(there) in caplog.text
        there.unlink()


def test_an_engine_that_cannot_be_built_here_is_refused_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    (tmp_path / "m.tlt").write_bytes(b"model")
    spec = str(tmp_path / "absent.yaml")
    command = ["export", "-m", str(tmp_path / "m.tlt"), "-e", spec, "--engine_file", str(tmp_path / "m.engine")]
    for _ in range(2):
        caplog.clear()
        assert main(command) == EXIT_INVALID
        assert "the package tensorrt is not installed" in caplog.text
        assert "an image has it if built with the argument TENSORRT" in caplog.text
        assert [path.name for path in tmp_path.iterdir()] == ["m.tlt"]
