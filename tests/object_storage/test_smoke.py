"""A bucket of moto, listed and read as a user gives it: the smoke test of CI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.object_storage.commands import Conversion, images_with_annotations
from tests.object_storage.proxy import Answer, Fault, FaultProxy
from tests.object_storage.user_stores import UserStore, content_of, listed, md5

OBJECTS = {
    "images/a b.jpg": b"a" * 1000,
    "images/deep/ü%20+#.jpg": bytes(range(256)) * 20_000,
    "annotations.json": b"{}",
}


def test_bucket_is_listed_and_read(moto_store: UserStore, tmp_path: Path) -> None:
    moto_store.server.fill(moto_store.container, OBJECTS)
    with moto_store.client() as client:
        found = listed(client)
        assert {key: (info.size, info.etag) for key, info in found.items()} == {
            key: (len(content), md5(content)) for key, content in OBJECTS.items()
        }
        assert {key: content_of(client, info, tmp_path) for key, info in found.items()} == OBJECTS


def test_reads_survive_a_storm_and_a_reset(
    moto_store: UserStore, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    moto_store.server.fill(moto_store.container, OBJECTS)
    proxy = in_front_of(moto_store)
    key = "images/deep/ü%20+#.jpg"
    with moto_store.client(proxy) as client:
        info = listed(client)[key]
        proxy.faults = [Fault(times=3, answer=Answer(503)), Fault(reset_after=3_500_000)]
        assert content_of(client, info, tmp_path) == OBJECTS[key]
    assert [one.status for one in proxy.reads(key)] == [503, 503, 503, 206, 206]
    assert proxy.bytes_read(key) < 2 * info.size


def test_command_reads_a_bucket(moto_store: UserStore, tmp_path: Path) -> None:
    objects = images_with_annotations(2)
    moto_store.server.fill(moto_store.container, objects)
    conversion = Conversion(moto_store.url, tmp_path, moto_store.config())
    done = conversion.run()
    assert done.returncode == 0, done.stdout + done.stderr
    written = b"".join(conversion.records().values())
    assert all(content in written for key, content in objects.items() if key.startswith("images/"))
