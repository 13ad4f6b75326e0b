"""Invariant checks of a soak: each finds its violation, and none finds anything in a correct history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from tests.apiserver import invariants
from tests.apiserver.history import ExperimentFact, Fact, JobFact, Kind, PodFact, StepFact, read_fact
from tests.apiserver.invariants import End, MemorySample

MIB = 2**20
HISTORY_CHECKS = [
    invariants.attempts_side_by_side,
    invariants.steps_that_start_again,
    invariants.successes_recorded_twice,
    invariants.successes_without_a_run,
    invariants.succeeded_fingerprints_run_again,
]


class History:
    """Builder of a history with increasing versions."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self._versions = count(1)

    def job(self, attempt: int, fingerprint: str = "f", *, live: bool = True, kept: bool = True) -> None:
        self.facts.append(
            JobFact(
                next(self._versions), f"job-{attempt}", f"ns/train-{attempt}", "ns/e", "u", "train", attempt,
                fingerprint, live, kept,
            )
        )  # fmt: skip

    def pod(self, attempt: int, *, live: bool = True, result_of: str = "") -> None:
        version = next(self._versions)
        self.facts.append(PodFact(version, f"pod-{attempt}", f"ns/p-{attempt}", f"job-{attempt}", live, result_of))

    def status(self, state: str, attempt: int, fingerprint: str = "f", **conditions: str) -> None:
        step = StepFact("train", state, attempt, fingerprint)
        self.facts.append(ExperimentFact(next(self._versions), "u", "ns/e", (step,), conditions, state))

    def attempt(self, number: int, fingerprint: str = "f", *, result_of: str = "") -> None:
        """Record an attempt from its Job to its end; it has succeeded if it has a result."""
        self.job(number, fingerprint)
        self.pod(number)
        self.status("Running", number, fingerprint)
        self.pod(number, live=False, result_of=result_of)
        self.job(number, fingerprint, live=False)


@pytest.fixture
def history() -> History:
    return History()


def good(history: History) -> None:
    """Record a failure, a success, an edit, and another success."""
    history.attempt(1)
    history.attempt(2, result_of="f")
    history.status("Succeeded", 2)
    history.status("Pending", 2, "")
    history.attempt(3, "g", result_of="g")
    history.status("Succeeded", 3, "g", Succeeded="True")


def test_no_check_finds_anything_in_a_good_history(history: History) -> None:
    good(history)
    assert [found for check in HISTORY_CHECKS for found in check(history.facts)] == []


def test_order_of_the_streams_does_not_matter(history: History) -> None:
    good(history)
    assert [found for check in HISTORY_CHECKS for found in check(list(reversed(history.facts)))] == []


def test_attempt_started_while_the_job_before_has_not_ended_is_found(history: History) -> None:
    history.job(1)
    history.job(2)
    assert invariants.attempts_side_by_side(history.facts) == ["ns/e, step train: attempts 1 and 2 live at version 2"]


def test_attempt_started_while_a_pod_of_a_deleted_job_still_runs_is_found(history: History) -> None:
    history.job(1)
    history.pod(1)
    history.job(1, live=False, kept=False)
    history.job(2)
    history.pod(2)
    assert invariants.attempts_side_by_side(history.facts) == ["ns/e, step train: attempts 1 and 2 live at version 4"]


def test_attempt_started_after_the_pods_before_have_ended_is_not_found(history: History) -> None:
    history.job(1)
    history.pod(1)
    history.job(1, live=False, kept=False)
    history.pod(1, live=False)
    history.job(2)
    assert invariants.attempts_side_by_side(history.facts) == []


def test_running_step_that_starts_again_without_a_new_pod_is_found(history: History) -> None:
    history.attempt(1)
    history.status("Starting", 1)
    assert invariants.steps_that_start_again(history.facts) == [
        "ns/e, step train: attempt 1 from Running to Starting without a new pod, version 6"
    ]


def test_running_step_whose_job_was_started_again_is_not_found(history: History) -> None:
    history.attempt(1)
    version = len(history.facts) + 1
    history.status("Queued", 1)
    history.status("Running", 1)
    history.facts.append(PodFact(version + 2, "replacement", "ns/p-1b", "job-1", True))
    next(history._versions)
    history.status("Starting", 1)
    assert invariants.steps_that_start_again(history.facts) == []


