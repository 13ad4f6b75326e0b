"""Command line: imported modules, refused arguments, written files."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.shared.version import version

PROTOTXT = """
total_steps: 10
init_learning_rate: 0.01
data_config { image_size: "(128, 128)" num_classes: 4 }
maskrcnn_config { nlayers: 18 arch: "resnet" }
"""


def test_help_comes_without_tensorflow() -> None:
    program = (
        "import sys; from maskrcnn_trainer.cli import build_parser; build_parser().format_help();"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_first_log_line_has_the_version_and_the_task(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level("INFO"):
        main(["decrypt", "-m", str(tmp_path / "absent.tlt"), "-o", str(tmp_path / "out.tlt"), "-k", "x"])
    assert caplog.messages[0] == f"maskrcnn {version()}: decrypt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "-d", "x"], "required: -e"),
        (
            ["train", "-e", "x", "-d", "x", "--gpus", "2", "--num_processes", "3"],
            "conflicting numbers of processes: --gpus 2, --num-processes 3",
        ),
        (["train", "-e", "x", "-d", "x", "--gpus", "0"], "--gpus 0: must be 1 to 256"),
        (["train", "-e", "x", "-d", "x", "--gpus", "100000"], "--gpus 100000: must be 1 to 256"),
        (
            ["train", "-e", "x", "-d", ""],
            "train: argument -d/--results-dir/--model-dir/-r: the value is empty",
        ),
        (["spec", "import", ""], "maskrcnn spec import: argument spec: the value is empty"),
        ([""], "argument TASK: invalid choice: ''"),
        (["train", "-e", "x"], "-d is missing"),
        (["paint"], "invalid choice: 'paint'"),
        (["launch", "--nodes", "2", "--", "train"], "--rendezvous HOST:PORT is required"),
        *(
            (["launch", "--rendezvous", rendezvous, "--", "train"], "expected HOST:PORT")
            for rendezvous in (
                "here",
                "a..b:1234",
                f"{70 * 'a'}:1234",
                f"{'.'.join(130 * ['a'])}:1",
                "a b:1",
                "a-:1",
                "127.0.0.1/x:1",
                "user:pw@127.0.0.1:1",
                "[::1]:1",
                "::1:1",
                "h\u00e4st:1",
                "here:\u0661",
                f"here:{'0' * 5000}1",
            )
        ),
        (["launch", "--processes-per-node", "2", "--", "evaluate"], "only train can use several"),
        (["launch"], "the task is missing"),
        (["launch", "--", ""], "the task is missing"),
        (["launch", "--nodes", "0", "--", "train"], "--nodes 0: must be 1 to 999"),
        (["launch", "--nodes", "1000", "--", "train"], "--nodes 1000: must be 1 to 999"),
        (["launch", "--processes-per-node", "0", "--", "train"], "--processes-per-node 0: must be 1 to 256"),
        (["launch", "--processes-per-node", "100000", "--", "train"], "--processes-per-node 100000: must be 1 to 256"),
        (["launch", "--threads-per-process", "0", "--", "train"], "--threads-per-process 0: must be 1 to 1024"),
        (["launch", "--threads-per-process", "1025", "--", "train"], "must be 1 to 1024"),
        (["decrypt", "-m", "absent.tlt", "-o", "out.tlt", "-k", "x"], "absent.tlt: no such model file"),
        (["spec", "import", "absent.txt"], "absent.txt"),
    ],
)
def test_what_cannot_work_is_refused_with_64(
    arguments: list[str],
    message: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MASKRCNN_RESULTS_DIR", "MASKRCNN_FINGERPRINT", "MASKRCNN_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert main(arguments) == 64
    assert message in caplog.text


@pytest.mark.parametrize(
    "task",
    [
        "dataset_convert",
        "train",
        "evaluate",
        "prune",
        "inference",
        "export",
        "launch",
        "spec",
        "spec import",
        "import",
        "report",
        "artifacts s3://data list",
        "artifacts s3://data get",
        "artifacts s3://data link",
        "artifacts s3://data clean",
        "artifacts s3://data delete",
        "decrypt",
    ],
)
def test_help_has_a_sentence_about_the_task(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*task.split(), "--help"])
    about = capsys.readouterr().out.split("\n\n")[1]
    assert about[0].isupper()
    assert about.endswith(".")


def test_help_names_the_three_forms_of_a_spec(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "a prototxt of TAO Toolkit, the same fields as YAML, or a MaskRCNNExperiment manifest" in said


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "²", "9" * 5000])
def test_a_rank_that_is_not_a_number_is_named(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOROVOD_RANK", value)
    assert main(["train", "-e", "x", "-d", "x"]) == 64
    assert f"HOROVOD_RANK: '{value[:100]}" in caplog.text
    assert "' must be a whole number of at least 0" in caplog.text


@pytest.mark.parametrize("task", ["evaluate -e s", "prune -o o", "prune --dry-run", "export -e s"])
@pytest.mark.parametrize("kind", ["absent", "directory", "pipe"])
def test_model_that_is_not_a_file_is_refused_before_tensorflow_loads(task: str, kind: str, tmp_path: Path) -> None:
    if kind == "directory":
        (tmp_path / "m.tlt").mkdir()
    elif kind == "pipe":
        os.mkfifo(tmp_path / "m.tlt")
    program = (
        "import sys; from maskrcnn_trainer.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(99 if 'tensorflow' in sys.modules else code)"
    )
    command = [sys.executable, "-c", program, *task.split(), "-m", "m.tlt"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 64
    assert {"absent": "no such model file", "directory": "a directory", "pipe": "a pipe"}[kind] in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([] if kind == "absent" else ["m.tlt"])


def test_a_refusal_before_the_report_is_the_termination_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is all that the operator shows of a pod."""
    termination_log = tmp_path / "termination.json"
    monkeypatch.setenv("MASKRCNN_TERMINATION_LOG", str(termination_log))
    assert main(["prune", "-m", str(tmp_path / "absent.tlt"), "-o", str(tmp_path / "out")]) == 64
    error = json.loads(termination_log.read_text())["error"]
    assert error == {"reason": "ModelNotFound", "message": f"{tmp_path}/absent.tlt: no such model file"}
    termination_log.unlink()
    monkeypatch.setenv("HOROVOD_RANK", "1")
    assert main(["prune", "-m", str(tmp_path / "absent.tlt"), "-o", str(tmp_path / "out")]) == 64
    assert not termination_log.exists()


