"""Run the operator for minutes on a real API server under injected faults, and check its invariants.

    make soak                                            200 experiments, at most half an hour
    make soak ARGS="--experiments 20 --minutes 3"        a short run

Two replicas are killed and frozen, the API server is restarted, watches are closed, requests get 409, 410, 429, and 5xx
responses, and objects are created that no user should create. Pods are simulated and run no containers. At the end the
recorded history is checked (tests/apiserver/invariants.py); each violation is printed on a line, and the exit code is
1. The seed determines the faults, but not the exact state of the operator when they occur.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.apiserver import invariants
from tests.apiserver.account import HOME, LEASE, USER, make_account
from tests.apiserver.audit import calls
from tests.apiserver.bed import Bed
from tests.apiserver.binaries import find_binaries
from tests.apiserver.history import ExperimentFact, JobFact, PodFact
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.runtime.proxy import Proxy
from tests.apiserver.scale import count_writes
from tests.apiserver.soak.faults import plan_faults
from tests.apiserver.soak.load import SHARED_CLAIM, SINGLE_CLAIM, Script, plan_load
from tests.apiserver.soak.observer import Observer
from tests.apiserver.soak.replicas import Replica, UnaskedEnd
from tests.apiserver.soak.run import Soak

REPLICAS = ("a", "b")
NAMESPACES = 4
LOGS = ROOT / ".bench" / "soak"
SHORTEST_JUDGED_SECONDS = 600.0
"""Minimum length of a run for the check of memory: memory still grows during the first minutes."""
SETTLE_SECONDS = 3.0
EXIT_VIOLATED, EXIT_INTERRUPTED = 1, 130


def main() -> int:
    """Run the test and print a table; return 0, 1 for violations, or 130 for an interrupted run without violations."""
    arguments = parse()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    logging.basicConfig(filename=LOGS / "soak.log", level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    say(f"seed {seed}; logs in {LOGS}")
    violations, interrupted = run(arguments, seed)
    for violation in violations:
        sys.stdout.write(f"VIOLATION {violation}\n")
    say(f"seed {seed}: {len(violations)} violations{', interrupted' if interrupted else ''}")
    return EXIT_VIOLATED if violations else EXIT_INTERRUPTED if interrupted else 0


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=200, metavar="N", help="number of experiments (default 200)")
    parser.add_argument("--minutes", type=float, default=24.0, metavar="M", help="length of the run (default 24)")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of all random choices (default: a new one)")
    parser.add_argument("--without-hostile", action="store_true", help="create no hostile objects")
    parser.add_argument("--without-faults", action="store_true", help="inject no faults")
    return parser.parse_args()


def run(arguments: argparse.Namespace, seed: int) -> tuple[list[str], bool]:
    """Return all violations, and whether the run was interrupted."""
    rng, seconds = random.Random(seed), arguments.minutes * 60  # noqa: S311 - not used for secrets
    with contextlib.ExitStack() as stack:
        bed = stack.enter_context(Bed(find_binaries()))
        install(bed)
        namespaces = [make_namespace(bed) for _ in range(NAMESPACES)]
        load = plan_load(rng, arguments.experiments, namespaces, seconds, hostile=not arguments.without_hostile)
        script = Script(load)
        observer = stack.enter_context(Observer(bed.rest))
        for namespace in namespaces:
            stack.enter_context(PlayedKubelet(bed.rest, namespace, script=script))
        account = make_account(bed)
        proxies, replicas = [], []
        for name in REPLICAS:
            folder = bed.folder / f"proxy-{name}"
            folder.mkdir()
            proxies.append(stack.enter_context(Proxy(bed, folder, account)))
            replicas.append(Replica(name, proxies[-1].kubeconfig, LOGS / f"operator-{name}.log"))
        faults = [] if arguments.without_faults else plan_faults(rng, len(REPLICAS), seconds)
        hostile_in = None if arguments.without_hostile else bed.create_namespace("hostile")
        soak = Soak(
            bed,
            replicas,
            proxies,
            observer,
            load=load,
            planned_faults=faults,
            seconds=seconds,
            hostile_in=hostile_in,
            rng=rng,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(soak, "stop", True))
        for replica in replicas:
            replica.start()
        took = soak.run()
        soak.calm()
        violations = [*unasked_ends(soak.unasked), *stop(replicas)]
        time.sleep(SETTLE_SECONDS)
        violations += check(bed, soak, observer, took)
        for row in table(bed, soak, observer, took):
            sys.stdout.write("| " + " | ".join(row) + " |\n")
        return violations, soak.stop


def install(bed: Bed) -> None:
    """Install the CustomResourceDefinition."""
    crd = str(ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml")
    bed.kubectl("apply", "-f", crd)
    bed.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crd)


def make_namespace(bed: Bed) -> str:
    """Create a tenant's namespace, with a claim that several nodes can mount and one for a single node."""
    namespace = bed.create_namespace("soak")
    for name, mode in ((SHARED_CLAIM, "ReadWriteMany"), (SINGLE_CLAIM, "ReadWriteOnce")):
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        bed.api("POST", path, {"metadata": {"name": name}, "spec": spec})
    return namespace


