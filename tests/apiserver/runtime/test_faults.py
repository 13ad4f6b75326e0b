"""API server faults: errors, lost or late responses, restarts, and closed watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, GANG, TRAIN, Cluster, manifest, step_of
from tests.apiserver.runtime.proxy import Proxy
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


@pytest.fixture
def proxy(bed: Bed, account: Path, tmp_path: Path) -> Iterator[Proxy]:
    """Yield a proxy between the operator and the API server that outlives the operator."""
    with Proxy(bed, tmp_path, account) as running:
        yield running


@pytest.fixture
def behind(proxy: Proxy, start_operator: StartOperator) -> RunningOperator:
    """Start an operator that uses the proxy, and wait until it leads."""
    return start_operator(kubeconfig=proxy.kubeconfig).wait_leading()


@pytest.mark.parametrize(
    ("call", "status", "more"),
    [
        ("PATCH /status", 409, {"times": 2}),
        ("PATCH /status", 500, {"times": 2}),
        ("PATCH /status", 429, {"headers": {"Retry-After": "1"}}),
        ("PATCH /status", 0, {"after": True}),
        ("POST /jobs", 500, {"times": 2}),
        ("POST /jobs", 429, {"headers": {"Retry-After": "1"}, "times": 2}),
        ("POST /jobs", 0, {"after": True}),
        ("POST /jobs", 504, {"after": True}),
        ("POST /services", 500, {"after": True}),
        ("POST /events", 500, {"times": 3}),
        ("GET /persistentvolumeclaims", 500, {"times": 2}),
    ],
)
@pytest.mark.usefixtures("behind")
def test_failed_request_is_retried_without_double_effect(  # noqa: PLR0917 - pytest passes by name
    proxy: Proxy, cluster: Cluster, kubelet: PlayedKubelet, call: str, status: int, more: dict[str, object]
) -> None:
    method, part = call.split()
    fault = proxy.fault(method, part, status, **more)
    cluster.apply(manifest("faulty", CONVERT, GANG))
    done = cluster.wait_ready("faulty", "Succeeded")
    assert fault.seen == fault.times
    assert [step["attempt"] for step in done["status"]["steps"]] == [1, 1]
    assert sorted((facts.step, facts.index) for facts in kubelet.started) == [
        ("convert", 0),
        ("train", 0),
        ("train", 1),
    ]


def test_retry_after_header_is_respected(
    behind: RunningOperator, proxy: Proxy, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    proxy.fault("POST", "/jobs", 429, headers={"Retry-After": "3"})
    cluster.apply(manifest("patient", CONVERT))
    cluster.wait_for(lambda: bool(proxy.faults[0].seen), "the refusal")
    refused = time.monotonic()
    cluster.wait_for(lambda: bool(cluster.jobs()), "the Job")
    assert time.monotonic() - refused > 2.5
    cluster.wait_ready("patient", "Succeeded")


def test_list_restarts_when_its_continue_token_has_expired(
    proxy: Proxy, start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("listed", CONVERT))
    # not of experiments: their first list is a check that they are served
    fault = proxy.fault("GET", "/jobs", 410)
    start_operator(kubeconfig=proxy.kubeconfig)
    cluster.wait_ready("listed", "Succeeded")
    assert fault.seen == 1


def test_lists_that_fail_are_tried_until_they_succeed(
    proxy: Proxy, start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("late", CONVERT))
    fault = proxy.fault("GET", "/maskrcnnexperiments", 503, times=3)
    start_operator(kubeconfig=proxy.kubeconfig)
    cluster.wait_ready("late", "Succeeded")
    assert fault.seen == 3


def test_closed_watch_misses_no_change(
    behind: RunningOperator, proxy: Proxy, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None), attempt=1)
    cluster.apply(manifest("cut", TRAIN, EVALUATE))
    cluster.apply(manifest("doomed", {**CONVERT, "name": "hold"}))
    cluster.wait_step("cut", "train", state="Running")
    kubelet.wait_running("train")
    watches = proxy.fault("GET", "/pods", 503, times=3)
    assert proxy.cut_watches() == 3
    # while the list of pods fails, the Job ends and an experiment is deleted
    kubelet.finish("train")
    cluster.delete("doomed")
    done = cluster.wait_ready("cut", "Succeeded")
    assert step_of(done, "train")["attempt"] == 1
    assert watches.seen == 3
    assert behind.operator is not None
    operator = behind.operator
    cluster.wait_for(
        lambda: operator.cache.experiment(cluster.namespace, "doomed") is None, "the deletion to be observed"
    )


def test_deletions_during_restart_of_api_server_are_observed(
    operator: RunningOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    operator.wait_leading()
    kubelet.play("train", Play(seconds=None), attempt=1)
    kubelet.play("convert", Play(seconds=None))
    cluster.apply(manifest("kept", TRAIN))
    cluster.apply(manifest("deleted", CONVERT))
    job = cluster.wait_step("kept", "train", state="Running")["jobName"]
    cluster.wait_step("deleted", "convert", state="Running")
    with bed.apiserver_down():
        time.sleep(1.0)
    cluster.delete_job(job)
    cluster.delete("deleted")
    with bed.apiserver_down():
        time.sleep(1.0)
    done = cluster.wait_ready("kept", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["restarts"]) == (2, 0)
    cluster.wait_for(lambda: cluster.experiment("deleted") is None, "the deletion of the experiment")
    cluster.wait_for(lambda: set(cluster.jobs()) <= {"train/2"}, "the deletion of the other Job")
    assert operator.operator is not None
    running = operator.operator
    cluster.wait_for(
        lambda: running.cache.experiment(cluster.namespace, "deleted") is None, "the deletion to be observed"
    )
