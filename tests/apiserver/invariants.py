"""Checks that the operator never violated an invariant, on the recorded history of a control plane. No I/O.

Each check returns one line per violation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.apiserver.history import SUCCEEDED, ExperimentFact, Fact, JobFact, PodFact

ALLOWED_GROWTH = 0.10
"""Relative growth of memory that is allowed after the first third of a run."""
PHASES = 6
"""Number of equal periods whose peak memory is compared."""
WARM_UP_SECONDS = 60.0
"""Age up to which a process is ignored: it imports modules and lists objects first."""

_Step = tuple[str, str]
_Result = tuple[str, str, str]


class End(StrEnum):
    """End of an experiment."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID = "Invalid"
    SUSPENDED = "Suspended"
    DELETED = "deleted"
    UNDERWAY = "underway"


@dataclass(frozen=True)
class MemorySample:
    """Resident bytes of one process at one time.

    Attributes:
        process: unique name of the process, also among the predecessors of the same replica.
        at: seconds since the run began.
        age: seconds since the process started.
    """

    process: str
    at: float
    age: float
    resident: int


def attempts_side_by_side(history: Iterable[Fact]) -> list[str]:
    """Find two attempts of one step that each have an unfinished Job or pod."""
    found: list[str] = []
    jobs: dict[str, JobFact] = {}
    live: dict[_Step, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    reported: set[tuple[_Step, tuple[int, ...]]] = set()
    for fact in in_order(history):
        if isinstance(fact, JobFact):
            jobs[fact.uid] = fact
        job = fact if isinstance(fact, JobFact) else jobs.get(fact.job_uid) if isinstance(fact, PodFact) else None
        if job is None:
            continue
        step = (job.experiment_uid, job.step)
        objects = live[step][job.attempt]
        objects.add(fact.uid) if fact_lives(fact) else objects.discard(fact.uid)
        running = tuple(sorted(attempt for attempt, uids in live[step].items() if uids))
        if len(running) > 1 and (step, running) not in reported:
            reported.add((step, running))
            attempts = " and ".join(map(str, running))
            found.append(f"{job.experiment}, step {job.step}: attempts {attempts} live at version {fact.version}")
    return found


def successes_recorded_twice(history: Iterable[Fact]) -> list[str]:
    """Find a step whose success for one fingerprint was recorded twice, or was dropped later."""
    found: list[str] = []
    before: dict[_Step, tuple[str, str]] = {}
    times: Counter[_Result] = Counter()
    for fact in in_order(history):
        if not isinstance(fact, ExperimentFact) or fact.gone:
            continue
        for step in fact.steps:
            key, now = (fact.uid, step.name), (step.state, step.fingerprint)
            old = before.get(key, ("", ""))
            before[key] = now
            if now == old or SUCCEEDED not in (now[0], old[0]):
                continue
            where = f"{fact.name}, step {step.name}"
            if old[0] == SUCCEEDED and step.state != SUCCEEDED and step.fingerprint == old[1]:
                found.append(
                    f"{where}: from Succeeded to {step.state} with the same fingerprint, version {fact.version}"
                )
            if step.state == SUCCEEDED:
                times[fact.uid, step.name, step.fingerprint] += 1
                if times[fact.uid, step.name, step.fingerprint] == 2:
                    found.append(f"{where}: success of {step.fingerprint} recorded twice, version {fact.version}")
    return found


def successes_without_a_run(history: Iterable[Fact]) -> list[str]:
    """Find a success in the status that no pod of that attempt had reported with the same fingerprint."""
    found: list[str] = []
    jobs: dict[str, JobFact] = {}
    reported: set[tuple[str, str, int, str]] = set()
    judged: set[tuple[str, str, int]] = set()
    for fact in in_order(history):
        if isinstance(fact, JobFact):
            jobs[fact.uid] = fact
        elif isinstance(fact, PodFact):
            job = jobs.get(fact.job_uid)
            if job is not None and fact.result_of:
                reported.add((job.experiment_uid, job.step, job.attempt, fact.result_of))
        elif not fact.gone:
            for step in fact.steps:
                key = (fact.uid, step.name, step.attempt)
                if step.state != SUCCEEDED or key in judged:
                    continue
                judged.add(key)
                if (*key, step.fingerprint) not in reported:
                    what = f"attempt {step.attempt} has succeeded with {step.fingerprint}"
                    found.append(f"{fact.name}, step {step.name}: {what}, but no pod has reported it")
    return found


def succeeded_fingerprints_run_again(history: Iterable[Fact]) -> list[str]:
    """Find a Job created for a fingerprint whose success is in the status, or in a Job that was kept until then."""
    found: list[str] = []
    jobs: dict[str, JobFact] = {}
    recorded: set[_Result] = set()
    reported: dict[_Result, str] = {}
    for fact in in_order(history):
        if isinstance(fact, ExperimentFact):
            recorded |= {(fact.uid, step.name, step.fingerprint) for step in fact.steps if step.state == SUCCEEDED}
        elif isinstance(fact, PodFact):
            job = jobs.get(fact.job_uid)
            if job is not None and fact.result_of == job.fingerprint != "":
                reported[job.experiment_uid, job.step, job.fingerprint] = job.uid
        else:
            result = (fact.experiment_uid, fact.step, fact.fingerprint)
            if fact.uid not in jobs:
                before = jobs.get(reported.get(result, ""))
                if result in recorded or (before is not None and before.kept):
                    what = f"attempt {fact.attempt} reruns {fact.fingerprint}, which has succeeded"
                    found.append(f"{fact.experiment}, step {fact.step}: {what}, version {fact.version}")
            jobs[fact.uid] = fact
    return found


def steps_that_start_again(history: Iterable[Fact]) -> list[str]:
    """Find a step that went from Running back to Starting although its attempt got no new pod in between."""
    found: list[str] = []
    jobs: dict[str, JobFact] = {}
    newest_pod: dict[tuple[str, str, int], int] = defaultdict(int)
    seen: set[str] = set()
    ran: dict[tuple[str, str, int], int] = {}
    before: dict[tuple[str, str, int], str] = {}
    for fact in in_order(history):
        if isinstance(fact, JobFact):
            jobs[fact.uid] = fact
        elif isinstance(fact, PodFact):
            job = jobs.get(fact.job_uid)
            if job is not None and fact.uid not in seen:
                seen.add(fact.uid)
                newest_pod[job.experiment_uid, job.step, job.attempt] = fact.version
        else:
            for step in fact.steps:
                key = (fact.uid, step.name, step.attempt)
                if step.state == "Running" and before.get(key) != "Running":
                    ran[key] = fact.version
                if (before.get(key), step.state) == ("Running", "Starting") and newest_pod[key] < ran[key]:
                    what = f"attempt {step.attempt} from Running to Starting without a new pod"
                    found.append(f"{fact.name}, step {step.name}: {what}, version {fact.version}")
                before[key] = step.state
    return found


def attempts_started_twice(created: Iterable[str]) -> list[str]:
    """Find a Job that was created more than once, which means that an attempt number was reused.

    Args:
        created: ``namespace/name`` of every Job that the API server created.
    """
    return [f"Job {name}: created {times} times" for name, times in sorted(Counter(created).items()) if times > 1]


def unexpected_ends(history: Iterable[Fact], expected: Mapping[str, End]) -> list[str]:
    """Find an experiment that has not ended, or not as expected.

    Args:
        history: facts of all experiments.
        expected: end of each experiment, by ``namespace/name``.
    """
    ends = ends_of(history)
    found = []
    for name, end in sorted(expected.items()):
        actual, reason = ends.get(name, (End.UNDERWAY, "never seen"))
        if actual is not end:
            found.append(f"{name}: expected {end.value}, found {actual.value}{f' ({reason})' if reason else ''}")
    return found


def ends_of(history: Iterable[Fact]) -> dict[str, tuple[End, str]]:
    """Return the end of each experiment according to its last fact, with the reason, by ``namespace/name``.

    A deleted experiment counts as ended in the state before its deletion, if it had ended by then. An experiment whose
    last edit has not been observed has not ended.
    """
    last: dict[str, ExperimentFact] = {}
    for fact in in_order(history):
        if isinstance(fact, ExperimentFact):
            last[fact.name] = fact
    return {name: (_end(fact), _why(fact)) for name, fact in last.items()}


def growing_memory(samples: Sequence[MemorySample], seconds: float, allowed: float = ALLOWED_GROWTH) -> list[str]:
    """Find memory that grows by more than ``allowed`` after the first third of a run of ``seconds``.

    A straight line is fitted by least squares to the peaks of equal periods. This is done for each process that lived
    through half of that time, because a restart frees what was leaked, and for all processes together.
    """
    start = seconds / 3
    judged = [sample for sample in samples if sample.at >= start and sample.age >= WARM_UP_SECONDS]
    by_process: dict[str, list[MemorySample]] = defaultdict(list)
    for sample in judged:
        by_process[sample.process].append(sample)
    long_lived = {name: own for name, own in by_process.items() if own[-1].at - own[0].at >= (seconds - start) / 2}
    found = []
    for name, own in {**long_lived, "all processes": judged}.items():
        maxima = _maxima(own)
        rise = _rise(maxima)
        if rise > allowed:
            sizes = ", ".join(f"{size / 2**20:.0f}" for size in maxima)
            found.append(f"memory of {name} grows by {rise:.0%}: {sizes} MiB peak in {len(maxima)} equal periods")
    return found


def in_order(history: Iterable[Fact]) -> list[Fact]:
    """Return the facts in the order of their versions."""
    return sorted(history, key=lambda fact: fact.version)


def fact_lives(fact: Fact) -> bool:
    """Return whether the fact is a Job or pod that may still run."""
    return isinstance(fact, JobFact | PodFact) and fact.live


def _end(fact: ExperimentFact) -> End:
    conditions = fact.conditions or {}
    succeeded = conditions.get("Succeeded")
    if fact.observed != fact.generation and not fact.gone:
        return End.UNDERWAY
    if succeeded == "True":
        return End.SUCCEEDED
    if succeeded == "False":
        return End.FAILED
    if fact.gone:
        return End.DELETED
    if conditions.get("Stalled") == "True":
        return End.INVALID
    return End.SUSPENDED if conditions.get("Suspended") == "True" else End.UNDERWAY


def _why(fact: ExperimentFact) -> str:
    behind = f"generation {fact.generation}, of which {fact.observed} was observed"
    return ", ".join(part for part in (fact.reason, behind if fact.observed != fact.generation else "") if part)


def _maxima(samples: Sequence[MemorySample]) -> list[int]:
    """Return the peak of each equal period from the first sample to the last; periods without samples are left out."""
    if not samples:
        return []
    first, last = min(sample.at for sample in samples), max(sample.at for sample in samples)
    length = (last - first) / PHASES or 1.0
    phases: dict[int, int] = defaultdict(int)
    for sample in samples:
        phase = min(PHASES - 1, int((sample.at - first) / length))
        phases[phase] = max(phases[phase], sample.resident)
    return [phases[phase] for phase in sorted(phases)]


def _rise(sizes: Sequence[int]) -> float:
    """Return the relative rise, over all sizes, of the straight line fitted to them by least squares."""
    count = len(sizes)
    if count < 3:
        return 0.0
    middle, mean = (count - 1) / 2, sum(sizes) / count
    slope = sum((x - middle) * (size - mean) for x, size in enumerate(sizes)) / sum(
        (x - middle) ** 2 for x in range(count)
    )
    return slope * (count - 1) / (mean - slope * middle)
