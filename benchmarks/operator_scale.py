"""Scaling of the operator: N experiments of nine steps on a real API server, compared with a client that only writes.

    python benchmarks/operator_scale.py --experiments 500 2000

For each N, these parts run (kube-controller-manager at 500 requests/s, 20 Jobs at a time; new control planes for the
first, the third and the fourth part):

1. One client creates experiments and writes their statuses one after another, to measure the API server's cost per
   write.
2. A bare client makes the operator's writes for the first Job of N experiments, which is the upper limit.
3. The operator does so for experiments with a queue, whose first Job stays suspended.
4. The operator does so for experiments without a queue, and runs all nine steps, with a simulated kubelet.
5. The operator is idle, and then restarted.

With ``--object-storage`` the results are in a bucket in place of a claim: the operator reads no access modes of claims,
but the uids of namespaces, which own the results.

Rates and latencies come from the API server's audit log. Pods run no container.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import psutil
from tests.apiserver.account import USER, make_account
from tests.apiserver.audit import WRITES, AuditTail, Call
from tests.apiserver.bed import Bed
from tests.apiserver.binaries import find_binaries
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.rest import APPLY_PATCH, Rest
from tests.apiserver.scale import (
    EXPERIMENTS,
    STEPS,
    count_writes,
    create_experiments,
    experiment,
    make_claim,
)
from tests.apiserver.supervisor import die_with_parent

from scale_bare_client import Write, answer_experiments, fill, record

QPS = 500
CONTROLLERS = ("--concurrent-job-syncs=20",)
QUIET_SECONDS = 5.0
QUEUE = "team"
ROUNDS, WRITES_IN_A_ROUND = 5, 100
PATIENCE_SECONDS = 3600.0
SPAWN = multiprocessing.get_context("spawn")
JOB = re.compile(r"^(e\d+)-convert-train-1-")
STATUS = "patch maskrcnnexperiments/status"
PLACES = ("persistentvolumeclaims", "namespaces")
"""Kinds of objects that the operator reads to start a step: for its access modes, and for the owner of its results."""
MIB = 2**20

Row = tuple[str, str, str]
"""Name of the value, the operator's value, and the bare client's."""


@dataclass(frozen=True)
class Server:
    """Address and credentials of the API server, for another process."""

    port: int
    authority: Path
    client: Any

    def rest(self) -> Rest:
        """Return a new connection."""
        return Rest("127.0.0.1", self.port, self.authority, self.client)


@dataclass
class Burst:
    """Creation of N experiments and their first Jobs, by the user ``writer``; times in seconds since 1970.

    Attributes:
        stored: their results are in object storage.
        reads: number of claims and namespaces that the writer has read, by kind.
    """

    namespace: str
    number: int
    writer: str
    stored: bool = False
    created: dict[str, float] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)
    writes: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0
    apiserver_cpu: float = 0.0
    all_writes: int = 0

    @property
    def rate(self) -> float:
        """Experiments per second, from the first creation to the last Job."""
        return self.number / (max(self.started.values()) - min(self.created.values()))

    def latency(self, fraction: float) -> float:
        """Return the quantile of the seconds from creation to Job."""
        waits = sorted(self.started[name] - self.created[name] for name in self.started)
        return waits[min(len(waits) - 1, int(fraction * len(waits)))]

    def milliseconds_each(self) -> str:
        """Return the writer's CPU time per experiment."""
        return _milliseconds(self.cpu / self.number)

    def apiserver_milliseconds_each(self) -> str:
        """Return the API server's CPU time per experiment: for its creation, and for the writer and the controllers."""
        return _milliseconds(self.apiserver_cpu / self.number)

    def apiserver_milliseconds_a_write(self) -> str:
        """Return the API server's CPU time per write of any client."""
        return _milliseconds(self.apiserver_cpu / self.all_writes)


