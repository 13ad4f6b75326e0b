"""Random histories of Jobs and pods: the operator comes to rest, never runs a step twice, and loses no result."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState
from maskrcnn_operator.jobs.views import JobView, PodView

from .cluster import STAGES, VARIANTS, Cluster
from .conftest import UID

Action = tuple[str, int, int]


# what happens, how often out of about a hundred times, and with which values
HAPPENINGS: dict[str, tuple[int, tuple[int, ...]]] = {
    "control": (10, (0,)),
    "run": (3, (0,)),
    "succeed": (12, (0, 0, 0, 1)),
    "fail": (8, (1, 64, 70, 75, 137, 143)),
    "wait": (14, (1, 16, 16, 16, 61, 301, 11000)),
    "disrupt": (4, (0,)),
    "inject": (4, (0,)),
    "age": (3, (0,)),
    "lose_node": (4, (0,)),
    "return_nodes": (2, (0,)),
    "end_terminating": (5, (0,)),
    "delete_job": (7, (0,)),
    "vanish": (7, (0,)),
    "suspend_job": (4, (0, 1)),
    "haunt": (8, (0, 5)),
    "take_name": (2, (0, 1)),
    "suspend": (6, (0, 1)),
    "edit": (3, tuple(range(len(VARIANTS)))),
    "lose_status": (4, (0,)),
    "report": (3, tuple(range(1, 1000, 100))),
    "lag": (6, (0, 1)),
}
NAMES = [name for name, (weight, _) in HAPPENINGS.items() for _ in range(weight)]
ACTIONS = st.tuples(st.sampled_from(NAMES), st.integers(0, 8), st.integers(0, 9)).map(
    lambda drawn: (drawn[0], drawn[1], HAPPENINGS[drawn[0]][1][drawn[2] % len(HAPPENINGS[drawn[0]][1])])
)
HISTORIES = st.lists(ACTIONS, min_size=20, max_size=40)

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
    """Check the invariants that hold whenever the operator is at rest."""
    status, desired = cluster.experiment.status, cluster.desired
    for step in status.steps:
        ours = [job for job in cluster.jobs.values() if job.step == step.name]
        pods = [
            pod
            for pod in cluster.seen_pods
            if (pod.step, pod.attempt, pod.experiment_uid) == (step.name, step.attempt, UID)
        ]
        if step.state in LIVE_STATES and not all(pod.terminal for pod in pods):
            assert any(map(cluster.alive, pods)), "a lost attempt continues"
        assert step.attempt >= max((job.attempt for job in ours), default=0)
        assert cluster.late is not None or not any(outlived_by_sidecars(cluster, job) for job in ours)
        if step.state is StepState.RUNNING:
            assert step.run_start_time is not None
        waits = step.state in (StepState.QUEUED, StepState.STARTING) and step.run_start_time is None
        if waits and not desired.problems:
            newest = [job for job in ours if job.attempt == step.attempt and job.experiment_uid == UID]
            assert all(job.template == desired.templates[step.name] for job in newest), "it waits with an old template"
        if step.state is StepState.SUCCEEDED and not desired.problems:
            assert desired.recognizes(step.name, step.fingerprint)
        if step.state is StepState.PENDING and not desired.problems:
            assert step.reason in WAITS, step.reason
    if status.is_true("Suspended"):
        assert not any(alive(cluster, step.name) for step in status.steps)
    live = any(step.state in LIVE_STATES for step in status.steps)
    ready = status.condition("Ready")
    assert ready is not None
    settled = status.is_true("Succeeded") or status.is_true("Stalled") or status.is_true("Suspended")
    if not live and not settled:
        # it waits for a time, for pods, or for a name, and the message must name it
        named = [
            step
            for step in status.steps
            if step.next_attempt_time or step.reason in (Reason.WAITING_FOR_PODS, Reason.UPSTREAM_CHANGED)
        ]
        assert named or ready.reason == Reason.STOPPING
        assert ready.message != "Steps are about to start"


def results(cluster: Cluster) -> dict[str, PodView]:
    """Return the steps whose newest attempt has succeeded according to Jobs and pods, with the pod that reported it."""
    found = {}
    for pod in cluster.pods.values():
        step = cluster.experiment.status.step(pod.step)
        if step is None or step.state not in LIVE_STATES or pod.attempt != step.attempt or pod.experiment_uid != UID:
            continue
        if pod.index == 0 and pod.succeeded and pod.termination_message:
            job = cluster.jobs.get(pod.job_uid)
            others = [other for other in cluster.pods.values() if other.job_uid == pod.job_uid]
            over = job is None or job.deletion_timestamp is not None or job.condition("Complete") is not None
            if (over and not any(cluster.alive(other) and not other.ended for other in others)) or (
                job is not None and outlived_by_sidecars(cluster, job)
            ):
                found[pod.step] = pod
    return found


def outlived_by_sidecars(cluster: Cluster, job: JobView) -> bool:
    """Return whether a Job and its pods won't end by themselves, although all trainers have ended."""
    if job.suspended or job.deletion_timestamp is not None or job.conditions:
        return False
    pods = cluster.pods_of(job)
    held = any(pod.accompanied and not pod.terminal for pod in pods)
    return held and all(pod.ended for pod in pods) and len({pod.index for pod in pods}) == job.parallelism


