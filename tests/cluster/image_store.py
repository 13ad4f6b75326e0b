"""Image store of containerd, unpacked once; each node's store consists of hard links to it.

Unpacked files are never modified (containers write to their own layers), so that nodes can share them; only the two
databases are copied. The store is kept in the user's cache, by the contents of the archives.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.apiserver.binaries import cache_folder, say_on_screen
from tests.cluster.node_files import PAUSE_IMAGE
from tests.cluster.tools import find_tool

KEPT_STORES = 2
START_SECONDS = 60.0
ARCHIVER = Path(__file__).resolve().parents[2] / "images" / "base" / "archive.py"


def find_store(archives: Sequence[Path], say: Callable[[str], None] = say_on_screen) -> Path:
    """Return a containerd root with these docker-archives and the pause image imported, from the cache if possible."""
    pause = _pause_archive()
    images = [pause, *archives]
    digest = hashlib.sha256("".join(_identity(path) for path in images).encode()).hexdigest()[:16]
    stores = cache_folder() / "containerd"
    store = stores / digest
    if store.is_dir():
        store.touch()
        return store
    started = time.monotonic()
    say(f"Unpacking {len(images)} images for the nodes")
    partial = stores / f"{digest}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _import(partial, images)
        partial.rename(store)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in sorted(stores.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_STORES:]:
        shutil.rmtree(old, ignore_errors=True)
    say(f"Unpacked in {time.monotonic() - started:.0f} s")
    return store


def copy_store(store: Path, root: Path) -> None:
    """Create a node's root from hard links; the two databases are copied, because they are modified."""
    subprocess.run(["cp", "-al", str(store), str(root)], check=True)
    for database in [*root.rglob("*.db")]:
        linked = database.with_suffix(".linked")
        database.rename(linked)
        shutil.copyfile(linked, database)
        linked.unlink()


def _import(root: Path, archives: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="maskrcnn-store-") as folder:
        socket = f"{folder}/containerd.sock"
        toml = Path(folder, "containerd.toml")
        toml.write_text(
            f'version = 2\nroot = "{root}"\nstate = "{folder}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{socket}"\n'
        )
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(
                ["containerd", "--config", str(toml)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                deadline = time.monotonic() + START_SECONDS
                while not Path(socket).exists():
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"containerd didn't start: {Path(folder, 'log').read_text()[-2000:]}")
                    time.sleep(0.05)
                for archive in archives:
                    command = ["ctr", "--address", socket, "-n", "k8s.io", "images", "import", str(archive)]
                    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            finally:
                server.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(10)
                server.kill()


def _pause_archive() -> Path:
    program = find_tool("pause")
    archive = program.with_name("pause.tar")
    if not archive.is_file():
        layer = program.with_name("layer.tar")
        with tarfile.open(layer, "w") as tar:
            entry = tarfile.TarInfo("pause")
            entry.size, entry.mode = program.stat().st_size, 0o755
            with program.open("rb") as file:
                tar.addfile(entry, file)
        partial = archive.with_suffix(".partial")
        command = ["python3", str(ARCHIVER), str(layer), str(partial), "--name", PAUSE_IMAGE, "--entrypoint", "/pause"]
        subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
        layer.unlink()
        partial.rename(archive)
    return archive


def _identity(archive: Path) -> str:
    """Return a hash that identifies the image, of its stamp if there is one: reading a large archive takes seconds."""
    stamp = archive.with_suffix(".made-from")
    facts = archive.stat()
    return stamp.read_text() if stamp.is_file() else f"{archive}:{facts.st_size}:{facts.st_mtime_ns}"
