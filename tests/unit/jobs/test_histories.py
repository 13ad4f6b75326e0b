"""Random histories of Jobs and pods: the operator rests, never runs a step twice, loses no result, and says why."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState
from maskrcnn_operator.jobs.attempt import is_lost
from maskrcnn_operator.jobs.observe import observe

from .cluster import VARIANTS, Cluster

Action = tuple[str, int, int]


def _action(name: str, *values: int) -> st.SearchStrategy[Action]:
    return st.tuples(st.just(name), st.integers(0, 8), st.sampled_from(values or (0,)))


ACTIONS = st.one_of(
    _action("control"),
    _action("run"),
    _action("succeed", 0, 0, 0, 1),
    _action("fail", 1, 64, 70, 75, 137, 143),
    _action("disrupt"),
    _action("lose_node"),
    _action("return_nodes"),
    _action("end_terminating"),
    _action("delete_job"),
    _action("vanish"),
    _action("suspend_job", 0, 1),
    _action("haunt", 0, 5),
    _action("take_name", 0, 1),
    _action("suspend", 0, 1),
    _action("edit", *range(len(VARIANTS))),
    _action("wait", 1, 16, 61, 301, 11000),
    _action("lose_status"),
    _action("report", *range(1, 1000, 100)),
)
"""In most histories nothing happens by itself: Jobs stay without pods, pods stay as they are."""

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
    return {
        pod.attempt
        for pod in cluster.pods.values()
        if pod.step == step and not pod.terminal and not is_lost(pod, cluster.now)
    }


def check(cluster: Cluster) -> None:
    """What holds whenever the operator rests."""
    status, wanted = cluster.experiment.status, cluster.wanted
    for step in status.steps:
        ours = [job for job in cluster.jobs.values() if job.step == step.name]
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
    seen = observe(cluster.experiment, list(cluster.jobs.values()), list(cluster.pods.values()), cluster.now)
    found = {}
    for run in seen.runs:
        step = cluster.experiment.status.step(run.step)
        newest = step is not None and step.state in LIVE_STATES and run.attempt == step.attempt
        if newest and run.state == "Succeeded" and run.result is not None:
            found[run.step] = run.fingerprint
    return found


def play(cluster: Cluster, actions: Sequence[Action]) -> None:
    cluster.settle()
    for action in actions:
        before = {step.name: step for step in cluster.experiment.status.steps}
        cluster.act(*action)
        won = results(cluster)
        cluster.settle()
        check(cluster)
        for name, fingerprint in won.items():
            if not cluster.wanted.problems and cluster.wanted.recognises(name, fingerprint):
                step = cluster.experiment.status.step(name)
                assert step is not None
                assert step.state is StepState.SUCCEEDED, "a result was lost"
        if action[0] != "edit":
            for step in cluster.experiment.status.steps:
                if before[step.name].state is StepState.SUCCEEDED:
                    assert step.state is StepState.SUCCEEDED, "a result was forgotten"


@settings(max_examples=250, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_whatever_happens(actions: list[Action]) -> None:
    play(Cluster(), actions)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_whatever_happens_to_a_cluster_that_works(actions: list[Action]) -> None:
    """The Job controller and the kubelets do their part after everything that happens."""
    cluster = Cluster()
    cluster.settle()
    for action in actions:
        play(cluster, [action, ("control", 0, 0), ("run", 0, 0), ("end_terminating", 0, 0), ("control", 0, 0)])


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=20))
def test_every_history_can_still_end_well(actions: list[Action]) -> None:
    cluster = Cluster()
    play(cluster, actions)
    # nodes come back, the user puts right what is wrong, suspends and resumes; then every attempt succeeds
    for action in (("return_nodes", 0, 0), ("take_name", 0, 0), ("edit", 0, 0), ("suspend", 0, 1)):
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
