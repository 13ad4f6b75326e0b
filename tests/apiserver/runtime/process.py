"""The operator as a separate process, started by its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.apiserver.runtime.running import IMAGE


def controller(kubeconfig: Path, namespace: str, *options: str, log: Path) -> subprocess.Popen[bytes]:
    """Start ``maskrcnn-operator controller`` for one namespace; its log lines go to ``log``."""
    command = [
        *(sys.executable, "-m", "maskrcnn_operator.cli", "controller", "--kubeconfig", str(kubeconfig)),
        *("--namespace", namespace, "--lease-namespace", namespace),
        *("--trainer-image", IMAGE, *options),
    ]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
