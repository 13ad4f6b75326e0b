"""Records that tasks write for the operator, and the check that their keys are defined only once."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskrcnn_operator
import maskrcnn_trainer
from maskrcnn_trainer.shared import messages
from maskrcnn_trainer.shared.messages import (
    ArtifactKey,
    ErrorKey,
    ResultKey,
    RunFileKey,
    SenderKey,
    StatusKey,
    StatusRecord,
    StoredArtifact,
    TaskFailure,
    TerminationMessage,
)
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.reporter import Reporter

PACKAGES = [Path(str(package.__file__)).parent for package in (maskrcnn_operator, maskrcnn_trainer)]
SHARED = Path(messages.__file__).parent
FINGERPRINT = "bbbbbbbb222222222222222222222222-v2"
OLDER_FINGERPRINT = "aaaaaaaa111111111111111111111111-v1"
ONLY_OF_RECORDS = frozenset(
    {
        ResultKey.UP_TO_DATE,
        ResultKey.CHECKPOINT_STEP,
        StatusKey.MAX_EPOCH,
        StatusKey.TIME_PER_EPOCH,
        StatusKey.KPI,
        StatusKey.GRAPHICAL,
        RunFileKey.EXPERIMENT_UID,
        messages.RUN_FILE,
        messages.RESULT_FILE,
        messages.STATUS_FILE,
        messages.TERMINATION_FILE,
    }
)
"""Names without another meaning in the packages, so that a literal with that name belongs to a record."""


class Posted:
    """Poster that stores the records."""

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []

    def offer(self, record: dict[str, object]) -> None:
        self.records.append(dict(record))

    def close(self) -> None:
        pass


def test_keys_of_a_successful_run_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "model.tlt").write_bytes(b"weights")
    environment = TaskEnvironment(
        fingerprint=FINGERPRINT,
        older_fingerprints=(OLDER_FINGERPRINT,),
        termination_log=str(tmp_path / "termination.json"),
    )
    posted = Posted()
    reporter = Reporter("train", tmp_path, environment, poster=posted)
    reporter.started()
    reporter.succeeded(artifacts={"model": tmp_path / "model.tlt"})
    ended = json.loads((tmp_path / "termination.json").read_text())
    result = json.loads((tmp_path / "result.json").read_text())
    status = json.loads((tmp_path / "status.json").read_text().splitlines()[0])
    ending = ["version", "task", "code", "fingerprint", "attempt", "modelPath", "metrics", "artifacts"]
    ending += ["checkpointStep", "error"]
    line = ["date", "time", "status", "message", "epoch", "max_epoch", "step", "total_steps", "eta", "time_per_epoch"]
    line += ["kpi", "graphical", "checkpointStep"]
    assert list(ended) == ending
    more = ["image", "versions", "processes", "threads", "startTime", "completionTime", "fingerprints"]
    assert list(result) == [*ending, *more]
    assert (list(ended["artifacts"]["model"]), list(result["artifacts"]["model"])) == (
        ["path", "bytes"],
        ["path", "bytes", "sha256"],
    )
    assert list(status) == line
    sender = ["version", "task", "experimentUid", "fingerprint", "attempt"]
    assert list(posted.records[0]) == [*sender, *line]


def test_every_key_of_a_record_is_written() -> None:
    failed = TerminationMessage(
        task="train",
        code=64,
        fingerprint=None,
        attempt=1,
        artifacts={"model": StoredArtifact("/workspace/m", 1, "0f")},
        error=TaskFailure("InvalidData", "wrong", 2),
        report_path="/workspace/a/evaluate/report.html",
        up_to_date=True,
    ).to_json()
    only_of_a_result = [
        "image",
        "versions",
        "processes",
        "threads",
        "device",
        "startTime",
        "completionTime",
        "facts",
        "inputs",
    ]
    assert [*failed, *only_of_a_result] == list(ResultKey)
    assert list(failed["artifacts"]["model"]) == list(ArtifactKey)
    assert list(failed["error"]) == list(ErrorKey)
    assert list(StatusRecord(date="", time="", status="", message="").to_json()) == list(StatusKey)
    assert list(messages.Sender(task="", experiment_uid=None, fingerprint=None, attempt=1).to_json()) == list(SenderKey)


def literals(source: Path) -> Iterator[str]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_keys_and_file_names_of_records_are_literals_in_shared_only(package: Path) -> None:
    found = {
        (source.name, text)
        for source in package.rglob("*.py")
        if not source.is_relative_to(SHARED)
        for text in literals(source)
        if text in ONLY_OF_RECORDS
    }
    assert not found
