"""The helper process: what others can see of it, and when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.object_store.clients import SECRETS, client_of, connection_to, secret_in
from tests.unit.object_store.identities import visible_of
from tests.unit.object_store.stub_server import StubServer, etag_of, serving

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store import helper as helper_process
from maskrcnn_trainer.object_store.client import MOST_SMALL, ObjectInfo, StoreClient, parts_of
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.fence.records import ObjectVersion

ROOT = Path(__file__).resolve().parents[3]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(met: Callable[[], bool]) -> None:
    """Return when a condition is met; pytest's time limit ends a wait in vain."""
    while not met():
        time.sleep(0.01)


def test_helper_of_a_secret_has_no_variable_of_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "GOOGLE_APPLICATION_CREDENTIALS", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, "AMBIENTTOKEN")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        assert client.head("k") is not None
        assert client.pid
        assert not any(prefix in visible_of(client.pid) for prefix in ("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_"))
        assert "x-amz-security-token" not in server.seen[0].headers
        assert "KEYIDOFTHESECRET" in server.seen[0].headers["authorization"]


def test_two_stores_have_keys_of_their_own_next_to_an_ambient_identity(tmp_path: Path) -> None:
    ambient = {
        "AWS_ACCESS_KEY_ID": "AMBIENTID", "AWS_SECRET_ACCESS_KEY": "ambient", "AWS_SESSION_TOKEN": "AMBIENTTOKEN",
    }  # fmt: skip
    second = secret_in(tmp_path / "second", "s3", **{**SECRETS["s3"], "AWS_ACCESS_KEY_ID": "SECONDID"})
    with serving(b={"k": b"x"}) as one, serving(b={"k": b"x"}) as two, serving(b={"k": b"x"}) as three:
        clients = [
            client_of(one, tmp_path),
            StoreClient(connection_to(two, tmp_path, secret_dir=second)),
            StoreClient(connection_to(three, tmp_path, secret_dir=None, environment=ambient)),
        ]
        for client in clients:
            with client:
                assert client.head("k") is not None
        sent = [server.seen[0].headers for server in (one, two, three)]
    identities = ("KEYIDOFTHESECRET", "SECONDID", "AMBIENTID")
    for identity, headers in zip(identities, sent, strict=True):
        assert f"Credential={identity}/" in headers["authorization"]
    assert ["x-amz-security-token" in headers for headers in sent] == [False, False, True]


def started(program: str, server: StubServer, directory: Path) -> subprocess.Popen[str]:
    """Start a program that has a client of a server."""
    head = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from maskrcnn_trainer.object_store.client import StoreClient\n"
        "from maskrcnn_trainer.object_store.connection import StoreConnection\n"
        f"connection = StoreConnection('s3', 'b', endpoint={server.url!r}, region='r', allow_http=True, "
        f"secret_dir=Path({str(directory)!r}))\nclient = StoreClient(connection)\n"
    )
    return subprocess.Popen([sys.executable, "-c", head + program], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_helper_ends_with_its_parent(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server:
        secret = secret_in(tmp_path / "s3", "s3")
        with started("client.head('k')\nprint(client.pid, flush=True)\ntime.sleep(600)", server, secret) as parent:
            assert parent.stdout
            helper = int(parent.stdout.readline())
            assert is_running(helper)
            parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_running(helper))


def test_process_that_has_used_a_store_can_fork_and_use_it_in_the_child(tmp_path: Path) -> None:
    program = (
        "assert client.head('k').size == 1\n"
        "helper = client.pid\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ok = client.head('k').size == 1 and client.head('absent') is None\n"
        "    ok = ok and client.pid != helper\n"
        "    client.close()\n"
        "    os._exit(0 if ok else 1)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print(code, client.head('k').size, client.pid == helper, 'obstore' in sys.modules)\n"
    )
    with serving(b={"k": b"x"}) as server, started(program, server, secret_in(tmp_path / "s3", "s3")) as process:
        assert process.communicate()[0].split() == ["0", "1", "True", "False"]


def test_ctrl_c_of_a_terminal_does_not_end_the_helper(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        assert client.head("k") is not None
        helper = client.pid
        assert helper
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(helper, number)
        assert client.head("k") is not None
        assert client.pid == helper


def test_closed_client_leaves_no_process(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        assert client.head("k") is not None
        helper = client.pid
        assert helper
    assert not Path(f"/proc/{helper}").exists()


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "obstore").mkdir()
    (tmp_path / "obstore" / "__init__.py").write_text("raise ModuleNotFoundError('obstore')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with (
        StoreClient(StoreConnection("s3", "b")) as client,
        pytest.raises(InvalidInput, match="package obstore") as caught,
    ):
        client.head("k")
    assert caught.value.reason == "MissingPackage"


def test_file_whose_name_is_not_utf_8_is_written(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        path = tmp_path / os.fsdecode(b"caf\xe9")
        parts = parts_of(ObjectInfo("k", 1, etag_of(b"x")), path)
        assert [outcome for _, outcome in client.fetch(parts)] == [ReadOutcome.DONE]
        assert path.read_bytes() == b"x"


def test_suspended_helper_that_reads_no_message_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        assert client.head("k") is not None
        assert client.pid
        os.kill(client.pid, signal.SIGSTOP)
        monkeypatch.setattr(helper_process, "SECONDS_TO_TAKE", 0.3)
        monkeypatch.setattr(helper_process, "SECONDS_TO_EXIT", 0.1)
        assert isinstance(client.overwrite("large", b"x" * MOST_SMALL), ObjectVersion)
