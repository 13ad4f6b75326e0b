"""Kueue's default installation from the Go module pinned here, with the manager on the loopback.

``python tests/kueue/installation.py`` builds the manager and renders the manifests before the
tests, because this may exceed the time limit of a test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.apiserver.binaries import BinariesError, cache_folder, find_binaries, say_on_screen
from tests.apiserver.go_build import BuildError, find_go
from tests.cluster.tools import find_tool

MODULE = Path(__file__).resolve().parent
NAMESPACE = "kueue-system"
ACCOUNT = "kueue-controller-manager"
WEBHOOK_SERVICE = "kueue-webhook-service"
CERTIFICATE_SECRET = "kueue-webhook-server-cert"  # noqa: S105 - the name of a Secret
CONFIGURATION = "kueue-manager-config"
CONFIGURATION_FILE = "controller_manager_config.yaml"
# The manager doesn't run in a pod, and the visibility API isn't served.
NOT_INSTALLED = ("Deployment", "APIService")

Object = dict[str, Any]


def version() -> str:
    """Return the version of Kueue that go.mod pins."""
    found = re.search(r"^\s*sigs\.k8s\.io/kueue (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found, "go.mod doesn't require sigs.k8s.io/kueue"
    return found[1]


def find_manager(say: Callable[[str], None] = say_on_screen) -> Path:
    """Return Kueue's manager, built once into the user's cache.

    Raises:
        BuildError: Go is missing, or the build failed.
    """
    return find_tool("kueue", say)


def find_manifests(kubectl: Path, say: Callable[[str], None] = say_on_screen) -> Path:
    """Return the manifests of Kueue's default installation, rendered once next to the manager.

    Raises:
        BuildError: the module cannot be downloaded, or kubectl failed to render it.
    """
    rendered = find_manager(say).with_name("install.yaml")
    if not rendered.is_file():
        downloaded = _run([str(find_go(cache_folder(), say)), "mod", "download", "-json", "sigs.k8s.io/kueue"])
        folder = Path(json.loads(downloaded)["Dir"]) / "config" / "default"
        partial = rendered.with_name(f"install.yaml.partial-{os.getpid()}")
        partial.write_text(_run([str(kubectl), "kustomize", str(folder)]))
        partial.rename(rendered)
    return rendered


def loopback_objects(manifests: list[Object], webhook_port: int) -> list[Object]:
    """Return all objects except NOT_INSTALLED, with webhooks that reach the manager on a port of this machine.

    The API server resolves a Service of type ExternalName by its name, and verifies Kueue's certificate with the
    Service's name as in any cluster.
    """
    applied = [manifest for manifest in manifests if manifest["kind"] not in NOT_INSTALLED]
    for manifest in applied:
        if (manifest["kind"], manifest["metadata"]["name"]) == ("Service", WEBHOOK_SERVICE):
            manifest["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        for client in _client_configs(manifest):
            client["service"]["port"] = webhook_port
    return applied


def manager_configuration(
    manifests: list[Object], *, webhook_port: int, health_port: int, certificates: Path
) -> Object:
    """Return Kueue's default configuration, restricted to Jobs and the loopback."""
    source = next(
        manifest
        for manifest in manifests
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith(CONFIGURATION)
    )
    configuration: Object = yaml.safe_load(source["data"][CONFIGURATION_FILE])
    return configuration | {
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health_port}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": webhook_port, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "integrations": {"frameworks": ["batch/job"]},
        # By default it writes its certificate to a folder in the root of this machine's file system.
        "featureGates": {"VisibilityOnDemand": False},
    }


def _client_configs(manifest: Object) -> list[Object]:
    """Return the parts of a webhook configuration or a definition that name a Service."""
    clients = [webhook["clientConfig"] for webhook in manifest.get("webhooks", ())]
    if manifest["kind"] == "CustomResourceDefinition":
        conversion = manifest["spec"].get("conversion", {})
        clients += [conversion["webhook"]["clientConfig"]] if "webhook" in conversion else []
    return clients


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=MODULE,
        env={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}: {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        say_on_screen(f"Kueue {version()}: {find_manifests(find_binaries() / 'kubectl').parent}")
    except (BinariesError, BuildError) as error:
        sys.exit(str(error))