def main() -> None:
    """Run the benchmark and print a table for each N."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, nargs="+", default=[500, 2000], metavar="N")
    parser.add_argument(
        "--workers", type=int, default=8, help="concurrent reconciliations, and concurrent creating clients"
    )
    parser.add_argument("--rest-seconds", type=float, default=60.0, help="duration of the idle measurement")
    parser.add_argument("--first-job-only", action="store_true", help="skip the nine steps")
    parser.add_argument("--object-storage", action="store_true", help="results in a bucket in place of a claim")
    arguments = parser.parse_args()
    for number in arguments.experiments:
        rows = measure(number, arguments)
        place = "in object storage" if arguments.object_storage else "on a claim"
        what = f"{number} experiments of {len(STEPS)} steps {place}"
        print(f"\n{what}, {psutil.cpu_count()} cores, controllers at {QPS} QPS\n")
        print("| what | operator | bare client |\n|---|---|---|")
        for row in rows:
            print("| " + " | ".join(row) + " |", flush=True)


def measure(number: int, arguments: argparse.Namespace) -> list[Row]:
    """Run all parts and return the rows of the table."""
    calls, stored = ("--qps=0", f"--workers={arguments.workers}"), arguments.object_storage
    with _bed() as (bed, account):
        sample = _sample(bed, account, stored=stored)
        rows = _single_writes(bed, sample, stored=stored)
        bare = _bare(bed, number, arguments.workers, sample, stored=stored)
    with _bed() as (bed, account):
        namespace, tail = _namespace(bed), AuditTail(bed.audit_log)
        with OperatorProcess(account, namespace, bed.folder / "operator.log", calls) as operator:
            burst = Burst(namespace, number, USER, stored)
            rows += _suspended_jobs(_burst(bed, tail, operator, burst, clients=arguments.workers, queue=QUEUE))
    with _bed() as (bed, account):
        namespace, tail = _namespace(bed), AuditTail(bed.audit_log)
        with OperatorProcess(account, namespace, bed.folder / "operator.log", calls) as operator:
            burst = _burst(bed, tail, operator, Burst(namespace, number, USER, stored), clients=arguments.workers)
            rows += _first_jobs(operator, burst, bare)
            if not arguments.first_job_only:
                rows += _nine_steps(bed, tail, operator, burst)
            rows += _at_rest(tail, operator, arguments.rest_seconds)
        began = time.monotonic()
        with OperatorProcess(account, namespace, bed.folder / "operator.log", calls) as operator:
            rows += _restart(tail, operator, time.monotonic() - began)
    return rows


def _namespace(bed: Bed) -> str:
    namespace = bed.create_namespace("scale")
    make_claim(bed, namespace)
    return namespace


def _burst(
    bed: Bed, tail: AuditTail, operator: OperatorProcess, burst: Burst, *, clients: int, queue: str = ""
) -> Burst:
    _say(f"{burst.number}: creating{' with a queue' if queue else ''}")
    before = operator.cpu_seconds()
    _create(bed, tail, burst, clients, queue=queue)
    burst.cpu = operator.cpu_seconds() - before
    return burst


def _single_writes(bed: Bed, sample: list[Write], *, stored: bool) -> list[Row]:
    """Measure the API server's CPU per write: medians of ROUNDS rounds of WRITES_IN_A_ROUND sequential writes."""
    _say("single writes")
    namespace = bed.create_namespace("single")
    path = EXPERIMENTS.format(namespace)
    # the operator's last one: the status of an experiment whose first Job exists
    method, where, body = next(write for write in reversed(sample) if write[0] == "PATCH")
    seconds: dict[str, list[float]] = {"create": [], "status": []}
    for first in range(0, ROUNDS * WRITES_IN_A_ROUND, WRITES_IN_A_ROUND):
        names = [f"e{i}" for i in range(first, first + WRITES_IN_A_ROUND)]
        before = bed.apiserver_cpu_seconds()
        uids = [bed.api("POST", path, experiment(name, stored=stored))["metadata"]["uid"] for name in names]
        seconds["create"].append(bed.apiserver_cpu_seconds() - before)
        before = bed.apiserver_cpu_seconds()
        for name, uid in zip(names, uids, strict=True):
            bed.api(
                method, fill(where, namespace, name, uid), json.loads(fill(body, namespace, name, uid)), APPLY_PATCH
            )
        seconds["status"].append(bed.apiserver_cpu_seconds() - before)
    create, status = (_milliseconds(statistics.median(each) / WRITES_IN_A_ROUND) for each in seconds.values())
    return [("API server's CPU: create", create, create), ("API server's CPU: status write", status, status)]


def _suspended_jobs(burst: Burst) -> list[Row]:
    return [
        ("suspended first Job: experiments/s", f"{burst.rate:.1f}", ""),
        ("suspended first Job: creation to Job, p99", f"{burst.latency(0.99):.2f} s", ""),
        ("suspended first Job: CPU per experiment", burst.milliseconds_each(), ""),
        ("suspended first Job: API server's CPU per experiment", burst.apiserver_milliseconds_each(), ""),
        ("suspended first Job: API server's CPU per write", burst.apiserver_milliseconds_a_write(), ""),
        ("suspended first Job: writes per experiment", _each(burst.writes, burst.number), ""),
    ]