def test_a_prototxt_becomes_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_spec.txt").write_text(PROTOTXT)
    assert main(["spec", "import", str(tmp_path / "my_spec.txt"), "--claim", "disk"]) == 0
    manifest = yaml.safe_load(capsys.readouterr().out)
    assert manifest["kind"] == "MaskRCNNExperiment"
    assert manifest["metadata"]["name"] == "my-spec"
    assert manifest["spec"]["workspace"]["persistentVolumeClaim"]["claimName"] == "disk"
    assert manifest["spec"]["experiment"]["maskrcnnConfig"]["nlayers"] == 18


def test_a_manifest_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spec.txt").write_text(PROTOTXT)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code = main(["spec", "import", str(tmp_path / "spec.txt")])
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert code == 70
    assert "standard output: no space left" in caplog.text


def test_decrypt_writes_the_plain_model_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = ModelFile(architecture={}, experiment={}, class_map={}, step=1, variables={"w": np.ones(2, np.float32)})
    write_model_file(tmp_path / "locked.tlt", model, "secret")
    command = ["decrypt", "-m", str(tmp_path / "locked.tlt"), "-o", str(tmp_path / "plain.tlt"), "-k", "secret"]
    assert main(command) == 0
    assert read_model_file(tmp_path / "plain.tlt").step == 1
    assert main(command) == 64
    assert "exists already" in caplog.text
    assert main([*command[:-3], str(tmp_path / "other.tlt"), "-k", "wrong"]) == 64
    assert not (tmp_path / "other.tlt").exists()


def test_a_file_to_write_that_ends_in_a_slash_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = ModelFile(architecture={}, experiment={}, class_map={}, step=1, variables={})
    write_model_file(tmp_path / "locked.tlt", model, "secret")
    locked = ["-m", str(tmp_path / "locked.tlt"), "-k", "secret", "-o", f"{tmp_path}/new/"]
    assert main(["decrypt", *locked]) == 64
    assert main(["export", "-e", "spec.yaml", *locked]) == 64
    assert f"-o {tmp_path}/new/ is a directory; give the path of a file" in caplog.text
    assert f"-o {tmp_path}/new/ is a directory; name a file, such as {tmp_path}/new/model.etlt" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["locked.tlt"]
