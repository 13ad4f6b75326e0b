"""Small Go programs that the cluster tier needs, each built once from a module of its own into the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.apiserver.binaries import cache_folder, say_on_screen
from tests.apiserver.go_build import BuildError, find_go

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "coredns": (ROOT / "cluster" / "coredns", "."),
    "pause": (ROOT / "cluster" / "pause", "."),
    "argocd": (ROOT / "gitops" / "argocd", "."),
    "flux": (ROOT / "gitops" / "flux", "."),
    "helm": (ROOT / "chart" / "helm", "helm.sh/helm/v3/cmd/helm"),
}
HELM = "helm.sh/helm/v3/pkg"
# the Kubernetes that helm assumes where it asks none
VARIABLES = {
    "helm": [
        f"-X {HELM}/{package}.k8sVersion{part}={number}"
        for package in ("chartutil", "lint/rules")
        for part, number in (("Major", 1), ("Minor", 36))
    ]
}
LAST_LINES = 15


def find_tool(name: str, say: Callable[[str], None] = say_on_screen) -> Path:
    """The program ``name`` of MODULES.

    Raises:
        BuildError: there is no Go to be had, or it did not build.
    """
    module, package = MODULES[name]
    digest = hashlib.sha256()
    for path in sorted(module.iterdir()):
        digest.update(path.read_bytes())
    target = cache_folder() / "tools" / f"{name}-{digest.hexdigest()[:12]}" / name
    if target.is_file():
        return target
    go = find_go(cache_folder(), say)
    partial = target.parent.with_name(f"{target.parent.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    flags = " ".join(["-s", "-w", *VARIABLES.get(name, [])])
    say(f"Building {name}: a minute or two on two cores, once")
    done = subprocess.run(
        [
            *(str(go), "build", "-trimpath", "-buildvcs=false", f"-ldflags={flags}"),
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
        raise BuildError(f"{name} did not build:\n" + "\n".join(done.stderr.splitlines()[-LAST_LINES:]))
    if target.is_file():  # somebody else was as quick
        shutil.rmtree(partial, ignore_errors=True)
    else:
        shutil.rmtree(target.parent, ignore_errors=True)
        partial.rename(target.parent)
    return target
