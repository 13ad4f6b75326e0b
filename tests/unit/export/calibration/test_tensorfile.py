"""The calibration tensor file: written while its tensors are used, read again, and refused if damaged."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.export.calibration.tensorfile import KEY, TensorFile, stored_batches


def test_a_tensor_file_is_written_while_it_is_used_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "cal.h5"
    given = [np.random.default_rng(i).normal(size=(2, 3, 4, 6)).astype(np.float32) for i in range(2)]
    given.append(given[0][:1])
    passed = stored_batches(path, iter(given))
    next(passed)
    assert not path.exists()
    assert len(list(passed)) == 2

    with h5py.File(path) as file:
        assert int(file.attrs["count"]) == 3
        assert tuple(file.attrs["shape"]) == (2, 3, 4, 6)
        assert file[f"{KEY}_1"][KEY].compression == "gzip"
    stored = TensorFile(path, (4, 6))
    for one, other in zip(stored.batches(), given, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cal.h5"]

    with pytest.raises(InvalidInput, match=r"\[2, 3, 4, 6\], expected images of shape \[3, 8, 8\]"):
        TensorFile(path, (8, 8))


def test_a_tensor_file_that_lacks_a_batch_or_has_another_shape_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "cal.h5"
    for _ in stored_batches(path, iter([np.zeros((1, 3, 4, 6), np.float32)] * 3)):
        pass
    with h5py.File(path, "a") as file:
        del file[f"{KEY}_1"], file[f"{KEY}_2"]
        file.create_group(f"{KEY}_1").create_dataset(KEY, data=np.zeros((1, 3, 4, 5)))
    batches = TensorFile(path, (4, 6)).batches()
    next(batches)
    with pytest.raises(
        InvalidInput, match=r"cal.h5: damaged: batch 1 has shape \[1, 3, 4, 5\], expected images of shape \[3, 4, 6\]"
    ):
        next(batches)
    with h5py.File(path, "a") as file:
        del file[f"{KEY}_1"]
    with pytest.raises(InvalidInput, match="cal.h5: damaged: batch 1 of 3 is missing or cannot be read; delete it"):
        list(TensorFile(path, (4, 6)).batches())


def test_a_directory_in_the_place_of_a_tensor_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        TensorFile(tmp_path, (4, 6))


FULL_DISK = """
import os, resource, sys
import numpy as np
from pathlib import Path
from maskrcnn_trainer.errors import describe_error
from maskrcnn_trainer.export.calibration.tensorfile import stored_batches
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
rng = np.random.default_rng(0)
try:
    for _ in stored_batches(Path(sys.argv[1]), (rng.normal(size=(2, 3, 64, 64)).astype("f4") for _ in range(6))):
        pass
except OSError as error:
    sys.exit(describe_error(error)[0])
"""


@pytest.mark.parametrize("room", [0, 1000, 150_000, 300_000])
def test_a_tensor_file_on_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, room: int) -> None:
    """Simulate a full disk by a limit on the file size, which makes HDF5 fail at the same places."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "cal.h5"), str(room)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 64
    assert not list(tmp_path.iterdir())


def test_no_space_for_a_tensor_file_is_a_full_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("maskrcnn_trainer.export.calibration.tensorfile.os.fsync", full)
    with pytest.raises(WorkspaceFull, match=r"cal\.h5: no space left for the tensor file"):
        list(stored_batches(tmp_path / "cal.h5", iter([np.zeros((1, 3, 2, 2), np.float32)])))
    assert not list(tmp_path.iterdir())


def test_a_pipe_in_the_place_of_a_tensor_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cal.h5")
    with pytest.raises(OSError, match="it is a pipe"):
        TensorFile(tmp_path / "cal.h5", (2, 2))


def test_a_tensor_file_cut_short_by_an_error_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield np.zeros((1, 3, 2, 2), np.float32)
        raise InvalidInput("a bad record")

    with pytest.raises(InvalidInput, match="a bad record"):
        list(stored_batches(tmp_path / "cal.h5", broken()))
    assert not list(tmp_path.iterdir())
    (tmp_path / "cal.h5").write_bytes(b"no HDF5")
    with pytest.raises(InvalidInput, match="not a calibration tensor file"):
        TensorFile(tmp_path / "cal.h5", (2, 2))
