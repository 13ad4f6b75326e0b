"""Faults and interruptions while a command stages its inputs; a second start loads only what is missing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.object_storage.commands import Conversion, images_with_annotations
from tests.object_storage.documented import DOCUMENTED
from tests.object_storage.proxy import Answer, Fault, FaultProxy, Request
from tests.object_storage.test_proxy_faults import SLOW_DOWN
from tests.object_storage.user_stores import UserStore
from tests.unit.object_store.clients import secret_in

from maskrcnn_trainer.object_store.client import PART_BYTES

OBJECTS = images_with_annotations(40, megabytes=0.3)
TOTAL = sum(map(len, OBJECTS.values()))
LARGE = "images/part-0/0000.jpg"
WAIT_SECONDS = 120.0
Start = Callable[..., FaultProxy]


@pytest.fixture
def filled(moto_store: UserStore) -> UserStore:
    """Return a bucket with 40 images of 0.3 MB each."""
    moto_store.server.fill(moto_store.container, OBJECTS)
    return moto_store


def is_image(request: Request) -> bool:
    """Return whether a request reads an image."""
    return request.is_read and request.key.startswith("images/")


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a state of another process; fail after some time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "the state did not come"
        time.sleep(0.05)


def wholes(conversion: Conversion) -> list[Path]:
    """Return the whole objects of the cache."""
    return [*(conversion.cache / "objects").glob("*/*")]


def kill(process: subprocess.Popen[str]) -> None:
    """End a process by SIGKILL, and wait for its end."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def converted(conversion: Conversion) -> None:
    """Run the command, and check that every image is in its records as it was stored."""
    done = conversion.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert conversion.result()["metrics"]["images"] == 40
    written = b"".join(conversion.records().values())
    assert all(content in written for key, content in OBJECTS.items() if key.startswith("images/"))


