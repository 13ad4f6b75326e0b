"""Write docs/reference/states.md: what kubectl shows of an experiment in each state.

Each state of the page is reached by an experiment of its own, on the tests' control plane, with the operator in this
process and a stub kubelet.

python scripts/experiment_states.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.states_page import EXPLAIN, Capture, page
from tests.apiserver.account import grant_own_objects, make_account
from tests.apiserver.bed import Bed, BedError
from tests.apiserver.binaries import BinariesError, find_binaries, say_on_screen
from tests.apiserver.kubelet import SUCCEEDS, PlayedKubelet
from tests.apiserver.pod_scripts import Play, PodFacts
from tests.apiserver.runtime.experiments import EVALUATE, GANG, TRAIN, Cluster, manifest, ready_reason
from tests.apiserver.runtime.running import IMAGE, RunningOperator, options_for

PAGE = ROOT / "docs" / "reference" / "states.md"
CRD = ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml"
NODE = "node-1"
PODS = 1
"""How many pods the quota allows."""
BACK_OFF = timedelta(seconds=10)
"""Before a second attempt, as by default: long enough to look at an experiment that waits for it."""

RUNS = Play(seconds=None)
PULL = f'Back-off pulling image "{IMAGE}": ErrImagePull: {IMAGE}: not found'
NO_DATA = "/workspace/data/train*.tfrecord: no file matches; convert the data set first, or correct the pattern"


@dataclass(frozen=True)
class State:
    """A state of the page, and how an experiment gets into it.

    Args:
        experiment: its name.
        title, sentence: of its section; what happened.
        reason: what the column STATE shows.
        events: reasons of all its events, in order, once it is in this state.
        plays: of its pods, by attempt; the others succeed.
        steps: of its manifest.
        spec: more fields of its spec.
        quota: whether a ResourceQuota bounds the pods of its namespace.
    """

    experiment: str
    title: str
    sentence: str
    reason: str
    events: tuple[str, ...]
    plays: Mapping[int, Play] = field(default_factory=dict)
    steps: tuple[dict[str, Any], ...] = (TRAIN,)
    spec: Mapping[str, Any] = field(default_factory=dict)
    quota: bool = False


STATES = (
    # first, since it lasts for BACK_OFF alone
    State(
        "backing-off",
        "Waiting for the next attempt",
        "The trainer exited with 1. The step waits before its next attempt, longer after each failure.",
        "Waiting",
        ("StepStarted", "StepRestarting"),
        plays={1: Play(exit_code=1, message="ValueError: the loss is NaN")},
    ),
    State(
        "queued",
        "Queued",
        "`queueName` is set, and Kueue has not admitted the Job, which is suspended until then.",
        "Queued",
        ("StepStarted",),
        spec={"queueName": "team"},
    ),
    State(
        "image-missing",
        "Image missing",
        "The node cannot pull the trainer image. The kubelet tries again by itself.",
        "Starting",
        ("StepStarted", "ImagePullBackOff"),
        plays={1: Play(waiting="ImagePullBackOff", waiting_message=PULL)},
    ),
    State(
        "evicted",
        "Evicted",
        "The pod was evicted and got the condition DisruptionTarget. The next attempt runs, and no restart is counted.",
        "Running",
        ("StepStarted", "StepRestarting", "StepStarted"),
        plays={1: Play(disrupted=True), 2: RUNS},
    ),
    State(
        "restarted",
        "Restarted",
        "The trainer exited with 1, as above, and the wait is over: the second attempt runs.",
        "Running",
        ("StepStarted", "StepRestarting", "StepStarted"),
        plays={1: Play(exit_code=1, message="ValueError: the loss is NaN"), 2: RUNS},
    ),
    State(
        "failed",
        "Failed",
        "The trainer exited with 64: its input is invalid, so that another attempt would fail, too.",
        "Failed",
        ("StepStarted", "StepFailed", "Failed"),
        plays={1: Play(exit_code=64, message=NO_DATA)},
        steps=(TRAIN, EVALUATE),
    ),
    State(
        "done",
        "Done",
        "All steps have succeeded.",
        "Succeeded",
        ("StepStarted", "StepSucceeded", "StepStarted", "StepSucceeded", "ReportWritten", "Succeeded"),
        steps=(TRAIN, EVALUATE),
    ),
    # last, since the events of a Job are read after 15 s
    State(
        "quota",
        "Quota exceeded",
        f"The step needs two pods, and a ResourceQuota allows {PODS} in the namespace.",
        "Starting",
        ("StepStarted", "FailedCreate"),
        plays={1: RUNS},
        steps=(GANG,),
        quota=True,
    ),
)


def main() -> int:
    """Bring an experiment into each state and write the page; the exit code."""
    try:
        with Bed(find_binaries()) as bed:
            bed.kubectl("apply", "-f", str(CRD))
            bed.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRD))
            with experiments(bed, make_account(bed)) as clusters:
                captures = [capture(clusters[state.experiment], state) for state in STATES]
            explained = bed.kubectl(*EXPLAIN.split()[1:]).stdout
    except (BedError, BinariesError) as error:
        say_on_screen(f"no Kubernetes to start: {error}")
        return 1
    PAGE.write_text(page(captures, explained), encoding="utf-8")
    say_on_screen(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


@contextmanager
def experiments(bed: Bed, account: Path, back_off: timedelta = BACK_OFF) -> Iterator[Mapping[str, Cluster]]:
    """Start the operator, the played kubelet, and an experiment of each state; yield where each experiment is, by name.

    Args:
        bed: a control plane that serves the resource.
        account: kubeconfig of the operator.
        back_off: before a second attempt.
    """
    free, bounded = (Cluster(bed, bed.create_namespace(prefix)) for prefix in ("states", "states-quota"))
    grant_own_objects(bed, free.namespace)
    bound_pods(bounded)
    namespaces = (free.namespace, bounded.namespace)
    clusters = {state.experiment: bounded if state.quota else free for state in STATES}
    with ExitStack() as stack:
        for cluster in (free, bounded):
            stack.callback(bed.delete_namespace, cluster.namespace)
            stack.enter_context(PlayedKubelet(bed.rest, cluster.namespace, script=play_of))
            cluster.claim("ReadWriteMany")
        plan = {"back_off_base": back_off}
        operator = RunningOperator(options_for(account, free.namespace, namespaces=namespaces, plan=plan))
        stack.enter_context(operator).wait_leading()
        for state in STATES:
            clusters[state.experiment].apply(manifest(state.experiment, *state.steps, **state.spec))
        yield clusters


def bound_pods(cluster: Cluster) -> None:
    """Bound the pods of a namespace; return when the API server acts by it."""
    quotas = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    cluster.bed.api("POST", quotas, {"metadata": {"name": "pods"}, "spec": {"hard": {"pods": str(PODS)}}})
    cluster.wait_for(lambda: "used" in cluster.bed.api("GET", f"{quotas}/pods").get("status", {}), "the quota")


def play_of(facts: PodFacts) -> Play:
    """Return what a pod of an experiment does."""
    [state] = (state for state in STATES if state.experiment == facts.experiment)
    return replace(state.plays.get(facts.attempt, SUCCEEDS), node=NODE)


def reach(cluster: Cluster, state: State) -> None:
    """Wait until an experiment is in its state and all its events are there."""
    cluster.wait(state.experiment, lambda _: is_in(cluster, state), f"{state.title}, with the events {state.events}")


def is_in(cluster: Cluster, state: State) -> bool:
    """Return whether an experiment is in its state now."""
    reasons = tuple(event["reason"] for event in cluster.events(state.experiment))
    return reasons == state.events and ready_reason(cluster.experiment(state.experiment) or {}) == state.reason


def capture(cluster: Cluster, state: State) -> Capture:
    """Return what kubectl shows of an experiment once it is in its state.

    Raises:
        AssertionError: it has left the state meanwhile.
    """
    reach(cluster, state)
    name, namespace = state.experiment, f"--namespace={cluster.namespace}"
    get = cluster.bed.kubectl("get", "maskrcnnexperiments", name, namespace).stdout
    describe = cluster.bed.kubectl("describe", "maskrcnnexperiment", name, namespace).stdout
    if not is_in(cluster, state):
        raise AssertionError(f"{name} left the state {state.title} before kubectl had shown it: run this again")
    return Capture(state.title, state.sentence, name, get, describe)


if __name__ == "__main__":
    sys.exit(main())
