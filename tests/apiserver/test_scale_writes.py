"""Number of the operator's writes per experiment, counted in the API server's audit log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.apiserver.account import USER, make_account
from tests.apiserver.audit import AuditTail
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.scale import EXPERIMENTS, STEPS, count_writes, create_experiments, experiment, make_claim

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

NUMBER = 200
DRIVEN = 5
PATIENCE = 400.0
QUIET_SECONDS = 3.0
STATUS = "patch maskrcnnexperiments/status"


@pytest.fixture(scope="module")
def account(bed: Bed) -> Path:
    """Return a kubeconfig of the operator's service account."""
    return make_account(bed)


@pytest.fixture
def start(account: Path, namespace: str, tmp_path: Path) -> Callable[[], OperatorProcess]:
    """Return a function that starts an operator for the test's namespace, without a client-side rate limit."""
    return lambda: OperatorProcess(account, namespace, tmp_path / "operator.log", ("--qps=0",))


class Writes:
    """Counter of the operator's writes in a namespace since the last count."""

    def __init__(self, bed: Bed, namespace: str) -> None:
        self.namespace = namespace
        self.tail = AuditTail(bed.audit_log)

    def until(self, done: Callable[[Counter[str]], bool]) -> Counter[str]:
        """Count the writes until ``done`` holds for them and nothing is written for QUIET_SECONDS."""
        found: Counter[str] = Counter()
        deadline, last = time.monotonic() + PATIENCE, time.monotonic()
        while not done(found) or time.monotonic() - last < QUIET_SECONDS:
            more = count_writes(self.tail.read(user=USER, namespace=self.namespace))
            found += more
            last = time.monotonic() if more else last
            assert time.monotonic() < deadline, f"so far {found}"
            time.sleep(0.1)
        return found


@pytest.fixture
def writes(bed: Bed, namespace: str) -> Writes:
    return Writes(bed, namespace)


def test_first_job_costs_three_writes_and_an_idle_or_restarted_operator_none(
    bed: Bed, namespace: str, start: Callable[[], OperatorProcess], writes: Writes
) -> None:
    make_claim(bed, namespace)
    with start():
        create_experiments(bed.rest, namespace, NUMBER)
        first = writes.until(lambda found: found["create jobs"] >= NUMBER and found[STATUS] >= NUMBER)
        # the Job, the status, and one event for the step that started
        assert first == {STATUS: NUMBER, "create jobs": NUMBER, "create events": NUMBER}
        assert writes.until(lambda found: True) == {}
    with start():
        assert writes.until(lambda found: True) == {}


def test_first_job_suspended_for_a_queue_costs_three_writes(
    bed: Bed, namespace: str, start: Callable[[], OperatorProcess], writes: Writes
) -> None:
    make_claim(bed, namespace)
    with start():
        create_experiments(bed.rest, namespace, DRIVEN, queue="team")
        found = writes.until(lambda found: found["create jobs"] >= DRIVEN and found[STATUS] >= DRIVEN)
    assert found == {STATUS: DRIVEN, "create jobs": DRIVEN, "create events": DRIVEN}


def test_writes_of_nine_steps(
    bed: Bed, namespace: str, start: Callable[[], OperatorProcess], writes: Writes, kubelet: PlayedKubelet
) -> None:
    make_claim(bed, namespace)
    steps = len(STEPS)
    with start():
        create_experiments(bed.rest, namespace, DRIVEN)
        reports = sum("evaluate" in step for step in STEPS)
        # each step started and succeeded, each evaluation wrote a report, then the experiment succeeded
        events = DRIVEN * (2 * steps + reports + 1)
        found = writes.until(lambda found: found["create events"] >= events)
    assert found["create jobs"] == DRIVEN * steps
    assert found["create events"] == events
    # One write for the start of each step together with the end of the previous one, and one for the last end. A step
    # that is observed running costs one more.
    assert DRIVEN * (steps + 1) <= found[STATUS] <= DRIVEN * (2 * steps + 1)
    assert set(found) == {STATUS, "create jobs", "create events"}


def test_first_attempt_of_a_gang_costs_four_writes(
    bed: Bed, namespace: str, start: Callable[[], OperatorProcess], writes: Writes
) -> None:
    make_claim(bed, namespace, "ReadWriteMany")
    data = {
        "trainingFilePattern": "/data/train*",
        "validationFilePattern": "/data/val*",
        "valJsonFile": "/data/val.json",
    }
    gang = experiment("gang", [{"name": "train", "train": {}, "nodes": 2, "gpusPerNode": 8}])
    gang["spec"]["experiment"]["dataConfig"] |= data
    with start():
        bed.api("POST", EXPERIMENTS.format(namespace), gang)
        found = writes.until(lambda found: found["create jobs"] >= 1 and found[STATUS] >= 1)
    assert found == {STATUS: 1, "create services": 1, "create jobs": 1, "create events": 1}


def test_unneeded_write_is_counted(bed: Bed, namespace: str, account: Path, writes: Writes) -> None:
    bed.kubectl("--kubeconfig", str(account), "-n", namespace, "create", "job", "more", "--image=trainer:test")
    assert writes.until(bool) == {"create jobs": 1}
