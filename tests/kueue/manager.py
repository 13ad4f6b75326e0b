"""Kueue's manager as a process next to the servers of a bed, with the permissions of its own installation."""

from __future__ import annotations

import base64
import time
import urllib.request
from pathlib import Path

import yaml
from tests.apiserver.bed import Bed
from tests.apiserver.servers import LOOPBACK, free_port
from tests.kueue.installation import (
    ACCOUNT,
    CERTIFICATE_SECRET,
    NAMESPACE,
    loopback_objects,
    manager_configuration,
)

NAME = "kueue"
READY_SECONDS = 120.0
POLL_SECONDS = 0.1
CERTIFICATE_FILES = ("tls.key", "tls.crt")  # the manager starts once the second one exists


class KueueError(Exception):
    """Kueue didn't become ready; the message has the end of its log."""


def start_kueue(bed: Bed, program: Path, installed: Path) -> None:
    """Install Kueue on a bed and wait until its webhooks serve; it ends with the bed.

    Raises:
        KueueError: it ended, or wasn't ready within READY_SECONDS.
    """
    manifests = list(yaml.safe_load_all(installed.read_text()))
    certificates = bed.folder / "kueue-certificates"
    certificates.mkdir()
    webhook_port, health_port = free_port(), free_port()
    objects = yaml.safe_dump_all(loopback_objects(manifests, webhook_port))
    # The definition of Workload is too long for the annotation of a client-side apply.
    bed.kubectl("apply", "--server-side", "-f", "-", input=objects)
    bed.wait_established("crd", "--all")
    configuration = bed.folder / "kueue.yaml"
    configuration.write_text(
        yaml.safe_dump(
            manager_configuration(
                manifests, webhook_port=webhook_port, health_port=health_port, certificates=certificates
            )
        )
    )
    kubeconfig = bed.kubeconfig_for(ACCOUNT, NAMESPACE)
    bed.start_server(
        NAME, [str(program), f"--config={configuration}", f"--kubeconfig={kubeconfig}", "--zap-log-level=2"]
    )
    deadline = time.monotonic() + READY_SECONDS
    while not _ready(health_port):
        code = bed.exit_code(NAME)
        if code is not None or time.monotonic() > deadline:
            state = "is not ready" if code is None else f"ended with {code}"
            raise KueueError(f"Kueue {state}:\n{bed.log(NAME)}")
        _mount_certificate(bed, certificates)
        time.sleep(POLL_SECONDS)


def _mount_certificate(bed: Bed, folder: Path) -> None:
    """Write Kueue's certificate to ``folder``, like a kubelet that mounts its Secret."""
    secret = bed.api("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{CERTIFICATE_SECRET}")
    for name in CERTIFICATE_FILES:
        if (value := (secret.get("data") or {}).get(name)) and not (folder / name).exists():
            partial = folder / f"{name}.partial"
            partial.touch(mode=0o600)
            partial.write_bytes(base64.b64decode(value))
            partial.rename(folder / name)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
