"""How the operator scales: N experiments of nine steps on a real API server, beside a client that makes the same writes.

    python benchmarks/operator_scale.py --experiments 500 2000

For each N, each part on a control plane of its own (kube-controller-manager at 500 calls a second, 20 Jobs at a time):
a bare client answers N experiments with the operator's writes for the first Job (the limit); then the operator does, and
drives all of them through nine steps, with a played kubelet; then it is at rest; then it is started anew. Rates and
latencies are read from the API server's audit log. Pods run no container.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import psutil  # noqa: E402
from tests.apiserver.audit import WRITES, AuditTail, Call  # noqa: E402
from tests.apiserver.bed import Bed  # noqa: E402
from tests.apiserver.binaries import find_binaries  # noqa: E402
from tests.apiserver.kubelet import PlayedKubelet  # noqa: E402
from tests.apiserver.operator_process import OperatorProcess  # noqa: E402
from tests.apiserver.rest import Rest  # noqa: E402
from tests.apiserver.scale import OPERATOR, STEPS, count_writes, create_experiments, make_claim  # noqa: E402

from scale_bare_client import answer_experiments, record  # noqa: E402

QPS = 500
CONTROLLERS = ("--concurrent-job-syncs=20",)
QUIET_SECONDS = 5.0
PATIENCE_SECONDS = 3600.0
SPAWN = multiprocessing.get_context("spawn")
JOB = re.compile(r"^(e\d+)-convert-train-1-")
STATUS = "patch maskrcnnexperiments/status"
MIB = 2**20


@dataclass(frozen=True)
class Server:
    """What another process needs to speak to the API server."""

    port: int
    authority: Path
    client: Any

    def rest(self) -> Rest:
        """A connection of one's own."""
        return Rest("127.0.0.1", self.port, self.authority, self.client)


@dataclass
class Burst:
    """From the creation of N experiments to their first Jobs."""

    number: int
    created: dict[str, float]
    started: dict[str, float]
    writes: Counter[str]

    @property
    def rate(self) -> float:
        """Experiments a second, from the first creation to the last Job."""
        return self.number / (max(self.started.values()) - min(self.created.values()))

    def latency(self, fraction: float) -> float:
        """Seconds from creation to Job that this part of the experiments did not exceed."""
        waits = sorted(self.started[name] - self.created[name] for name in self.started)
        return waits[min(len(waits) - 1, int(fraction * len(waits)))]


def main() -> None:
    """Run and print a table for each N."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, nargs="+", default=[500, 2000], metavar="N")
    parser.add_argument("--workers", type=int, default=8, help="reconciliations, and creating clients, at a time")
    parser.add_argument("--rest-seconds", type=float, default=60.0, help="how long it is watched at rest")
    parser.add_argument("--first-job-only", action="store_true", help="leave the nine steps out")
    arguments = parser.parse_args()
    for number in arguments.experiments:
        rows = measure(number, arguments.workers, arguments.rest_seconds, drive=not arguments.first_job_only)
        print(
            f"\n{number} experiments of {len(STEPS)} steps, {psutil.cpu_count()} cores, Job controller at {QPS} QPS\n"
        )
        print("| what | operator | bare client |\n|---|---|---|")
        for row in rows:
            print("| " + " | ".join(row) + " |", flush=True)


def measure(number: int, workers: int, rest_seconds: float, *, drive: bool) -> list[tuple[str, str, str]]:
    """The table's rows."""
    with _bed() as (bed, account):
        sample = _sample(bed, account)
        bare, bare_cpu = _bare(bed, number, workers, sample)
    with _bed() as (bed, account):
        return _operator(bed, account, number, workers, rest_seconds, drive, bare, bare_cpu)


