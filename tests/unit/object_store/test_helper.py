"""The helper process: what others can see of it, and when it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, QUICK, SCHEMES, SECRETS, client_of, connection_to, secret_in
from tests.unit.object_store.stub_server import Answer, Plan, Seen, StubServer, etag_of, refusal, serving

from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.object_store.client import ObjectInfo, StoreClient, parts_of
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.exchange import ReadOutcome

ROOT = Path(__file__).resolve().parents[3]
PROXY_PASSWORD = "password-of-the-proxy"  # noqa: S105 - made up

# Values by which a secret would be recognized, also if it were quoted or decoded in between.
NEEDLES = (
    "KEYIDOFTHESECRET", "key/of+the+secret", "key%2Fof", "private-key-of-the-secret", "signature%2Fof", "signature/of",
    PROXY_PASSWORD, "AMBIENTTOKEN",
)  # fmt: skip


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(met: Callable[[], bool]) -> None:
    """Return when a condition is met; pytest's time limit ends a wait in vain."""
    while not met():
        time.sleep(0.01)


def visible(pid: int) -> str:
    """Return what other processes can read of a process: its command line and its first environment."""
    return "\n".join(
        Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace") for name in ("cmdline", "environ")
    )


def everything_echoed(seen: Seen) -> Answer:
    """Return a refusal with all that the request had, as a hostile or a chatty server may answer."""
    code = seen.headers.get("authorization", "x").partition("Credential=")[2].partition("/")[0] or "x"
    text = f"{seen.path} {seen.query} {seen.headers}"
    return Answer(403, f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_keys_are_not_on_the_command_line_in_the_environment_in_logs_or_in_errors(
    tmp_path: Path, scheme: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    environment = {"HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
    plans: tuple[Plan, ...] = (
        everything_echoed,
        lambda _: refusal(403, "AccessDenied"),
        lambda seen: Answer(500, everything_echoed(seen).body),
    )
    with serving(b={"k": b"x"}) as server:
        connection = connection_to(server, tmp_path, scheme, environment=environment)
        with StoreClient(connection, policy=QUICK, on_wait=shown.append) as client:
            assert client.head("k") == ObjectInfo("k", 1, etag_of(b"x"))
            assert client.pid
            shown += [visible(client.pid), repr(connection)]
        for plan in plans:
            server.plan = plan
            for use in (lambda client: client.head("k"), lambda client: list(client.list("d"))):
                with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TaskError) as caught:
                    use(client)
                shown += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
        unreachable = connection_to(server, tmp_path, scheme, endpoint="https://store.invalid", environment=environment)
        with StoreClient(unreachable, policy=AT_ONCE) as client, pytest.raises(TaskError) as caught:
            client.head("k")
        shown.append(str(caught.value))
    output = capfd.readouterr()
    text = "\n".join([*shown, caplog.text, output.out, output.err])
    assert [needle for needle in NEEDLES if needle in text] == []
    assert all(value not in text for value in SECRETS[scheme].values())


def test_helper_of_a_secret_has_no_variable_of_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "GOOGLE_APPLICATION_CREDENTIALS", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, "AMBIENTTOKEN")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        assert client.head("k") is not None
        assert client.pid
        assert not any(prefix in visible(client.pid) for prefix in ("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_"))
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
