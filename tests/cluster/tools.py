"""Go programs of the tests, each built once into the user's cache.

``python tests/cluster/tools.py [NAME...]`` builds the missing ones, by default all, before the tests, because a build
may exceed the time limit of a test.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.apiserver.binaries import cache_folder, locked, say_on_screen
from tests.apiserver.go_build import FLAGS, BuildError, find_go

ROOT = Path(__file__).resolve().parents[1]
# Each module has two programs, so that the Kubernetes libraries are compiled once for both.
MODULES = {
    "actionlint": (ROOT / "actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),
    "coredns": (ROOT / "programs", "./coredns"),
    "helm": (ROOT / "programs", "helm.sh/helm/v3/cmd/helm"),
    "pause": (ROOT / "cluster" / "pause", "."),
    "argocd": (ROOT / "gitops", "./argocd"),
    "flux": (ROOT / "gitops", "./flux"),
    "kueue": (ROOT / "kueue", "sigs.k8s.io/kueue/cmd/kueue"),
    "rclone": (ROOT.parent / "benchmarks" / "rclone", "."),
    "versitygw": (ROOT / "object_storage" / "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
}
HELM = "helm.sh/helm/v3/pkg"
# the Kubernetes version that helm assumes without a cluster
VARIABLES = {
    "helm": [
        f"-X {HELM}/{package}.k8sVersion{part}={number}"
        for package in ("chartutil", "lint/rules")
        for part, number in (("Major", 1), ("Minor", 36))
    ]
}
MINUTES = {"kueue": "about five minutes", "versitygw": "about four minutes"}
LAST_LINES = 15


def find_tool(name: str, say: Callable[[str], None] = say_on_screen) -> Path:
    """Return the program ``name`` of MODULES; build it if it isn't in the cache.

    Raises:
        BuildError: Go is missing, or the build failed.
    """
    module, package = MODULES[name]
    digest = hashlib.sha256()
    for path in _sources(module, package):
        digest.update(path.read_bytes())
    target = cache_folder() / "tools" / f"{name}-{digest.hexdigest()[:12]}" / name
    if target.is_file():
        return target
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent.with_name(f"{target.parent.name}.lock"), f"building {name}", say):
        if not target.is_file():
            _build(name, module, package, target, say)
    return target


def _sources(module: Path, package: str) -> list[Path]:
    """Return the source files of a program: those of the module, and of the package if it is in the module."""
    own = [*module.glob("go.*"), *(module / package).glob("*.go")]
    return sorted(path for path in own if path.is_file())


def _build(name: str, module: Path, package: str, target: Path, say: Callable[[str], None]) -> None:
    go = find_go(cache_folder(), say)
    partial = target.parent.with_name(f"{target.parent.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    flags = " ".join(["-s", "-w", *VARIABLES.get(name, [])])
    say(f"Building {name}: {MINUTES.get(name, 'a minute or two')} on two cores, once")
    done = subprocess.run(
        [
            *(str(go), "build", *FLAGS, f"-ldflags={flags}"),
            *("-o", str(partial / name), package),
        ],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise BuildError(f"{name} failed to build:\n" + "\n".join(done.stderr.splitlines()[-LAST_LINES:]))
    shutil.rmtree(target.parent, ignore_errors=True)
    partial.rename(target.parent)


if __name__ == "__main__":
    try:
        for tool in sys.argv[1:] or MODULES:
            find_tool(tool)
    except BuildError as error:
        sys.exit(str(error))