def _operator(
    bed: Bed, account: Path, number: int, workers: int, rest_seconds: float, drive: bool, bare: Burst, bare_cpu: float
) -> list[tuple[str, str, str]]:
    namespace = bed.create_namespace("scale")
    make_claim(bed, namespace)
    tail = AuditTail(bed.audit_log)
    log = bed.folder / "operator.log"
    make: Callable[[], OperatorProcess] = lambda: OperatorProcess(  # noqa: E731
        account, namespace, log, ("--qps=0", f"--workers={workers}")
    )
    rows: list[tuple[str, str, str]] = []
    with make() as operator:
        _say(f"{number}: creating")
        before = operator.cpu_seconds()
        burst = _burst(bed, tail, namespace, number, workers, OPERATOR)
        cpu = operator.cpu_seconds() - before
        rows += [
            ("experiments/s to the first Job", f"{burst.rate:.1f}", f"{bare.rate:.1f}"),
            ("operator / bare client", f"{burst.rate / bare.rate:.2f}", ""),
            ("creation to Job, p50", f"{burst.latency(0.5):.2f} s", f"{bare.latency(0.5):.2f} s"),
            ("creation to Job, p99", f"{burst.latency(0.99):.2f} s", f"{bare.latency(0.99):.2f} s"),
            ("CPU an experiment to the first Job", f"{cpu / number * 1e3:.1f} ms", f"{bare_cpu / number * 1e3:.1f} ms"),
            ("writes an experiment to the first Job", _each(burst.writes, number), _each(bare.writes, number)),
            ("memory (RSS) then", f"{operator.resident_bytes() / MIB:.0f} MiB", ""),
        ]
        if drive:
            _say(f"{number}: nine steps")
            before, began = operator.cpu_seconds(), time.monotonic()
            told = number * (2 * len(STEPS) + 1) - burst.writes["create events"]
            with _process(_play, _server(bed), namespace):
                writes = _until(tail, lambda found: found["create events"] >= told)
            seconds = time.monotonic() - began - QUIET_SECONDS
            cpu = operator.cpu_seconds() - before
            jobs = writes["create jobs"]
            rows += [
                ("nine steps: Jobs/s", f"{jobs / seconds:.1f}", ""),
                ("nine steps: CPU a Job", f"{cpu / max(1, jobs) * 1e3:.1f} ms", ""),
                ("nine steps: writes an experiment after the first Job", _each(writes, number), ""),
                ("memory (RSS) with full statuses and their pods", f"{operator.resident_bytes() / MIB:.0f} MiB", ""),
            ]
        _say(f"{number}: at rest")
        list(tail.read())
        before = operator.cpu_seconds()
        time.sleep(rest_seconds)
        cpu = (operator.cpu_seconds() - before) / rest_seconds
        rows.append(("at rest: CPU", f"{cpu * 100:.1f} % of a core", ""))
        rows.append(("at rest: calls in a minute", _calls(tail, 60 / rest_seconds), ""))
    _say(f"{number}: starting anew")
    began = time.monotonic()
    with make() as operator:
        ready = time.monotonic() - began
        writes = _until(tail, lambda found: True)
        rows += [
            ("restart: ready after", f"{ready:.1f} s", ""),
            ("restart: CPU", f"{operator.cpu_seconds():.1f} s", ""),
            ("restart: writes", _each(writes, 1) or "0", ""),
            ("restart: memory (RSS)", f"{operator.resident_bytes() / MIB:.0f} MiB", ""),
        ]
    return rows


def _sample(bed: Bed, account: Path) -> list[tuple[str, str, str]]:
    """The operator's writes for one experiment."""
    namespace = bed.create_namespace("sample")
    make_claim(bed, namespace)
    tail = AuditTail(bed.audit_log)
    with OperatorProcess(account, namespace, bed.folder / "sample.log"):
        create_experiments(bed.rest, namespace, 1)
        _until(tail, lambda found: found["create events"] >= 1 and found[STATUS] >= 2)
    return record(bed.api, namespace, "e0")