def _first_jobs(operator: OperatorProcess, burst: Burst, bare: Burst) -> list[Row]:
    return [
        ("experiments/s to the first Job", f"{burst.rate:.1f}", f"{bare.rate:.1f}"),
        ("operator / bare client", f"{burst.rate / bare.rate:.2f}", ""),
        ("creation to Job, p50", f"{burst.latency(0.5):.2f} s", f"{bare.latency(0.5):.2f} s"),
        ("creation to Job, p99", f"{burst.latency(0.99):.2f} s", f"{bare.latency(0.99):.2f} s"),
        ("CPU per experiment to the first Job", burst.milliseconds_each(), bare.milliseconds_each()),
        (
            "API server's CPU per experiment to the first Job",
            burst.apiserver_milliseconds_each(),
            bare.apiserver_milliseconds_each(),
        ),
        ("API server's CPU per write", burst.apiserver_milliseconds_a_write(), bare.apiserver_milliseconds_a_write()),
        ("writes per experiment to the first Job", _each(burst.writes, burst.number), _each(bare.writes, bare.number)),
        ("reads of claims and namespaces to the first Jobs", _each(burst.reads, 1) or "0", ""),
        ("memory (RSS) after the first Jobs", _memory(operator), ""),
    ]


def _nine_steps(bed: Bed, tail: AuditTail, operator: OperatorProcess, burst: Burst) -> list[Row]:
    _say(f"{burst.number}: nine steps")
    before, began, apiserver = operator.cpu_seconds(), time.monotonic(), bed.apiserver_cpu_seconds()
    missing = burst.number * len(STEPS) - burst.writes["create jobs"]
    with _process(_play, _server(bed), burst.namespace):
        writes = _until(tail, lambda found: found["create jobs"] >= missing)
        while not _all_succeeded(bed, burst.namespace):
            writes += _until(tail, lambda _: True)
    seconds, jobs = time.monotonic() - began - QUIET_SECONDS, writes["create jobs"]
    return [
        ("nine steps: Jobs/s", f"{jobs / seconds:.1f}", ""),
        ("nine steps: CPU per Job", f"{(operator.cpu_seconds() - before) / jobs * 1e3:.1f} ms", ""),
        ("nine steps: API server's CPU per Job", _milliseconds((bed.apiserver_cpu_seconds() - apiserver) / jobs), ""),
        ("nine steps: writes per experiment after the first Job", _each(writes, burst.number), ""),
        ("memory (RSS) with full statuses and all pods", _memory(operator), ""),
    ]


def _at_rest(tail: AuditTail, operator: OperatorProcess, seconds: float) -> list[Row]:
    _say("idle")
    list(tail.read())
    before = operator.cpu_seconds()
    time.sleep(seconds)
    cpu = (operator.cpu_seconds() - before) / seconds
    return [
        ("idle: CPU", f"{cpu * 100:.1f}% of a core", ""),
        ("idle: requests per minute", _calls(tail, 60 / seconds), ""),
    ]


def _restart(tail: AuditTail, operator: OperatorProcess, ready: float) -> list[Row]:
    _say("restarted")
    writes = _until(tail, lambda _: True)
    return [
        ("restart: ready after", f"{ready:.1f} s", ""),
        ("restart: CPU", f"{operator.cpu_seconds():.1f} s", ""),
        ("restart: writes", _each(writes, 1) or "0", ""),
        ("restart: memory (RSS)", _memory(operator), ""),
    ]


def _sample(bed: Bed, account: Path, *, stored: bool) -> list[Write]:
    """Return the operator's writes for one experiment."""
    namespace = bed.create_namespace("sample")
    make_claim(bed, namespace)
    tail = AuditTail(bed.audit_log)
    with OperatorProcess(account, namespace, bed.folder / "sample.log"):
        create_experiments(bed.rest, namespace, 1, stored=stored)
        _until(tail, lambda found: found["create events"] >= 1 and found[STATUS] >= 1)
    return record(bed.api, namespace, "e0")


def _bare(bed: Bed, number: int, workers: int, sample: list[Write], *, stored: bool) -> Burst:
    """Run the bare client; its CPU seconds exclude its start."""
    burst = Burst(bed.create_namespace("bare"), number, "admin", stored)
    tail = AuditTail(bed.audit_log)
    _say(f"{number}: the bare client")
    with _process(_answer, _server(bed), burst.namespace, number, sample, workers) as process:
        while not any(call.verb == "watch" and call.user == "admin" for call in tail.read(namespace=burst.namespace)):
            _check(process)
            time.sleep(0.1)
        facts = psutil.Process(process.pid)
        before = sum(facts.cpu_times()[:2])
        _create(bed, tail, burst, workers, process)
        burst.cpu = float(sum(facts.cpu_times()[:2]) - before)
    return burst


