"""A launch that finds the results of its fingerprint, and one that cannot listen."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from maskrcnn_trainer.environment import TaskEnvironment
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch import LaunchSettings, launch

FINGERPRINT = "a8c47326caeee986b816f946d049d9ad-v1"


@pytest.mark.parametrize("size", [5, 6])
def test_a_result_that_is_there_is_the_last_word(tmp_path: Path, size: int) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    (directory / "model.tlt").write_bytes(b"model")
    artifact = {"path": str(directory / "model.tlt"), "bytes": size, "sha256": "0"}
    result = {"code": 0, "fingerprint": FINGERPRINT, "metrics": {"AP": 0.5}, "artifacts": {"model": artifact}}
    (directory / "result.json").write_text(json.dumps(result | {"modelPath": artifact["path"], "checkpointStep": 7}))
    environment = TaskEnvironment.from_environ(
        {
            "MASKRCNN_RESULTS_DIR": str(directory),
            "MASKRCNN_FINGERPRINT": FINGERPRINT,
            "MASKRCNN_ATTEMPT": "4",
            "MASKRCNN_TERMINATION_LOG": str(tmp_path / "last-word"),
        }
    )
    task = ("train", "-d", str(directory), "-e", str(tmp_path / "absent.yaml"))
    code = launch(LaunchSettings(1, 0, 1, None, task), environment)
    if size != 5:
        # not what the result says: it is made again, and the task that is started fails for want of a spec
        assert code == 64
        return
    assert code == 0
    said = json.loads((tmp_path / "last-word").read_text())
    assert (said["upToDate"], said["attempt"], said["metrics"], said["checkpointStep"]) == (True, 4, {"AP": 0.5}, 7)
    assert said["artifacts"] == {"model": {"path": artifact["path"], "bytes": 5}}


def test_a_port_in_use_is_refused_with_the_flag_that_names_it(tmp_path: Path) -> None:
    environment = TaskEnvironment(termination_log=str(tmp_path / "last-word"))
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        settings = LaunchSettings(2, 0, 1, ("train-0.train", port), ("train",))
        with pytest.raises(InvalidInput, match=f"--rendezvous train-0.train:{port}: .*in use.*give another port"):
            launch(settings, environment)
    assert json.loads((tmp_path / "last-word").read_text())["error"]["reason"] == "PortUnusable"
