"""Commands with inputs in a bucket of each server, compared with the same inputs in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.object_storage.commands import Conversion, images_with_annotations
from tests.object_storage.conftest import GetServer
from tests.object_storage.documented import DOCUMENTED
from tests.object_storage.proxy import Fault, FaultProxy
from tests.object_storage.user_stores import UserStore

OBJECTS = images_with_annotations(6)
UNUSED = {"images/unused.jpg": b"not read", "other/k": b"x"}
Start = Callable[..., FaultProxy]


@pytest.fixture(scope="session")
def records_of_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the records of the same inputs in files."""
    directory = tmp_path_factory.mktemp("files")
    for key, content in OBJECTS.items():
        file = directory / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    conversion = Conversion(str(directory), directory)
    done = conversion.run()
    assert done.returncode == 0, done.stderr
    return conversion.records()


def test_records_are_those_of_files(
    store: UserStore, in_front_of: Start, records_of_files: dict[str, bytes], tmp_path: Path
) -> None:
    store.server.fill(store.container, OBJECTS | UNUSED)
    proxy = in_front_of(store)
    conversion = Conversion(store.url, tmp_path, store.config(proxy.url))
    done = conversion.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert conversion.records() == records_of_files
    # each object that the task reads is loaded once, and no other
    assert sorted(one.request.key for one in proxy.reads()) == sorted(OBJECTS)
    inputs = conversion.result()["inputs"]
    assert {url: (found["objects"], found["bytes"]) for url, found in inputs.items()} == {
        f"{store.url}/annotations.json": (1, len(OBJECTS["annotations.json"])),
        f"{store.url}/images": (6, sum(len(content) for key, content in OBJECTS.items() if key.startswith("images/"))),
    }


def test_second_command_reads_no_object(store: UserStore, in_front_of: Start, tmp_path: Path) -> None:
    store.server.fill(store.container, OBJECTS)
    proxy = in_front_of(store)
    conversion = Conversion(store.url, tmp_path, store.config(proxy.url))
    assert conversion.run("first").returncode == 0
    proxy.forget()
    assert conversion.run("second").returncode == 0
    assert proxy.bytes_read() == 0
    assert conversion.records("second") == conversion.records("first")


def test_nothing_that_a_command_leaves_has_a_key_or_the_cache(store: UserStore, tmp_path: Path) -> None:
    store.server.fill(store.container, OBJECTS)
    conversion = Conversion(store.url, tmp_path, store.config())
    done = conversion.run()
    assert done.returncode == 0
    written = [path.read_bytes() for path in (tmp_path / "records").iterdir()]
    assert len(written) == 5
    for content in (*written, done.stdout.encode(), done.stderr.encode()):
        assert str(conversion.cache).encode() not in content
        assert not any(value.encode() in content for value in store.server.secret.values())


def test_replaced_object_alone_is_loaded_again(get_server: GetServer, in_front_of: Start, tmp_path: Path) -> None:
    server = get_server("moto")
    store = UserStore(server, server.new_container(), tmp_path)
    server.fill(store.container, OBJECTS)
    proxy = in_front_of(store)
    conversion = Conversion(store.url, tmp_path, store.config(proxy.url))
    assert conversion.run("first").returncode == 0
    key = "images/part-0/0000.jpg"
    server.fill(store.container, {key: OBJECTS["images/part-1/0001.jpg"]})
    proxy.forget()
    assert conversion.run("second").returncode == 0
    assert [one.request.key for one in proxy.reads()] == [key]
    assert conversion.records("second") != conversion.records("first")


def refused(conversion: Conversion) -> str:
    """Return the line with which a command ends with 64."""
    done = conversion.run()
    assert done.returncode == 64, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if " ERROR " in line or line.startswith("ERROR")]
    return line


def test_absent_object_ends_with_64(moto_store: UserStore, tmp_path: Path) -> None:
    line = refused(Conversion(moto_store.url, tmp_path, moto_store.config()))
    assert f"{moto_store.url}/annotations.json" in line


def test_absent_image_directory_ends_with_64(moto_store: UserStore, tmp_path: Path) -> None:
    moto_store.server.fill(moto_store.container, {"annotations.json": OBJECTS["annotations.json"]})
    line = refused(Conversion(moto_store.url, tmp_path, moto_store.config()))
    assert f"{moto_store.url}/images" in line


@pytest.mark.parametrize("name", ["s3-bucket", "s3-region", "s3-redirect", "s3-token"])
def test_documented_refusal_ends_with_64(moto_store: UserStore, in_front_of: Start, tmp_path: Path, name: str) -> None:
    proxy = in_front_of(moto_store)
    proxy.faults = [Fault(lambda _: True, times=None, answer=DOCUMENTED[name].answer)]
    line = refused(Conversion(moto_store.url, tmp_path, moto_store.config(proxy.url)))
    assert f"{moto_store.url}/annotations.json" in line
    assert DOCUMENTED[name].right in line
