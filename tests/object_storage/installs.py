"""Servers of object storage, each installed or built once into the user's cache.

``python tests/object_storage/installs.py [NAME...]`` gets the missing ones, by default all, and prints the seconds that
each took; a server that can't be had doesn't end it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.apiserver.binaries import cache_folder, locked, say_on_screen
from tests.apiserver.go_build import BuildError
from tests.cluster.tools import find_tool

ROOT = Path(__file__).resolve().parents[2]
MOTO_LOCK = ROOT / "requirements" / "object-storage.lock"
AZURITE = Path(__file__).resolve().parent / "azurite"
LAST_LINES = 15


class InstallError(Exception):
    """Failure to install a server; the message has the last lines of the output."""


def moto_python() -> Path:
    """Return the Python of an environment with moto."""
    return _installed("moto", [MOTO_LOCK], _install_moto) / "bin" / "python"


def azurite_folder() -> Path:
    """Return the folder with Azurite in its ``node_modules``."""
    return _installed("azurite", [AZURITE / "package.json", AZURITE / "package-lock.json"], _install_azurite)


def versitygw_program() -> Path:
    """Return the program versitygw."""
    try:
        return find_tool("versitygw")
    except BuildError as error:
        raise InstallError(str(error)) from error


INSTALLS: dict[str, Callable[[], Path]] = {
    "moto": moto_python,
    "azurite": azurite_folder,
    "versitygw": versitygw_program,
}


def _installed(name: str, locks: list[Path], install: Callable[[Path], None]) -> Path:
    """Return the folder of an installation for the content of its lock files."""
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    target = cache_folder() / "object-storage" / f"{name}-{digest[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{target.name}.lock"), f"installing {name}", say_on_screen):
        if not target.is_dir():
            say_on_screen(f"Installing {name}: about a minute, once")
            partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                install(partial)
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


def _install_moto(folder: Path) -> None:
    _run("moto", [sys.executable, "-m", "venv", "--without-pip", str(folder)], ROOT)
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--no-deps", "--require-hashes"]
    python = str(folder / "bin" / "python")
    _run("moto", [*install, "--python", python, "-r", str(MOTO_LOCK)], ROOT, _index_of_pip())


def _index_of_pip() -> dict[str, str]:
    """Return the variable by which uv uses the index that pip is configured for, which uv doesn't read."""
    get = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(get, capture_output=True, text=True, check=False).stdout.strip()
    variables = (os.environ.get(name) for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"))
    index = next(filter(None, variables), configured)
    return {"UV_DEFAULT_INDEX": index} if index else {}


def _install_azurite(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise InstallError("azurite needs npm: install Node.js 20 or newer")
    folder.mkdir()
    for file in ("package.json", "package-lock.json"):
        shutil.copy(AZURITE / file, folder / file)
    _run("azurite", [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _run(name: str, command: list[str], directory: Path, variables: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()[-LAST_LINES:]
        raise InstallError(f"{name} can't be installed:\n" + "\n".join(lines))


def main(names: list[str]) -> None:
    """Get servers, and print what each took."""
    for name in names or INSTALLS:
        started = time.monotonic()
        try:
            INSTALLS[name]()
        except InstallError as error:
            say_on_screen(str(error))
        say_on_screen(f"{name}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
