"""The command about results on real servers: list, get, link, clean, and delete."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
import pytest
from tests.object_storage.attempts import claimed, owned
from tests.object_storage.commands import SECONDS, environment
from tests.object_storage.conftest import ONE_OF_EACH_SCHEME, GetServer
from tests.object_storage.proxy import Fault, FaultProxy
from tests.object_storage.servers import _store as raw_store
from tests.object_storage.user_stores import UserStore, listed

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.object_store.client import PART_BYTES
from maskrcnn_trainer.object_store.fence_store import FenceStore

MEGABYTE = 1_000_000
FILES = {"result.json": b'{"ok": 1}', "logs/attempt-1.log": b"log\n", "checkpoints/1/model": bytes(range(256)) * 8000}
FOREIGN = {"exp/notes.txt": b"mine", "exp/train/picture.png": b"mine", "exp/train/o/mine": b"mine", "data/1.jpg": b"x"}
InFrontOf = Callable[..., FaultProxy]


@contextmanager
def opened(store: UserStore) -> Iterator[FenceStore]:
    """Open the store of experiments below a prefix of the container; writes aren't a second apart."""
    with store.client() as client:
        yield FenceStore(client, "ws", pause=lambda _: None)


def fill(store: UserStore, directory: Path) -> None:
    """Publish the results of a step, and store foreign objects next to it."""
    with opened(store) as fence:
        owned(fence)
        claimed(fence, directory / "published").publish(FILES, result="result.json")
    store.server.fill(store.container, {f"ws/{key}": content for key, content in FOREIGN.items()})


def command_line(store: UserStore, *arguments: str, address: str | None = None) -> list[str]:
    """Return the command line of an action on the store."""
    config = str(store.config(address))
    return [
        *(sys.executable, "-m", "maskrcnn_trainer.cli", "artifacts", f"{store.url}/ws"),
        *(*arguments, "--store-config", config),
    ]


