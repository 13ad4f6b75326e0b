"""Tests of the file with warnings about publishing."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from tests.unit.launch.stored_launches import StartedTask, StoredLaunches, wait_until
from tests.unit.publishing.file_store import Outage

from maskrcnn_trainer.launch.notices import notices_of
from maskrcnn_trainer.object_store.fence.exchange_types import PutFiles

PUBLISHER = logging.getLogger("maskrcnn_trainer.publishing.step_publisher")


def notices_in(folder: Path) -> list[str]:
    return [json.loads(line)["notice"] for line in (folder / ".train.notices.jsonl").read_text().splitlines()]


def test_only_warnings_within_the_block_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    with notices_of(folder / "train"):
        PUBLISHER.warning("%s is\nfull", "s3://b")
        PUBLISHER.info("published")
    PUBLISHER.warning("later")
    assert notices_in(folder) == ["s3://b is\nfull"]


def test_file_of_an_earlier_attempt_is_replaced(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with notices_of(tmp_path / "train"):
            PUBLISHER.warning(text)
    assert notices_in(tmp_path) == ["second"]


def test_publish_that_fails_is_noticed_once_while_the_task_runs(tmp_path: Path) -> None:
    launches = StoredLaunches(tmp_path)
    directory = launches.with_working_dir()
    outage = Outage(PutFiles)
    launches.store.fail = outage

    def run(task: StartedTask) -> int:
        task.write_checkpoint(10)
        wait_until(lambda: outage.failed > 0)
        wait_until((directory.parent / ".train.notices.jsonl").exists)
        outage.lasts = False
        task.write_result()
        return 0

    assert launches.launch(run) == 0
    (notice,) = notices_in(directory.parent)
    assert "could not be published, which is tried again: the store has failed" in notice