FAULTS = {
    "storm": [Fault(is_image, times=40, answer=Answer(503))],
    "throttling": [Fault(is_image, times=20, answer=Answer(503, SLOW_DOWN["s3"]))],
    "storm of listings": [Fault(lambda request: request.is_list, times=5, answer=Answer(503))],
    "resets": [Fault(is_image, times=30, reset_after=100_000)],
    "truncated bodies": [Fault(is_image, times=30, end_after=100_000)],
    "no bodies": [Fault(is_image, times=30, end_after=0)],
    "slow link": [Fault(is_image, times=None, bytes_per_second=400_000)],
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_inputs_are_whole_after_faults(filled: UserStore, in_front_of: Start, tmp_path: Path, name: str) -> None:
    proxy = in_front_of(filled)
    proxy.faults = list(FAULTS[name])
    conversion = Conversion(filled.url, tmp_path, filled.config(proxy.url))
    converted(conversion)
    assert all(fault.times in (0, None) for fault in proxy.faults), "not all faults have happened"
    assert conversion.result()["inputs"][f"{filled.url}/images"]["objects"] == 40


def test_second_start_after_a_kill_loads_only_the_missing_objects(
    filled: UserStore, in_front_of: Start, tmp_path: Path
) -> None:
    proxy = in_front_of(filled)
    first = [f"images/part-{number % 2}/{number:04}.jpg" for number in range(10)]
    proxy.faults = [
        Fault(
            lambda request: is_image(request) and request.key not in first,
            times=None,
            bytes_per_second=1_000_000,
            hold_after=100_000,
        )
    ]
    conversion = Conversion(filled.url, tmp_path, filled.config(proxy.url))
    with conversion.started() as process:
        # the largest objects come first, and so the order isn't that of the names
        proxy.wait_until_held(1)
        loaded = set(wholes(conversion))
        kill(process)
    assert loaded <= set(wholes(conversion))
    missing = TOTAL - sum(path.stat().st_size for path in wholes(conversion))
    assert 0 < missing < TOTAL
    proxy.release()
    proxy.forget()
    converted(conversion)
    assert proxy.bytes_read() == missing


def test_second_start_after_a_kill_loads_only_the_missing_parts(
    moto_store: UserStore, in_front_of: Start, tmp_path: Path
) -> None:
    objects = images_with_annotations(1, megabytes=40.0)
    moto_store.server.fill(moto_store.container, objects)
    proxy = in_front_of(moto_store)
    proxy.faults = [
        Fault(
            lambda request: is_image(request) and not request.headers["range"].startswith("bytes=0-"),
            times=None,
            hold_after=1_000_000,
        )
    ]
    conversion = Conversion(moto_store.url, tmp_path, moto_store.config(proxy.url))
    with conversion.started() as process:
        wait_until(lambda: any(path.read_text() for path in conversion.cache.glob("owners/*/partial/*/parts")))
        proxy.wait_until_held(2)
        kill(process)
    proxy.release()
    proxy.forget()
    done = conversion.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert proxy.bytes_read() == len(objects[LARGE]) - PART_BYTES
    assert objects[LARGE] in b"".join(conversion.records().values())


def test_stop_ends_with_143_and_the_next_start_continues(filled: UserStore, in_front_of: Start, tmp_path: Path) -> None:
    proxy = in_front_of(filled)
    proxy.faults = [Fault(lambda request: is_image(request) and "/part-1/" in request.key, times=None, hold_after=0)]
    conversion = Conversion(filled.url, tmp_path, filled.config(proxy.url))
    with conversion.started() as process:
        proxy.wait_until_held(1)
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 143
    missing = TOTAL - sum(path.stat().st_size for path in wholes(conversion))
    proxy.release()
    proxy.forget()
    converted(conversion)
    assert proxy.bytes_read() == missing


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the directory of a file system of 16 MB."""
    if os.geteuid() != 0:
        pytest.skip("a file system of 16 MB can be mounted by root alone")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a file system of 16 MB can't be mounted: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["/usr/bin/env", "umount", "-l", str(disk)], check=True)


def on_disk(store: UserStore, proxy: FaultProxy, directory: Path, disk: Path) -> Conversion:
    """Return a conversion whose cache is on another file system than its records."""
    (directory / "cache").symlink_to(disk)
    return Conversion(store.url, directory, store.config(proxy.url))


def test_disk_that_is_too_small_ends_with_70_before_anything_is_loaded(
    filled: UserStore, in_front_of: Start, tmp_path: Path, small_disk: Path
) -> None:
    proxy = in_front_of(filled)
    (small_disk / "other").write_bytes(bytes(8_000_000))
    done = on_disk(filled, proxy, tmp_path, small_disk).run()
    assert done.returncode == 70, done.stdout + done.stderr
    assert re.search(r"[0-9][0-9,.]* (MB|bytes)", done.stderr)
    assert not [one for one in proxy.reads() if is_image(one.request)]


def test_disk_that_fills_up_ends_with_70_and_the_next_start_continues(
    filled: UserStore, in_front_of: Start, tmp_path: Path, small_disk: Path
) -> None:
    proxy = in_front_of(filled)
    proxy.faults = [Fault(lambda request: is_image(request) and "/part-1/" in request.key, times=None, hold_after=0)]
    conversion = on_disk(filled, proxy, tmp_path, small_disk)
    with conversion.started() as process:
        proxy.wait_until_held(1)
        with (small_disk / "other").open("wb", buffering=0) as stream:
            fill_up(stream.write)
        proxy.release()
        output, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 70, output
    (small_disk / "other").unlink()
    missing = TOTAL - sum(path.stat().st_size for path in wholes(conversion))
    assert missing > 0
    proxy.forget()
    converted(conversion)
    assert proxy.bytes_read() == missing


def fill_up(write: Callable[[bytes], int | None]) -> None:
    """Write until there is no space."""
    for size in (100_000, 1):
        try:
            while True:
                write(bytes(size))
        except OSError:
            continue


def test_rotated_key_arrives_in_the_middle(filled: UserStore, in_front_of: Start, tmp_path: Path) -> None:
    """Requests with the old key are refused from the fifth image on; then the secret's files change."""
    proxy = in_front_of(filled)
    config = filled.config(proxy.url)
    rotated: list[str] = []

    def has_old_key(request: Request) -> bool:
        return is_image(request) and "NEWKEY" not in request.headers["authorization"]

    def rotate(request: Request) -> None:
        rotated.append(request.key)
        if len(rotated) == 3:
            new = {"AWS_ACCESS_KEY_ID": "NEWKEY", "AWS_SECRET_ACCESS_KEY": "new-secret"}
            secret_in(filled.secret_dir, "s3", **new)

    refusal = DOCUMENTED["s3-key-id"].answer
    proxy.faults = [
        Fault(has_old_key, times=5),
        Fault(has_old_key, times=None, answer=refusal, before=rotate),
    ]
    converted(Conversion(filled.url, tmp_path, config))
    assert len(rotated) >= 3
    assert sum("NEWKEY" in one.request.headers["authorization"] for one in proxy.reads()) == 35


def test_two_processes_load_each_object_once(filled: UserStore, in_front_of: Start, tmp_path: Path) -> None:
    proxy = in_front_of(filled)
    proxy.faults = [Fault(is_image, times=None, hold_after=100_000)]
    conversion = Conversion(filled.url, tmp_path, filled.config(proxy.url))
    with conversion.started("first") as first, conversion.started("second") as second:
        # each has listed, and both have begun to load
        wait_until(lambda: len(proxy.lists()) == 2)
        proxy.wait_until_held(17)
        proxy.release()
        assert [process.wait(WAIT_SECONDS) for process in (first, second)] == [0, 0]
    assert sorted(one.request.key for one in proxy.reads() if is_image(one.request)) == sorted(
        key for key in OBJECTS if key.startswith("images/")
    )
    assert conversion.records("first") == conversion.records("second")
    assert len(wholes(conversion)) == len(OBJECTS)


def test_object_that_is_replaced_while_it_is_read_is_loaded_again(
    filled: UserStore, in_front_of: Start, tmp_path: Path
) -> None:
    proxy = in_front_of(filled)
    new = OBJECTS["images/part-1/0001.jpg"]
    proxy.faults = [
        Fault(
            lambda request: request.is_read and request.key == LARGE,
            before=lambda _: filled.server.fill(filled.container, {LARGE: new}),
        )
    ]
    conversion = Conversion(filled.url, tmp_path, filled.config(proxy.url))
    done = conversion.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"".join(conversion.records().values()).count(new) == 2
    assert f"{filled.url}/{LARGE} has changed" in done.stderr