def _create(bed: Bed, tail: AuditTail, burst: Burst, clients: int, answering: Any = None, *, queue: str = "") -> None:
    """Create the experiments from another process, and wait until the writer has made all its writes."""
    list(tail.read())
    before = bed.apiserver_cpu_seconds()
    arguments = (_server(bed), burst.namespace, burst.number, clients, queue, burst.stored)
    with _process(_create_experiments, *arguments) as creator:
        last, deadline = time.monotonic(), time.monotonic() + PATIENCE_SECONDS
        while len(burst.started) < burst.number or time.monotonic() - last < QUIET_SECONDS:
            for call in tail.read(namespace=burst.namespace):
                burst.all_writes += call.writes
                if call.verb == "create" and call.resource == "maskrcnnexperiments" and call.code == 201:
                    burst.created[call.name] = call.at
                elif call.user == burst.writer and call.verb in WRITES:
                    last = time.monotonic()
                    burst.writes += count_writes([call])
                    if call.resource == "jobs" and (job := JOB.match(call.name)):
                        burst.started[job[1]] = call.at
                elif call.user == burst.writer and call.verb == "get" and call.resource in PLACES:
                    burst.reads[call.resource] += 1
            _check(creator, answering)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(burst.started)} of {burst.number} Jobs")
            time.sleep(0.1)
    burst.apiserver_cpu = bed.apiserver_cpu_seconds() - before


def _until(tail: AuditTail, done: Callable[[Counter[str]], bool]) -> Counter[str]:
    """Return the operator's writes until ``done`` returns true and there was no write for QUIET_SECONDS."""
    found: Counter[str] = Counter()
    last, deadline = time.monotonic(), time.monotonic() + PATIENCE_SECONDS
    while not done(found) or time.monotonic() - last < QUIET_SECONDS:
        more = count_writes(tail.read(user=USER))
        found += more
        last = time.monotonic() if more else last
        if time.monotonic() > deadline:
            raise TimeoutError(str(found))
        time.sleep(0.1)
    return found


def _all_succeeded(bed: Bed, namespace: str) -> bool:
    following: str | None = ""
    while following is not None:
        page = bed.api("GET", f"{EXPERIMENTS.format(namespace)}?limit=200&continue={following}")
        for item in page["items"]:
            if not any(c["type"] == "Succeeded" and c["status"] == "True" for c in item["status"]["conditions"]):
                return False
        following = page["metadata"].get("continue") or None
    return True


def _calls(tail: AuditTail, factor: float) -> str:
    calls: list[Call] = [call for call in tail.read(user=USER) if call.code]
    counts = Counter(f"{call.verb} {call.resource}" for call in calls)
    return ", ".join(f"{count * factor:.0f} {name}" for name, count in sorted(counts.items())) or "0"


def _each(writes: Counter[str], number: int) -> str:
    return ", ".join(f"{count / number:.4g} {name}" for name, count in sorted(writes.items()))


@contextmanager
def _bed() -> Any:
    with Bed(find_binaries(), controller_manager_qps=QPS, controller_manager_options=CONTROLLERS) as bed:
        crd = str(ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml")
        bed.kubectl("apply", "-f", crd)
        bed.wait_established("-f", crd)
        yield bed, make_account(bed)


@contextmanager
def _process(target: Callable[..., None], *arguments: Any) -> Any:
    process = SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


def _server(bed: Bed) -> Server:
    return Server(bed.port, bed.ca, bed.credentials.admin)


def _check(*processes: Any) -> None:
    if any(process is not None and process.exitcode for process in processes):
        raise RuntimeError("another process of this benchmark failed; see its output above")


def _memory(operator: OperatorProcess) -> str:
    return f"{operator.resident_bytes() / MIB:.0f} MiB"


def _create_experiments(  # noqa: PLR0917 - arguments of a process
    server: Server, namespace: str, number: int, clients: int, queue: str, stored: bool
) -> None:
    die_with_parent()
    create_experiments(server.rest(), namespace, number, clients, queue, stored=stored)


def _answer(server: Server, namespace: str, number: int, writes: list[Write], workers: int) -> None:
    die_with_parent()
    answer_experiments(server.rest(), namespace, number, writes, workers)
    time.sleep(PATIENCE_SECONDS)  # keeps the process alive until its CPU time is read


def _play(server: Server, namespace: str) -> None:
    die_with_parent()
    with PlayedKubelet(server.rest(), namespace):
        time.sleep(PATIENCE_SECONDS)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    main()
