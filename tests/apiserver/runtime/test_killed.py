"""The operator's process, killed by SIGKILL after each of its writes, and restarted each time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.account import LEASE
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.rest import RestError
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, GANG, PATIENCE, Cluster, manifest, ready_reason
from tests.apiserver.runtime.process import controller
from tests.apiserver.runtime.proxy import Proxy

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

MAX_PROCESSES = 80


@pytest.fixture
def proxy(bed: Bed, account: Path, tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(bed, tmp_path, account) as running:
        yield running


def forget_lease(bed: Bed, namespace: str) -> None:
    """Delete the killed process's Lease so that the next one leads at once."""
    with contextlib.suppress(RestError):
        bed.api("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")


def run_with_single_writes(
    proxy: Proxy, cluster: Cluster, name: str, log: Path, meanwhile: Callable[[dict[str, Any]], None]
) -> int:
    """Run the operator with one write per process until the experiment has succeeded; return the number of kills.

    Args:
        proxy: through which the operator writes.
        cluster: namespace of the experiment.
        name: of the experiment.
        log: file of the operator's log.
        meanwhile: called repeatedly with the current experiment.
    """
    for life in range(MAX_PROCESSES):
        forget_lease(cluster.bed, cluster.namespace)
        process = controller(proxy.kubeconfig, cluster.namespace, log=log)

        def kill(method: str, path: str, pid: int = process.pid) -> None:
            if "/leases" not in path:
                os.kill(pid, signal.SIGKILL)

        proxy.on_write = kill
        deadline = time.monotonic() + PATIENCE
        try:
            while process.poll() is None:
                found = cluster.experiment(name)
                assert found is not None
                if ready_reason(found) == "Succeeded":
                    return life
                meanwhile(found)
                assert time.monotonic() < deadline, f"no write by process {life}\n{cluster.picture(name)}"
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL, log.read_text()[-2000:]
    raise AssertionError(f"not finished after {MAX_PROCESSES} processes\n{cluster.picture(name)}")


def made(proxy: Proxy, kind: str) -> int:
    return sum(method == "POST" and path.endswith(f"/{kind}") and status == 201 for method, path, status in proxy.calls)


def counts(experiment: dict[str, Any]) -> list[tuple[int, int, int]]:
    steps = experiment["status"]["steps"]
    return [(step["attempt"], step["restarts"], step["disruptions"]) for step in steps]


def test_operator_killed_after_every_write_does_nothing_twice(
    proxy: Proxy, cluster: Cluster, kubelet: PlayedKubelet, tmp_path: Path
) -> None:
    kubelet.default = Play(seconds=None)

    def end_running_steps(experiment: dict[str, Any]) -> None:
        for step in experiment.get("status", {}).get("steps", ()):
            if step["state"] == "Running":
                kubelet.finish(step["name"])

    cluster.apply(manifest("killed", CONVERT, GANG, EVALUATE))
    kills = run_with_single_writes(proxy, cluster, "killed", tmp_path / "log", end_running_steps)
    done = cluster.wait_ready("killed", "Succeeded")
    assert counts(done) == [(1, 0, 0)] * 3
    assert (made(proxy, "jobs"), made(proxy, "services")) == (3, 1)
    assert len(kubelet.started) == 4
    # writes: Job and "Running" of each step, a Service; the first status falls away if the first pod runs before it
    assert kills >= 7


def test_restart_is_counted_once_when_operator_is_killed_during_it(
    proxy: Proxy, cluster: Cluster, kubelet: PlayedKubelet, tmp_path: Path
) -> None:
    kubelet.play("train", Play(exit_code=75), attempt=1, index=1)
    kubelet.play("train", Play(seconds=None), attempt=1, index=0)
    cluster.apply(manifest("again", GANG))
    run_with_single_writes(proxy, cluster, "again", tmp_path / "log", lambda experiment: None)
    done = cluster.wait_ready("again", "Succeeded")
    assert counts(done) == [(2, 1, 0)]
    assert (made(proxy, "jobs"), made(proxy, "services")) == (2, 1)