def stop(replicas: list[Replica]) -> list[str]:
    """End the replicas by SIGTERM; return a line for each that doesn't exit with 0."""
    names = {replica.name for replica in replicas if replica.answers_sigterm}
    codes = [(replica.name, replica.stop()) for replica in replicas]
    return [f"replica {name} ended with {code} after SIGTERM" for name, code in codes if name in names and code != 0]


def unasked_ends(ends: list[UnaskedEnd]) -> list[str]:
    """Return a line for each kind of unexpected end of a process."""
    found = []
    for how, times in Counter(end.how for end in ends).items():
        first = next(end for end in ends if end.how == how)
        found.append(
            f"an operator ended unexpectedly {times} times, first {first.process} with {first.code}: {first.log}"
        )
    return found


def check(bed: Bed, soak: Soak, observer: Observer, took: float) -> list[str]:
    """Return the violations of invariants in the history."""
    history = list(observer.history)
    created = [
        f"{call.namespace}/{call.name}"
        for call in calls(bed.audit_log, user=USER)
        if (call.verb, call.resource, call.subresource, call.code) == ("create", "jobs", "", 201)
    ]
    found = [
        *invariants.attempts_side_by_side(history),
        *invariants.attempts_started_twice(created),
        *invariants.steps_that_start_again(history),
        *invariants.successes_recorded_twice(history),
        *invariants.successes_without_a_run(history),
        *invariants.succeeded_fingerprints_run_again(history),
    ]
    if not soak.stop:
        found += invariants.unexpected_ends(history, soak.expected)
    if took >= SHORTEST_JUDGED_SECONDS:
        found += invariants.growing_memory(soak.memory, took)
    if found:
        lines = (f"{fact}\n" for fact in invariants.in_order(history))
        (LOGS / "history.txt").write_text("".join(lines))
    return found


def table(bed: Bed, soak: Soak, observer: Observer, took: float) -> list[tuple[str, str]]:
    """Return the rows of the table of events and writes."""
    history, counts = list(observer.history), soak.counts
    ends = invariants.ends_of(history)
    ended = Counter(ends[name][0].value for name in soak.created if name in ends)
    jobs = {fact.uid for fact in history if isinstance(fact, JobFact)}
    pods = {fact.uid for fact in history if isinstance(fact, PodFact)}
    states = sum(isinstance(fact, ExperimentFact) for fact in history)
    lease = bed.api("GET", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/{LEASE}")
    writes = count_writes(calls(bed.audit_log, user=USER))
    judged = "" if took >= SHORTEST_JUDGED_SECONDS else " (not checked: the run was too short)"
    return [
        ("what", "number"),
        ("---", "---"),
        ("seconds", f"{took:.0f}"),
        ("experiments by their end", listed(ended)),
        ("edits, suspensions, and deletions by users", str(counts.acts)),
        ("Jobs, pods", f"{len(jobs)}, {len(pods)}"),
        ("observed states of experiments", str(states)),
        ("writes by the operator", listed(writes)),
        ("progress writes", str(counts.progress_writes)),
        *((fault.value, str(times)) for fault, times in sorted(counts.faults.items())),
        ("faulty responses by status (0: connection closed)", listed(counts.answers)),
        ("changes of the Lease's holder", str(lease["spec"].get("leaseTransitions", 0))),
        ("hostile objects", listed(counts.hostile) or "0"),
        *(
            (f"memory of {name} in MiB: first, last, largest{judged}", sizes)
            for name, sizes in memory_by_process(soak.memory).items()
        ),
    ]


def memory_by_process(samples: list[invariants.MemorySample]) -> dict[str, str]:
    """Return the first, last, and largest memory of each replica's longest-running process."""
    lives: dict[str, list[invariants.MemorySample]] = {}
    for sample in samples:
        lives.setdefault(sample.process, []).append(sample)
    found: dict[str, str] = {}
    for name in REPLICAS:
        own = max((life for key, life in lives.items() if key.startswith(f"{name}/")), key=len, default=[])
        if own:
            sizes = (own[0].resident, own[-1].resident, max(sample.resident for sample in own))
            found[own[0].process] = ", ".join(f"{size / 2**20:.0f}" for size in sizes)
    return found


def listed(counts: Counter[str] | Counter[int]) -> str:
    """Return the counts on one line."""
    return ", ".join(f"{times} {name}" for name, times in sorted(counts.items(), key=lambda item: str(item[0])))


def say(message: str) -> None:
    """Print a message to standard error; standard output has the table and the violations."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