def run(store: UserStore, *arguments: str, address: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run an action to its end, in this process."""
    line = command_line(store, *arguments, address=address)
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        code = main(line[line.index("artifacts") :])
    return subprocess.CompletedProcess(line, code, output.getvalue(), errors.getvalue())


def keys(store: UserStore) -> set[str]:
    """Return the keys below the URL."""
    with store.client() as client:
        return {key.removeprefix("ws/") for key in listed(client, "ws")}


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after some time."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(name="filled", params=ONE_OF_EACH_SCHEME)
def _filled(request: pytest.FixtureRequest, get_server: GetServer, tmp_path: Path) -> UserStore:
    """Return a store of each provider with results."""
    server = get_server(request.param)
    store = UserStore(server, server.new_container(), tmp_path)
    fill(store, tmp_path)
    return store


@pytest.fixture(name="moto_filled")
def _moto_filled(moto_store: UserStore, tmp_path: Path) -> UserStore:
    """Return a bucket of moto with results."""
    fill(moto_store, tmp_path)
    return moto_store


def test_results_are_listed_and_loaded(filled: UserStore, tmp_path: Path) -> None:
    done = run(filled, "list", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["experiments"]
    assert list(found) == ["exp"]
    current = found["exp"]["steps"]["train"]["current"]
    assert (current["complete"], current["files"], current["bytes"]) == (True, 3, sum(map(len, FILES.values())))
    done = run(filled, "get", "exp/train", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == FILES
    assert done.stdout == ""


def test_results_of_the_whole_container_are_listed(
    moto_store: UserStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with moto_store.client() as client:
        fence = FenceStore(client, "")
        owned(fence)
        claimed(fence, tmp_path / "published").publish(FILES)
    assert main(["artifacts", moto_store.url, "list", "--json", "--store-config", str(moto_store.config())]) == 0
    assert json.loads(capsys.readouterr().out)["experiments"]["exp"]["steps"]["train"]["current"]["files"] == 3


def test_key_that_cannot_be_listed_gives_one_warning(moto_filled: UserStore) -> None:
    assert moto_filled.server.put_raw is not None
    moto_filled.server.put_raw(moto_filled.container, "ws/a\tkey", b"x")
    done = run(moto_filled, "list", "--json")
    assert done.returncode == 0
    assert done.stderr.count("can't be listed") == 1
    done = run(moto_filled, "list", "exp", "--json")
    assert "can't be listed" not in done.stderr
    assert list(json.loads(done.stdout)["experiments"]["exp"]["steps"]) == ["train"]


def test_key_in_another_folder_that_cannot_be_listed_hides_no_experiment(moto_filled: UserStore) -> None:
    assert moto_filled.server.put_raw is not None
    moto_filled.server.put_raw(moto_filled.container, "ws/other//empty part", b"x")
    done = run(moto_filled, "list", "--json")
    assert list(json.loads(done.stdout)["experiments"]) == ["exp"]


def test_interrupted_load_is_continued_by_the_next(
    moto_filled: UserStore, in_front_of: InFrontOf, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    proxy = in_front_of(moto_filled)
    proxy.faults = [
        Fault(lambda request: request.is_read and request.key.endswith("-model"), times=None, hold_after=100_000)
    ]
    arguments = command_line(moto_filled, "get", "exp/train", "-o", str(out), address=proxy.url)
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE) as process:
        proxy.wait_until_held()
        wait_until(lambda: len([one for one in out.rglob("*") if one.is_file() and one.name[0] != "."]) == 2)
        os.kill(process.pid, signal.SIGKILL)
    assert [path.name for path in out.iterdir()] == [".maskrcnn-partial"]
    proxy.release()
    proxy.forget()
    done = run(moto_filled, "get", "exp/train", "-o", str(out), address=proxy.url)
    assert done.returncode == 0, done.stderr
    assert tree(out) == FILES
    objects = [
        one.request.key for one in proxy.reads() if "/o/" in one.request.key and "manifest" not in one.request.key
    ]
    assert objects == [key for key in objects if key.endswith("-model")]


def test_interrupted_load_of_a_large_file_is_continued_within_it(
    moto_store: UserStore, in_front_of: InFrontOf, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(40 * MEGABYTE)  # noqa: S311 - no secret
    with opened(moto_store) as fence:
        owned(fence)
        claimed(fence, tmp_path / "published").publish({"model": content})
    proxy = in_front_of(moto_store)
    last = f"bytes={2 * PART_BYTES}-"
    proxy.faults = [
        Fault(lambda request: request.headers.get("range", "").startswith(last), times=None, hold_after=1000)
    ]
    out = tmp_path / "out"
    arguments = command_line(moto_store, "get", "exp/train/model", "-o", str(out), address=proxy.url)
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE) as process:
        proxy.wait_until_held()
        wait_until(
            lambda: sum(len(file.read_text().splitlines()) for file in out.rglob("parts") if file.is_file()) == 2
        )
        os.kill(process.pid, signal.SIGKILL)
    proxy.release()
    proxy.forget()
    done = run(moto_store, "get", "exp/train/model", "-o", str(out), address=proxy.url)
    assert done.returncode == 0, done.stderr
    assert tree(out) == {"model": content}
    assert [one.request.headers.get("range", "") for one in proxy.reads() if one.request.key.endswith("-model")] == [
        f"{last}{len(content) - 1}"
    ]


def test_stop_ends_a_load_with_its_code(moto_filled: UserStore, in_front_of: InFrontOf, tmp_path: Path) -> None:
    proxy = in_front_of(moto_filled)
    proxy.faults = [Fault(lambda request: request.key.endswith("-model"), times=None, hold_after=0)]
    arguments = command_line(moto_filled, "get", "exp", "-o", str(tmp_path / "out"), address=proxy.url)
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE) as process:
        proxy.wait_until_held()
        process.terminate()
        assert process.wait(SECONDS) == 143


def test_object_with_other_bytes_is_refused_and_nothing_is_written(moto_filled: UserStore, tmp_path: Path) -> None:
    key = next(key for key in keys(moto_filled) if key.endswith("-model"))
    forged = b"x" * len(FILES["checkpoints/1/model"])
    moto_filled.server.fill(moto_filled.container, {f"ws/{key}": forged})
    done = run(moto_filled, "get", "exp/train", "-o", str(tmp_path / "out"))
    assert done.returncode == 64
    assert "SHA-256" in done.stderr
    assert not [path for path in tree(tmp_path / "out") if not path.startswith(".maskrcnn-partial/")]


@pytest.mark.parametrize("path", ["../outside", "/outside", "a\\\\b"])
def test_hostile_manifest_writes_nothing(moto_filled: UserStore, path: str, tmp_path: Path) -> None:
    key = next(key for key in keys(moto_filled) if key.endswith("-manifest.json"))
    container = raw_store(moto_filled.server, moto_filled.container)
    content = bytes(obstore.get(container, f"ws/{key}").bytes())
    moto_filled.server.fill(moto_filled.container, {f"ws/{key}": content.replace(b"logs/attempt-1.log", path.encode())})
    before = set(tmp_path.rglob("*"))
    done = run(moto_filled, "get", "exp/train", "-o", str(tmp_path / "deep" / "out"))
    assert done.returncode == 64
    assert "the path" in done.stderr
    assert not [one for one in set(tmp_path.rglob("*")) - before if one.is_file()]
    listing = run(moto_filled, "list")
    assert listing.returncode == 0
    assert "the path" in listing.stdout


def test_pointer_that_is_too_large_is_a_problem_of_its_step(moto_filled: UserStore) -> None:
    moto_filled.server.fill(moto_filled.container, {"ws/exp/large/run.json": b" " * (8 * MEGABYTE)})
    done = run(moto_filled, "list", "--json")
    steps = json.loads(done.stdout)["experiments"]["exp"]["steps"]
    assert "8000000 bytes" in steps["large"]["problem"]
    assert steps["train"]["current"]["files"] == 3


@pytest.mark.parametrize("server", ["moto", "versitygw", "azurite"])
def test_link_is_read_without_credentials(server: str, get_server: GetServer, tmp_path: Path) -> None:
    running = get_server(server)
    store = UserStore(running, running.new_container(), tmp_path)
    fill(store, tmp_path)
    done = run(store, "link", "exp/train/checkpoints/1/model")
    assert done.returncode == 0, done.stderr
    url = done.stdout.strip()
    assert url.startswith(running.address)
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - of this machine
        assert answer.read() == FILES["checkpoints/1/model"]
    assert url not in done.stderr


SPECIAL_KEY = "a b/\u00fc%41+x&y=#?.json"


@pytest.mark.parametrize("server", ["moto", "azurite"])
def test_link_to_a_key_with_special_characters_is_read(server: str, get_server: GetServer, tmp_path: Path) -> None:
    running = get_server(server)
    store = UserStore(running, running.new_container(), tmp_path)
    running.fill(store.container, {SPECIAL_KEY: b"x"})
    with store.client() as client:
        url = client.link(SPECIAL_KEY, 60)
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - of this machine
        assert answer.read() == b"x"


def test_link_of_cloud_storage_has_the_key_that_requests_have(
    get_server: GetServer, in_front_of: InFrontOf, tmp_path: Path
) -> None:
    running = get_server("gcs")
    store = UserStore(running, running.new_container(), tmp_path)
    running.fill(store.container, {SPECIAL_KEY: b"x"})
    proxy = in_front_of(store)
    with store.client(proxy) as client:
        link = client.link(SPECIAL_KEY, 60)
        assert client.head(SPECIAL_KEY) is not None
    root = running.root(store.container)
    assert unquote(urlsplit(link).path) == f"{root}/{proxy.passed[-1].request.key}" == f"{root}/{SPECIAL_KEY}"


def test_clean_leaves_a_running_attempt_and_foreign_objects(moto_filled: UserStore, tmp_path: Path) -> None:
    with opened(moto_filled) as fence:
        first = {key for key in keys(moto_filled) if "-t11-" in key}
        running = claimed(fence, tmp_path / "second", number=2, fingerprint="f2")
        running.publish({"a": b"1"}, fingerprint="f2")
        third = claimed(fence, tmp_path / "third", number=3, fingerprint="f3")
        third.publish({"a": b"2"}, fingerprint="f3")
        done = run(moto_filled, "clean")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"exp/train: {len(first)} objects to be deleted by another clean in an hour\n"
        third.publish({"a": b"3"}, fingerprint="f3")
    assert set(third.holder.pointer.garbage) == first
    assert first | FOREIGN.keys() <= keys(moto_filled)
    assert not [key for key in keys(moto_filled) if "clock-" in key]


def test_delete_ends_a_running_attempt_and_leaves_foreign_objects(filled: UserStore, tmp_path: Path) -> None:
    with opened(filled) as fence:
        running = claimed(fence, tmp_path / "second", number=2, fingerprint="f2")
        done = run(filled, "delete", "exp", "--yes")
        assert done.returncode == 0, done.stderr
        assert keys(filled) == {"exp/owner.json", "exp/train/run.json", *FOREIGN}
        with pytest.raises(TryAgain) as superseded:
            running.publish({"a": b"1"}, fingerprint="f2")
        assert (superseded.value.exit_code, superseded.value.reason) == (75, "ResultsDeleted")
        again = owned(fence)
        assert again == 3
        claimed(fence, tmp_path / "third", number=1, epoch=again).publish({"a": b"2"})
    steps = json.loads(run(filled, "list", "exp", "--json").stdout)["experiments"]["exp"]["steps"]
    assert steps["train"]["current"]["bytes"] == 1


def test_delete_asks_and_purge_leaves_foreign_objects_alone(moto_filled: UserStore) -> None:
    before = keys(moto_filled)
    done = run(moto_filled, "delete", "exp")
    assert done.returncode == 64
    assert "add --yes" in done.stderr
    assert keys(moto_filled) == before
    assert run(moto_filled, "delete", "exp", "--yes", "--purge").returncode == 0
    assert keys(moto_filled) == set(FOREIGN)


def test_command_of_the_operator_is_the_same(moto_filled: UserStore) -> None:
    arguments = command_line(moto_filled, "list", "exp/train")
    arguments[arguments.index("maskrcnn_trainer.cli")] = "maskrcnn_operator.cli"
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "logs/attempt-1.log" in done.stdout