def test_attempts_of_two_experiments_may_live_side_by_side(history: History) -> None:
    history.job(1)
    history.facts.append(JobFact(2, "other", "ns/o", "ns/o", "another uid", "train", 2, "f", True))
    assert invariants.attempts_side_by_side(history.facts) == []


def test_success_recorded_again_is_found(history: History) -> None:
    history.status("Succeeded", 1)
    history.status("Pending", 1, "g")
    history.status("Succeeded", 2)
    assert invariants.successes_recorded_twice(history.facts) == [
        "ns/e, step train: success of f recorded twice, version 3"
    ]


def test_success_that_is_no_longer_recorded_is_found(history: History) -> None:
    history.status("Succeeded", 1)
    history.status("Running", 1)
    assert invariants.successes_recorded_twice(history.facts) == [
        "ns/e, step train: from Succeeded to Running with the same fingerprint, version 2"
    ]


def test_success_written_again_unchanged_counts_once(history: History) -> None:
    history.status("Succeeded", 1)
    history.status("Succeeded", 1)
    assert invariants.successes_recorded_twice(history.facts) == []


@pytest.mark.parametrize("result_of", ["", "another"])
def test_success_that_no_pod_has_reported_is_found(history: History, result_of: str) -> None:
    history.attempt(1, result_of=result_of)
    history.status("Succeeded", 1)
    assert invariants.successes_without_a_run(history.facts) == [
        "ns/e, step train: attempt 1 has succeeded with f, but no pod has reported it"
    ]


def test_success_recorded_before_its_pod_has_ended_is_found(history: History) -> None:
    history.job(1)
    history.status("Succeeded", 1)
    history.pod(1, live=False, result_of="f")
    assert len(invariants.successes_without_a_run(history.facts)) == 1


def test_job_for_a_recorded_success_is_found(history: History) -> None:
    history.status("Succeeded", 1)
    history.job(2)
    assert invariants.succeeded_fingerprints_run_again(history.facts) == [
        "ns/e, step train: attempt 2 reruns f, which has succeeded, version 2"
    ]


def test_job_for_a_success_in_an_existing_job_is_found(history: History) -> None:
    history.attempt(1, result_of="f")
    history.job(2)
    assert len(invariants.succeeded_fingerprints_run_again(history.facts)) == 1


def test_job_for_a_success_lost_with_its_job_is_not_found(history: History) -> None:
    history.attempt(1, result_of="f")
    history.job(1, live=False, kept=False)
    history.job(2)
    assert invariants.succeeded_fingerprints_run_again(history.facts) == []


def test_number_of_an_attempt_used_twice_is_found() -> None:
    assert invariants.attempts_started_twice(["ns/a", "ns/b", "ns/a"]) == ["Job ns/a: created 2 times"]


@pytest.mark.parametrize(
    ("conditions", "gone", "end"),
    [
        ({"Succeeded": "True"}, False, End.SUCCEEDED),
        ({"Succeeded": "True"}, True, End.SUCCEEDED),
        ({"Succeeded": "False", "Stalled": "True"}, False, End.FAILED),
        ({"Succeeded": "Unknown", "Stalled": "True"}, False, End.INVALID),
        ({"Succeeded": "Unknown", "Suspended": "True"}, False, End.SUSPENDED),
        ({"Succeeded": "Unknown"}, True, End.DELETED),
        ({"Succeeded": "Unknown", "Reconciling": "True"}, False, End.UNDERWAY),
    ],
)
def test_end_that_was_not_expected_is_found(conditions: dict[str, str], gone: bool, end: End) -> None:
    facts: Sequence[Fact] = [ExperimentFact(1, "u", "ns/e", conditions=conditions, reason="Why", gone=gone)]
    assert invariants.unexpected_ends(facts, {"ns/e": end}) == []
    other = End.FAILED if end is End.SUCCEEDED else End.SUCCEEDED
    assert invariants.unexpected_ends(facts, {"ns/e": other}) == [
        f"ns/e: expected {other.value}, found {end.value} (Why)"
    ]


def test_experiment_whose_last_edit_was_not_observed_has_not_ended() -> None:
    fact = ExperimentFact(
        1, "u", "ns/e", conditions={"Succeeded": "True"}, reason="Succeeded", generation=3, observed=2
    )
    assert invariants.unexpected_ends([fact], {"ns/e": End.SUCCEEDED}) == [
        "ns/e: expected Succeeded, found underway (Succeeded, generation 3, of which 2 was observed)"
    ]


