"""Commands started with closed standard streams, as by some schedulers and by ``>&-`` in a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file

CLOSED = ["", ">&-", "2>&-", "<&- >&- 2>&-"]
PROTOTXT = """
total_steps: 10
init_learning_rate: 0.01
data_config { image_size: "(128, 128)" num_classes: 4 }
maskrcnn_config { nlayers: 18 arch: "resnet" }
"""

IN_CHILD = """
import os, subprocess, sys
from maskrcnn_trainer.shared.standard_streams import open_closed_streams
open_closed_streams()
with open(sys.argv[1], "wb") as record:
    os.write(2, b"text of a library")
    child = subprocess.run([sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr, flush=True)"])
    print("out", flush=True), print("err", file=sys.stderr, flush=True)
    record.write(b"content")
sys.exit(child.returncode or len(sys.stdin.read()))
"""


def _run(command: list[str], streams: str) -> subprocess.CompletedProcess[bytes]:
    shell = ["bash", "-c", f'exec "$@" {streams}', "bash", sys.executable, *command]
    return subprocess.run(shell, capture_output=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("streams", CLOSED)
def test_task_with_closed_streams_ends_as_otherwise(streams: str, tmp_path: Path) -> None:
    model = ModelFile(architecture={}, experiment={}, class_map={}, step=1, variables={"w": np.ones(2, np.float32)})
    write_model_file(tmp_path / "locked.tlt", model, "secret")
    arguments = ["-m", str(tmp_path / "locked.tlt"), "-o", str(tmp_path / "plain.tlt"), "-k", "secret"]
    assert _run(["-m", "maskrcnn_trainer.cli", "decrypt", *arguments], streams).returncode == 0
    assert read_model_file(tmp_path / "plain.tlt").step == 1


@pytest.mark.parametrize("streams", CLOSED)
def test_local_run_with_closed_streams_ends_as_otherwise(streams: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("kind: Pod\n")
    ended = _run(["-m", "maskrcnn_operator.cli", "run", str(tmp_path / "manifest.yaml")], streams)
    assert ended.returncode == 64
    assert b"Traceback" not in ended.stderr
    assert (b"found Pod" in ended.stderr) == ("2>&-" not in streams)


@pytest.mark.parametrize("streams", CLOSED)
def test_opened_file_does_not_get_descriptor_of_closed_stream(streams: str, tmp_path: Path) -> None:
    assert _run(["-c", IN_CHILD, str(tmp_path / "record")], streams).returncode == 0
    assert (tmp_path / "record").read_bytes() == b"content"


def test_manifest_for_closed_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.txt").write_text(PROTOTXT)
    ended = _run(["-m", "maskrcnn_trainer.cli", "spec", "import", str(tmp_path / "spec.txt")], ">&-")
    assert ended.returncode == 64
    assert b"standard output is closed; redirect it to a file" in ended.stderr
