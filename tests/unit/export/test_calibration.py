"""Histograms that grow, the cut that loses least information, the tensor file, the cache."""

from __future__ import annotations

import errno
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.export.calibration.cache import HEADER, cache_text
from maskrcnn_trainer.export.calibration.entropy import STEPS, entropy_range
from maskrcnn_trainer.export.calibration.histogram import BINS, Histogram
from maskrcnn_trainer.export.calibration.tensorfile import KEY, TensorFile, stored_batches


def test_a_histogram_counts_absolute_values_and_leaves_zeros_out() -> None:
    histogram = Histogram()
    histogram.add(np.array([[0.0, -1.0], [0.25, 1.0]], np.float32))
    assert histogram.limit == 1.0
    assert histogram.counts.sum() == 3
    assert histogram.counts[BINS // 4] == 1
    assert histogram.counts[-1] == 2


def test_a_histogram_that_grew_counts_as_one_that_knew_its_range() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=10_000)).astype(np.float32)
    values = np.sort(values[values > 0.01])
    whole, grown = Histogram(), Histogram()
    grown.add(values[:3000])
    first = grown.limit
    grown.add(values[3000:])
    doublings = round(math.log2(grown.limit / first))
    assert doublings >= 2
    assert grown.limit == pytest.approx(first * 2**doublings)
    assert grown.limit >= values[-1] > grown.limit / 2
    whole.limit = grown.limit
    whole.add(values)
    assert grown.counts.sum() == len(values)
    # Halving is exact. Only the largest value of the first call, the limit itself, counts as just below its edge.
    differences = np.cumsum(grown.counts) - np.cumsum(whole.counts)
    assert differences.min() == 0
    assert differences.sum() == 1


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(np.array([1.0, np.inf], np.float32))


def _divergence(counts: np.ndarray, cut: int) -> float:
    """The definition, bin by bin, as Migacz' slides have it."""
    p = counts[:cut].astype(np.float64)
    p[-1] += counts[cut:].sum()
    q = np.zeros(cut)
    for step in range(STEPS):
        start, end = step * cut // STEPS, (step + 1) * cut // STEPS
        filled = np.flatnonzero(counts[start:end]) + start
        if filled.size:
            q[filled] = counts[start:end].sum() / filled.size
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_cut_is_the_one_with_the_smallest_divergence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    histogram = Histogram()
    histogram.add(np.concatenate([rng.normal(size=20_000), rng.normal(scale=4.0, size=200)]).astype(np.float32))
    counts = histogram.counts
    cuts = [cut for cut in range(STEPS, BINS + 1) if counts[cut - 1] > 0]
    best = min(cuts, key=lambda cut: _divergence(counts, cut))
    found = entropy_range(counts, histogram.bin_width)
    assert found == pytest.approx(best * histogram.bin_width)
    assert 0.1 * histogram.limit < found < histogram.limit


def test_a_lone_outlier_is_cut_off_and_an_even_spread_is_not() -> None:
    rng = np.random.default_rng(0)
    histogram = Histogram()
    histogram.add(np.append(rng.uniform(0, 1, 50_000), 16.0).astype(np.float32))
    assert entropy_range(histogram.counts, histogram.bin_width) < 2.0
    even = np.full(BINS, 7)
    assert entropy_range(even, 0.5) == pytest.approx(0.5 * BINS, rel=1 / 16)


def test_ranges_of_nothing_and_of_little() -> None:
    counts = np.zeros(BINS, np.int64)
    assert entropy_range(counts, 1.0) == 0.0
    counts[[3, 10]] = 5
    assert entropy_range(counts, 2.0) == 22.0


def test_cache_lines_are_names_and_the_bits_of_scales() -> None:
    lines = cache_text({"conv1_relu": 127.0, "fc6/BiasAdd": 12.7}).splitlines()
    assert lines[0] == HEADER == "TRT-8601-EntropyCalibration2"
    assert lines[1] == "conv1_relu: 3f800000"
    name, _, bits = lines[2].partition(": ")
    assert name == "fc6/BiasAdd"
    assert struct.unpack(">f", bytes.fromhex(bits))[0] == np.float32(0.1)
    with pytest.raises(InvalidInput, match="Identity:0"):
        cache_text({"Identity:0": 1.0})


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

    with pytest.raises(InvalidInput, match=r"\[2, 3, 4, 6\]; the model takes images of \[3, 8, 8\]"):
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
        InvalidInput, match=r"cal.h5: damaged: batch 1 is \[1, 3, 4, 5\], expected images of \[3, 4, 6\]"
    ):
        next(batches)
    with h5py.File(path, "a") as file:
        del file[f"{KEY}_1"]
    with pytest.raises(InvalidInput, match="cal.h5: damaged: batch 1 of 3 is missing or cannot be read; remove it"):
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
    """A limit on the size of files stands for the full disk: HDF5 fails at the same places."""
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
    with pytest.raises(InvalidInput, match="no calibration tensor file"):
        TensorFile(tmp_path / "cal.h5", (2, 2))
