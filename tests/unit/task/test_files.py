"""Writing of files: atomic, and never to a file at another path."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskrcnn_trainer.conversion.shards import StagedShards
from maskrcnn_trainer.data.shard_names import shard_name
from maskrcnn_trainer.errors import InvalidInput, describe_error
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.shared.files import open_in_place, open_regular
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import write_atomically
from maskrcnn_trainer.task.reporter import Reporter, task_report
from maskrcnn_trainer.task.termination import termination_message, write_termination_message


@pytest.fixture(name="mine")
def _mine(tmp_path: Path) -> Path:
    """Return a file of the user."""
    (tmp_path / "mine").write_text("mine\n")
    return tmp_path / "mine"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "model.tlt").symlink_to(mine)
    write_atomically(tmp_path / "model.tlt", b"ours")
    assert mine.read_text() == "mine\n"
    assert not (tmp_path / "model.tlt").is_symlink()
    assert (tmp_path / "model.tlt").read_bytes() == b"ours"


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(
    tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrcnn_trainer.shared.files.secrets.randbelow", lambda limit: 7)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    (tmp_path / ".model.tlt.7.partial").symlink_to(mine)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "model.tlt", b"ours")
    assert mine.read_text() == "mine\n"
    assert (tmp_path / ".model.tlt.7.partial").is_symlink()


@contextmanager
def small_files() -> Iterator[None]:
    """Limit files of this process to 1,000 bytes (``ulimit -f``), only within the block: pytest writes files too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_past_the_limit_of_the_process_is_named_by_its_path(tmp_path: Path) -> None:
    with small_files():
        with pytest.raises(OSError, match="File too large") as refused:
            write_atomically(tmp_path / "model.tlt", bytes(2000))
        code, _, sentence = describe_error(refused.value)
    assert code == 64
    assert sentence.startswith(f"{tmp_path / 'model.tlt'}: the file exceeds the size limit of 1000 bytes")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shards", [1, 300])
def test_a_shard_past_the_limit_of_the_process_is_named_where_it_would_be(tmp_path: Path, shards: int) -> None:
    with pytest.raises(InvalidInput) as refused, small_files(), StagedShards(tmp_path, "train", shards) as staged:
        staged.write(0, bytes(2000))
        staged.publish({})
    assert str(refused.value).startswith(
        f"{tmp_path / shard_name('train', 0, shards)}: the file exceeds the size limit"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 300, "missing/model.tlt"])
def test_path_that_cannot_be_created_is_reported_as_given(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError) as refused:
        write_atomically(tmp_path / name, b"")
    assert describe_error(refused.value)[2].startswith(f"{tmp_path / name}: ")
    assert ".partial" not in str(refused.value)


def test_two_writers_of_one_process_id_do_not_mix(tmp_path: Path) -> None:
    """Pods that share a volume have equal process ids."""
    path = tmp_path / "model.tlt"
    write_atomically(path, b"one", before_rename=lambda: write_atomically(path, b"another"))
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("append", [False, True])
def test_a_file_in_place_is_never_one_behind_a_link(tmp_path: Path, mine: Path, append: bool) -> None:
    (tmp_path / "link").symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"):
        open_in_place(tmp_path / "link", append=append)
    assert mine.read_text() == "mine\n"


@pytest.mark.parametrize("append", [False, True])
def test_a_second_name_of_a_file_keeps_its_content(tmp_path: Path, mine: Path, append: bool) -> None:
    (tmp_path / "linked").hardlink_to(mine)
    with open_in_place(tmp_path / "linked", append=append) as stream:
        stream.write(b"ours\n")
    assert mine.read_text() == "mine\n"
    assert (tmp_path / "linked").read_text() == ("mine\nours\n" if append else "ours\n")


def test_a_pipe_that_nothing_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        open_in_place(tmp_path / "pipe", append=False)


@pytest.mark.parametrize("make_link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", ["status.json", "termination.json", "attempt-1.node-0.log"])
def test_no_writer_of_a_results_directory_changes_a_file_elsewhere(
    tmp_path: Path, mine: Path, name: str, make_link: Callable[[Path, Path], None]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    environment = TaskEnvironment(termination_log=str(out / "termination.json"))
    reporter = Reporter("evaluate", out, environment)
    reporter.started()
    (out / name).unlink(missing_ok=True)
    make_link(out / name, mine)
    reporter.running("half")
    write_termination_message(environment, termination_message("evaluate", 0, environment))
    kept = KeptLog(out / "attempt-1.node-0.log", lambda: True)
    kept.write(b"line\n")
    kept.close()
    assert mine.read_text() == "mine\n"


@pytest.mark.parametrize("name", ["result.json", "status.json"])
@pytest.mark.parametrize("kind", ["text", "link"])
def test_a_report_of_another_program_is_refused_and_stays(tmp_path: Path, mine: Path, name: str, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if kind == "link":
        (out / name).symlink_to(mine)
    else:
        (out / name).write_text('{"servers": []}')
    before = (out / name).read_text()
    with pytest.raises(SystemExit) as ended, task_report(TaskName.EVALUATE, out, TaskEnvironment()) as reporter:
        reporter.succeeded()
    assert ended.value.code == 64
    assert (out / name).read_text() == before
    assert (out / name).is_symlink() == (kind == "link")
    assert [path.name for path in out.iterdir()] == [name]


def test_a_directory_in_the_place_of_a_file_to_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as refused:
        open_regular(tmp_path)
    assert describe_error(refused.value) == (64, "InvalidInput", f"{tmp_path}: Is a directory; give a file")
