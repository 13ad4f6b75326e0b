"""A bench for each test, whose processes end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bench import BENCH_VARIABLE, Bench, StoreBench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("FAKE_TRAINER", "{}")
    monkeypatch.setenv(BENCH_VARIABLE, str(tmp_path))
    monkeypatch.delenv("MASKRCNN_KEY", raising=False)
    bench = Bench(tmp_path)
    yield bench
    bench.kill_all()


@pytest.fixture
def store_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreBench]:
    monkeypatch.setenv("FAKE_TRAINER", "{}")
    monkeypatch.setenv(BENCH_VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    monkeypatch.delenv("MASKRCNN_OWNER_ID", raising=False)
    bench = StoreBench(tmp_path)
    yield bench
    bench.kill_all()


@pytest.fixture
def short(store_bench: StoreBench) -> StoreBench:
    """Return a bench with a workspace in object storage, whose manifest has a single step."""
    store_bench.manifest["spec"]["steps"] = store_bench.manifest["spec"]["steps"][:1]
    return store_bench
