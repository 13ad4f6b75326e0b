"""Random histories of Jobs and pods: the operator rests, never runs a step twice, loses no result, and says why."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState

from .cluster import STAGES, VARIANTS, Cluster
from .conftest import UID

Action = tuple[str, int, int]


def _action(name: str, *values: int) -> st.SearchStrategy[Action]:
    return st.tuples(st.just(name), st.integers(0, 8), st.sampled_from(values or (0,)))


COMMON = (
    _action("succeed", 0, 0, 0, 1),
    _action("fail", 1, 64, 70, 75, 137, 143),
    _action("wait", 16, 16, 61, 301, 11000),
    _action("vanish"),
    _action("suspend", 0, 1),
    _action("haunt", 0, 5),
    _action("delete_job"),
    _action("lag", 0, 1),
)
ACTIONS = st.one_of(
    *COMMON,
    *COMMON,
    _action("control"),
    _action("control"),
    _action("run"),
    _action("disrupt"),
    _action("lose_node"),
    _action("return_nodes"),
    _action("end_terminating"),
    _action("suspend_job", 0, 1),
    _action("take_name", 0, 1),
    _action("edit", *range(len(VARIANTS))),
    _action("wait", 1),
    _action("lose_status"),
    _action("report", *range(1, 1000, 100)),
)

STAGES_DONE = st.integers(0, len(STAGES) - 1)

WAITS = frozenset(
    {
        Reason.PENDING,
        Reason.SUSPENDED,
        Reason.WAITING_FOR_STEPS,
        Reason.WAITING_FOR_PODS,
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_CHANGED,
        Reason.BACK_OFF,
        Reason.DISRUPTED,
        Reason.RUN_LOST,
        Reason.RESULT_UNREADABLE,
        Reason.NODE_LOST,
        Reason.NAME_TAKEN,
        Reason.STOPPED,
        Reason.SPEC_CHANGED,
        Reason.RESUMED,
    }
)


def alive(cluster: Cluster, step: str) -> set[int]:
    return {pod.attempt for pod in cluster.seen_pods if pod.step == step and cluster.alive(pod)}


def check(cluster: Cluster) -> None:
    """What holds whenever the operator rests."""
    status, wanted = cluster.experiment.status, cluster.wanted
    for step in status.steps:
        ours = [job for job in cluster.jobs.values() if job.step == step.name]
        pods = [
            pod
            for pod in cluster.seen_pods
            if (pod.step, pod.attempt, pod.experiment_uid) == (step.name, step.attempt, UID)
        ]
        if step.state in LIVE_STATES and not all(pod.terminal for pod in pods):
            assert any(map(cluster.alive, pods)), "an attempt goes on that is lost"
        assert step.attempt >= max((job.attempt for job in ours), default=0)
        if step.state is StepState.SUCCEEDED and not wanted.problems:
            assert wanted.recognises(step.name, step.fingerprint)
        if step.state is StepState.PENDING and not wanted.problems:
            assert step.reason in WAITS, step.reason
    if status.is_true("Suspended"):
        assert not any(alive(cluster, step.name) for step in status.steps)
    live = any(step.state in LIVE_STATES for step in status.steps)
    ready = status.condition("Ready")
    assert ready is not None
    settled = status.is_true("Succeeded") or status.is_true("Stalled") or status.is_true("Suspended")
    if not live and not settled:
        # it waits for time, for pods or for a name, and says so
        named = [
            step
            for step in status.steps
            if step.next_attempt_time or step.reason in (Reason.WAITING_FOR_PODS, Reason.UPSTREAM_CHANGED)
        ]
        assert named or ready.reason == Reason.STOPPING
        assert ready.message != "Steps are about to start"


def results(cluster: Cluster) -> dict[str, str]:
    """Fingerprints of steps whose newest attempt has succeeded as far as Jobs and pods tell."""
    found = {}
    for pod in cluster.pods.values():
        step = cluster.experiment.status.step(pod.step)
        if step is None or step.state not in LIVE_STATES or pod.attempt != step.attempt or pod.experiment_uid != UID:
            continue
        if pod.index == 0 and pod.phase == "Succeeded" and pod.termination_message:
            job = cluster.jobs.get(pod.job_uid)
            others = [other for other in cluster.pods.values() if other.job_uid == pod.job_uid]
            over = job is None or job.deletion_timestamp is not None or job.condition("Complete") is not None
            if over and not any(map(cluster.alive, others)):
                found[pod.step] = pod.fingerprint
    return found


def play(cluster: Cluster, actions: Sequence[Action]) -> None:
    cluster.settle()
    won: dict[str, str] = {}
    for action in actions:
        before = {step.name: step for step in cluster.experiment.status.steps}
        cluster.act(*action)
        if action[0] in ("delete_job", "vanish", "control", "end_terminating"):
            # what is removed while watches are late may never be seen
            won = {}
        won |= results(cluster)
        cluster.settle()
        check(cluster)
        for name, fingerprint in won.items() if cluster.late is None else ():
            if not cluster.wanted.problems and cluster.wanted.recognises(name, fingerprint):
                step = cluster.experiment.status.step(name)
                assert step is not None
                assert step.state is StepState.SUCCEEDED, "a result was lost"
        won = {} if cluster.late is None else won
        if action[0] != "edit":
            for step in cluster.experiment.status.steps:
                if before[step.name].state is StepState.SUCCEEDED:
                    assert step.state is StepState.SUCCEEDED, "a result was forgotten"


@settings(max_examples=250, deadline=None)
@given(STAGES_DONE, st.lists(ACTIONS, min_size=5, max_size=40))
def test_whatever_happens(stages: int, actions: list[Action]) -> None:
    play(Cluster(stages), actions)


@settings(max_examples=150, deadline=None)
@given(STAGES_DONE, st.lists(ACTIONS, min_size=5, max_size=40))
def test_whatever_happens_to_a_cluster_that_works(stages: int, actions: list[Action]) -> None:
    """The Job controller does its part after everything that happens, and pods run; what terminates takes its time."""
    cluster = Cluster(stages)
    for action in actions:
        play(cluster, [action, ("control", 0, 0), ("run", 0, 0), ("control", 0, 0)])


@settings(max_examples=60, deadline=None)
@given(STAGES_DONE, st.lists(ACTIONS, max_size=20))
def test_every_history_can_still_end_well(stages: int, actions: list[Action]) -> None:
    cluster = Cluster(stages)
    play(cluster, actions)
    # nodes come back, the user puts right what is wrong, suspends and resumes; then every attempt succeeds
    for action in (("return_nodes", 0, 0), ("lag", 0, 0), ("take_name", 0, 0), ("edit", 0, 0), ("suspend", 0, 1)):
        play(cluster, [action])
    for _ in range(3):
        play(cluster, [("control", 0, 0), ("end_terminating", 0, 0), ("control", 0, 0), ("wait", 0, 301)])
    assert cluster.experiment.status.is_true("Suspended")
    play(cluster, [("suspend", 0, 0)])
    for _ in range(40):
        succeed: list[Action] = [("succeed", index, 0) for index in range(9)]
        play(cluster, [("control", 0, 0), ("run", 0, 0), *succeed, ("control", 0, 0), ("wait", 0, 301)])
        if cluster.experiment.status.is_true("Succeeded"):
            break
    assert cluster.experiment.status.is_true("Succeeded")