def _bare(bed: Bed, number: int, workers: int, sample: list[tuple[str, str, str]]) -> tuple[Burst, float]:
    """The bare client's burst, and the CPU seconds that it took, starting it left out."""
    namespace = bed.create_namespace("bare")
    tail = AuditTail(bed.audit_log)
    _say(f"{number}: the bare client")
    process = SPAWN.Process(target=_answer, args=(_server(bed), namespace, number, sample, workers), daemon=True)
    process.start()
    while not any(call.verb == "watch" and call.namespace == namespace for call in tail.read()):
        _alive(process)
        time.sleep(0.1)
    facts = psutil.Process(process.pid)
    before = sum(facts.cpu_times()[:2])
    burst = _burst(bed, tail, namespace, number, workers, "admin", lambda: _alive(process))
    return burst, float(sum(facts.cpu_times()[:2]) - before)


def _burst(
    bed: Bed,
    tail: AuditTail,
    namespace: str,
    number: int,
    workers: int,
    writer: str,
    check: Callable[[], None] = lambda: None,
) -> Burst:
    """Create the experiments from a process of their own and wait until ``writer`` has made all that follows."""
    list(tail.read())
    burst = Burst(number, {}, {}, Counter())
    with _process(create_experiments_at, _server(bed), namespace, number, workers) as creator:
        last, deadline = time.monotonic(), time.monotonic() + PATIENCE_SECONDS
        while len(burst.started) < number or time.monotonic() - last < QUIET_SECONDS:
            for call in tail.read(namespace=namespace):
                if call.verb == "create" and call.resource == "maskrcnnexperiments" and call.code == 201:
                    burst.created[call.name] = call.at
                elif call.user == writer and call.verb in WRITES:
                    last = time.monotonic()
                    burst.writes += count_writes([call])
                    if call.resource == "jobs" and (job := JOB.match(call.name)):
                        burst.started[job[1]] = call.at
            check()
            if creator.exitcode:
                raise RuntimeError("experiments could not be created")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(burst.started)} of {number} Jobs")
            time.sleep(0.1)
    return burst


def _until(tail: AuditTail, done: Callable[[Counter[str]], bool]) -> Counter[str]:
    """The operator's writes until ``done`` says so and nothing was written for QUIET_SECONDS."""
    found: Counter[str] = Counter()
    last, deadline = time.monotonic(), time.monotonic() + PATIENCE_SECONDS
    while not done(found) or time.monotonic() - last < QUIET_SECONDS:
        more = count_writes(tail.read(user=OPERATOR))
        found += more
        last = time.monotonic() if more else last
        if time.monotonic() > deadline:
            raise TimeoutError(str(found))
        time.sleep(0.1)
    return found


def _calls(tail: AuditTail, factor: float) -> str:
    calls: list[Call] = [call for call in tail.read(user=OPERATOR) if call.code]
    counts = Counter(f"{call.verb} {call.resource}" for call in calls)
    return ", ".join(f"{count * factor:.0f} {name}" for name, count in sorted(counts.items())) or "0"


def _each(writes: Counter[str], number: int) -> str:
    return ", ".join(f"{count / number:.4g} {name}" for name, count in sorted(writes.items()))


@contextmanager
def _bed() -> Any:
    with Bed(find_binaries(), controller_manager_qps=QPS, controller_manager_options=CONTROLLERS) as bed:
        crd = str(ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml")
        bed.kubectl("apply", "-f", crd, "-f", str(ROOT / "deploy" / "rbac.yaml"))
        bed.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crd)
        yield bed, bed.kubeconfig_for("maskrcnn-operator", "maskrcnn-operator")


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


def create_experiments_at(server: Server, namespace: str, number: int, clients: int) -> None:
    """In a process of its own: create them."""
    create_experiments(server.rest(), namespace, number, clients)


def _answer(server: Server, namespace: str, number: int, writes: list[tuple[str, str, str]], workers: int) -> None:
    answer_experiments(server.rest(), namespace, number, writes, workers)
    time.sleep(PATIENCE_SECONDS)  # its CPU time is read while it is there


def _play(server: Server, namespace: str) -> None:
    with PlayedKubelet(server.rest(), namespace):
        time.sleep(PATIENCE_SECONDS)


def _alive(process: Any) -> None:
    if process.exitcode is not None:
        raise RuntimeError("the bare client ended: see above")


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    main()
