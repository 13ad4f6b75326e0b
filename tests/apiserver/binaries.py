"""Find etcd, kube-apiserver, kube-controller-manager and kubectl, or download or build them.

The sources, in this order: the folder in KUBEBUILDER_ASSETS; the cache, by version; the Kubernetes project's release
site (which lacks etcd: the one on PATH is used, else only etcd is built); a build of the Go module
``tests/cluster/kube``, a single binary that contains all of them. ``python tests/apiserver/binaries.py`` prints the
folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.apiserver.go_build import ETCD_PACKAGE, MODULE, BuildError, build
from tests.apiserver.release_site import SITE, SiteError, download

KUBERNETES = "1.36.3"
FROM_RELEASE_SITE = ("kube-apiserver", "kube-controller-manager", "kubectl")
NAMES = ("etcd", *FROM_RELEASE_SITE)
ALL_IN_ONE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class BinariesError(Exception):
    """Failure to find, download or build the binaries; the message has the reason of each attempt."""


def say_on_screen(message: str) -> None:
    """Print a message to standard error, for the user who waits."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def cache_folder() -> Path:
    """Return the user's cache folder of this project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskrcnn-operator"


def find_binaries(say: Callable[[str], None] = say_on_screen, site: str = SITE) -> Path:
    """Return the folder of the binaries ``NAMES``; download or build them if they are missing.

    If two processes need them at the same time, the second one waits for the first one's result.

    Raises:
        BinariesError: with the reason.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        missing = [name for name in NAMES if not os.access(Path(assets) / name, os.X_OK)]
        if not missing:
            return Path(assets)
        # The folder of envtest's tools lacks kube-controller-manager, which Jobs need.
        say(f"KUBEBUILDER_ASSETS={assets} lacks {', '.join(missing)}: not used")
    folder = cached_folder()
    if _complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock"), f"getting Kubernetes {KUBERNETES}", say):
        if not _complete(folder):
            for left_behind in folder.parent.glob(f"{folder.name}.partial-*"):
                shutil.rmtree(left_behind, ignore_errors=True)
            partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
            partial.mkdir()
            try:
                _get(partial, say, site)
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def cached_folder() -> Path:
    """Return the cache folder for this version, this state of the Go module, and this machine's architecture."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((MODULE / name).read_bytes())
    return cache_folder() / "kubernetes" / f"{KUBERNETES}-{_architecture()}-{digest.hexdigest()[:8]}"


def _get(folder: Path, say: Callable[[str], None], site: str) -> None:
    say(f"Kubernetes {KUBERNETES} is in neither KUBEBUILDER_ASSETS nor {cache_folder() / 'kubernetes'}")
    tried: list[str] = []
    try:
        download(FROM_RELEASE_SITE, folder, version=KUBERNETES, architecture=_architecture(), say=say, site=site)
    except SiteError as error:
        tried.append(f"download: {error}")
        say(f"Not downloaded: {error}")
    else:
        try:
            _get_etcd(folder, say)
        except BuildError as error:
            raise BinariesError(f"the release site of Kubernetes has no etcd: {error}") from error
        return
    try:
        build(folder / "kube", ".", KUBERNETES, cache_folder(), say)
    except BuildError as error:
        raise BinariesError("; ".join([*tried, f"build: {error}"])) from error
    for name in ALL_IN_ONE:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("kube")


def _get_etcd(folder: Path, say: Callable[[str], None]) -> None:
    installed = shutil.which("etcd")
    if installed:
        say(f"etcd is {installed}")
        (folder / "etcd").symlink_to(installed)
        return
    build(folder / "etcd", ETCD_PACKAGE, KUBERNETES, cache_folder(), say)


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in NAMES)


def _architecture() -> str:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES:
        raise BinariesError(f"kube-apiserver runs on Linux with x86_64 or aarch64, not on {sys.platform} {machine}")
    return ARCHITECTURES[machine]


@contextmanager
def locked(path: Path, doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file ``path``; a process that has to wait logs what the other one is ``doing``."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Another process is {doing}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find_binaries()}\n")
    except BinariesError as unavailable:
        sys.exit(str(unavailable))