def test_experiment_that_was_never_seen_is_found() -> None:
    assert invariants.unexpected_ends([], {"ns/e": End.SUCCEEDED}) == [
        "ns/e: expected Succeeded, found underway (never seen)"
    ]


def process(name: str, start: int, end: int, *, size: float = 100.0, growth: float = 0.0) -> list[MemorySample]:
    """Return samples of a process every ten seconds; its memory grows by ``growth`` MiB per hour."""
    return [
        MemorySample(name, at, at - start, int((size + growth * (at - start) / 3600) * MIB))
        for at in range(start, end, 10)
    ]


def test_leak_of_a_long_lived_process_is_found() -> None:
    found = invariants.growing_memory(process("a/1", 0, 1800, growth=60), 1800)
    assert found[0].startswith("memory of a/1 grows by 1")
    assert invariants.growing_memory(process("a/1", 0, 1800, growth=25), 1800) == []


def test_leak_is_found_though_the_other_replica_is_restarted() -> None:
    short = [sample for start in range(0, 1800, 120) for sample in process(f"b/{start}", start, start + 120)]
    assert len(invariants.growing_memory([*short, *process("a/1", 0, 1800, size=90, growth=80)], 1800)) == 2


def test_processes_that_each_start_larger_are_found() -> None:
    lives = [process(f"b/{start}", start, start + 150, size=100 + start / 60) for start in range(0, 1800, 150)]
    found = invariants.growing_memory([sample for life in lives for sample in life], 1800)
    assert [line.partition(" grows")[0] for line in found] == ["memory of all processes"]


def test_growth_within_the_first_third_and_while_warming_up_does_not_count() -> None:
    early = [*process("a/1", 0, 600, size=50, growth=300), *process("a/1", 600, 1800)]
    starting = [MemorySample("b/1", at, at - 1700, at * MIB) for at in range(1700, 1760, 10)]
    assert invariants.growing_memory([*early, *starting], 1800) == []


def test_single_peak_does_not_count_as_growth() -> None:
    samples = process("a/1", 0, 1800)
    samples[100] = MemorySample("a/1", samples[100].at, samples[100].age, 130 * MIB)
    assert invariants.growing_memory(samples, 1800) == []


def test_facts_are_read_from_objects_of_the_api_server() -> None:
    owner = {"kind": "MaskRCNNExperiment", "name": "e", "uid": "u", "controller": True}
    labels = {"maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "3"}
    metadata = {
        "namespace": "ns", "name": "j", "uid": "job", "resourceVersion": "7", "labels": labels,
        "annotations": {"maskrcnn.dev/fingerprint": "f"}, "ownerReferences": [owner],
    }  # fmt: skip
    assert read_fact(Kind.JOB, {"metadata": metadata}) == JobFact(7, "job", "ns/j", "ns/e", "u", "train", 3, "f", True)
    ended = {"conditions": [{"type": "FailureTarget", "status": "True"}]}
    job = read_fact(Kind.JOB, {"metadata": metadata, "status": ended})
    assert isinstance(job, JobFact)
    assert (job.live, job.kept) == (False, True)
    assert read_fact(Kind.JOB, {"metadata": {**metadata, "ownerReferences": []}}) is None


def test_pod_has_a_result_only_if_it_succeeded_with_a_valid_message() -> None:
    def pod(phase: str, message: str, code: int = 0) -> Any:
        owner = {"kind": "Job", "name": "j", "uid": "job", "controller": True}
        metadata = {"namespace": "ns", "name": "p", "uid": "p", "resourceVersion": "8", "ownerReferences": [owner]}
        state = {"terminated": {"exitCode": code, "message": message}}
        return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}

    said = json.dumps({"code": 0, "fingerprint": "f"})
    assert read_fact(Kind.POD, pod("Succeeded", said)) == PodFact(8, "p", "ns/p", "job", False, "f")
    assert read_fact(Kind.POD, pod("Failed", said, 1)) == PodFact(8, "p", "ns/p", "job", False, "")
    # a sidecar still runs
    assert read_fact(Kind.POD, pod("Running", said)) == PodFact(8, "p", "ns/p", "job", True, "f")
    assert read_fact(Kind.POD, pod("Succeeded", "[" * 2000)) == PodFact(8, "p", "ns/p", "job", False, "")
    assert read_fact(Kind.POD, pod("Running", "")) == PodFact(8, "p", "ns/p", "job", True, "")
    assert read_fact(Kind.POD, pod("Running", ""), gone=True) == PodFact(8, "p", "ns/p", "job", False, "")