def is_of_an_older_pod(cluster: Cluster, message: str) -> bool:
    """Return whether a message is about the end of a pod although a newer pod of the same index has ended."""
    name = re.match(r"(?:\w+: )?pod (\S+) on node", message)
    pods = {pod.name: pod for pod in cluster.seen_pods}
    told = pods.get(name[1]) if name else None
    return told is not None and any(
        (pod.job_uid, pod.index) == (told.job_uid, told.index) and pod.ended and number(pod) > number(told)
        for pod in pods.values()
    )


def number(pod: PodView) -> int:
    """Return the number of a pod, in the order of creation."""
    return int(pod.name.rsplit("-", 1)[1])


def play(cluster: Cluster, actions: Sequence[Action]) -> None:
    cluster.settle()
    won: dict[str, PodView] = {}
    for action in actions:
        before = {step.name: step for step in cluster.experiment.status.steps}
        cluster.act(*action)
        # an object that is removed while watches are late may never be seen
        won = {name: pod for name, pod in won.items() if pod.uid in cluster.pods and pod.job_uid in cluster.jobs}
        won |= results(cluster)
        cluster.settle()
        check(cluster)
        for name, pod in won.items() if cluster.late is None else ():
            if not cluster.desired.problems and cluster.desired.recognizes(name, pod.fingerprint):
                step = cluster.experiment.status.step(name)
                assert step is not None
                assert step.state is StepState.SUCCEEDED, "a result was lost"
        won = {} if cluster.late is None else won
        for step in cluster.experiment.status.steps:
            old = before[step.name]
            if action[0] != "edit" and old.state is StepState.SUCCEEDED:
                assert step.state is StepState.SUCCEEDED, "a result was forgotten"
            if old.state in LIVE_STATES and step.state in (StepState.PENDING, StepState.FAILED):
                assert cluster.late is not None or not is_of_an_older_pod(cluster, step.message), step.message
            if (old.attempt, old.fingerprint) == (step.attempt, step.fingerprint):
                assert old.run_start_time in (None, step.run_start_time)
                assert step.exit_code != 0 or step.state is not StepState.FAILED or step.reason != Reason.ERROR


@settings(max_examples=200)
@given(STAGES_DONE, HISTORIES)
def test_invariants_hold_in_any_history(stages: int, actions: list[Action]) -> None:
    play(Cluster(stages), actions)


@settings(max_examples=120)
@given(STAGES_DONE, HISTORIES)
def test_invariants_hold_if_controllers_work(stages: int, actions: list[Action]) -> None:
    """The Job controller acts after each event, pods run, and terminating pods take their time."""
    cluster = Cluster(stages)
    for action in actions:
        play(cluster, [action, ("control", 0, 0), ("run", 0, 0), ("control", 0, 0)])


@settings(max_examples=60)
@given(STAGES_DONE, st.lists(ACTIONS, max_size=20))
def test_every_history_can_still_succeed(stages: int, actions: list[Action]) -> None:
    cluster = Cluster(stages)
    play(cluster, actions)
    # nodes return, the user fixes problems, suspends and resumes; then every attempt succeeds
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
