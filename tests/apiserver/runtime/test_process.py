"""The command ``maskrcnn-operator controller``: its user, errors at the start, and its end."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.apiserver.account import LEASE
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, TRAIN, Cluster, manifest
from tests.apiserver.runtime.process import controller
from tests.apiserver.runtime.running import RunningOperator, options_for

from maskrcnn_trainer.shared.version import version

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def probe(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait(until: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def test_sigterm_ends_the_operator_in_order(
    account: Path, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet, tmp_path: Path
) -> None:
    log, port, metrics = tmp_path / "log", free_port(), free_port()
    options = ("--health-port", str(port), "--metrics-port", str(metrics), "--experiment-metrics", "10")
    process = controller(account, cluster.namespace, *options, log=log)
    try:
        wait(lambda: probe(port, "/readyz") == 200, log)
        cluster.apply(manifest("process", CONVERT, TRAIN, EVALUATE))
        cluster.wait_ready("process", "Succeeded")
        assert probe(port, "/healthz") == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
            text = answer.read().decode()
        assert 'experiment="process"' in text
        assert "maskrcnn_operator_steps_finished_total" in text
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    lease = bed.api("GET", f"/apis/coordination.k8s.io/v1/namespaces/{cluster.namespace}/leases/{LEASE}")
    assert not lease["spec"].get("holderIdentity")
    lines = log.read_text().splitlines()
    assert any(
        '"experiment": "' + cluster.namespace + '/process"' in line and '"step": "train"' in line for line in lines
    )
    assert not any("Traceback" in line or '"level": "error"' in line for line in lines)


NAMELESS = """
import os, pwd, sys
# names are looked up by the real user id; the effective one can still read this checkout
os.setreuid({uid}, -1)
try:
    pwd.getpwuid(os.getuid())
except KeyError:
    from maskrcnn_operator.cli import main
    sys.exit(main(sys.argv[1:]))
raise SystemExit("this user has a name")
"""
"""Script that becomes a user without a passwd entry and then runs the command."""


def test_user_without_passwd_entry_can_run_the_operator(account: Path, cluster: Cluster, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    uid = next(number for number in range(61_000, 62_000) if number not in {entry.pw_uid for entry in pwd.getpwall()})
    log, port = tmp_path / "log", free_port()
    names = ("USER", "LOGNAME", "LNAME", "USERNAME", "HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [
        *(sys.executable, "-c", NAMELESS.format(uid=uid), "controller", "--kubeconfig", str(account)),
        *("--namespace", cluster.namespace, "--lease-namespace", cluster.namespace),
        *("--health-port", str(port)),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        wait(lambda: process.poll() is not None or probe(port, "/readyz") == 200, log)
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_missing_definition_ends_the_operator_with_a_message(binaries: Path, tmp_path: Path) -> None:
    with Bed(binaries) as bare:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "maskrcnn_operator.cli", "controller"),
                *("--kubeconfig", str(bare.kubeconfig), "--log-format", "text"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 1
    [of_the_version, line] = done.stderr.splitlines()
    assert version() in of_the_version
    assert "maskrcnnexperiments.maskrcnn.dev" in line
    assert "CustomResourceDefinition" in line


def test_missing_permission_ends_the_operator_with_a_message(
    bed: Bed, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    replica = RunningOperator(options_for(bed.kubeconfig_for("nobody", namespace), namespace, denied_seconds=1.0))
    assert replica.start().wait_ended() == 1
    last = caplog.records[-1]
    assert last.levelname == "ERROR"
    assert "forbidden" in last.getMessage()
