"""Plan of a soak: determined by its seed, complete, and finished in time."""

from __future__ import annotations

import json
import random
from itertools import pairwise

from tests.apiserver.invariants import End
from tests.apiserver.pod_scripts import Play, PodFacts
from tests.apiserver.soak import faults, hostile
from tests.apiserver.soak.faults import Fault, plan_faults
from tests.apiserver.soak.load import ARRIVE_WITHIN, KINDS, Planned, Script, plan_load

SECONDS = 180.0


def draws(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - must be reproducible


def load(seed: int = 1, number: int = 20) -> list[Planned]:
    return plan_load(draws(seed), number, ["one", "two"], SECONDS, hostile=True)


def test_same_seed_draws_the_same_run() -> None:
    assert load() == load()
    assert load() != load(2)
    assert plan_faults(draws(1), 2, SECONDS) == plan_faults(draws(1), 2, SECONDS)


def test_twenty_experiments_are_of_every_kind_and_arrive_in_time() -> None:
    planned = load()
    kinds = {item.manifest["metadata"]["name"].rpartition("-")[0] for item in planned}
    assert kinds == {*KINDS, *hostile.TERMINATION_MESSAGES}
    assert [item.at for item in planned] == sorted(item.at for item in planned)
    assert max(item.at for item in planned) <= ARRIVE_WITHIN * SECONDS
    assert {item.end for item in planned} == {End.SUCCEEDED, End.FAILED, End.INVALID, End.DELETED}
    assert len({item.name for item in planned}) == len(planned)


def pod(name: str, index: int = 0) -> PodFacts:
    return PodFacts("one", "p", "u", name, "train", 1, index, "train", "f", {})


def test_script_returns_plays_in_order_and_repeats_the_last() -> None:
    first, last = Play(exit_code=75), Play()
    script = Script([Planned(0.0, "one", {"metadata": {"name": "e"}}, plays={("train", 0): (first, last)})])
    assert [script(pod("e")) for _ in range(3)] == [first, last, last]
    assert script(pod("e", 1)) is None
    assert script(pod("another")) is None


def test_faults_end_before_the_run_and_spare_one_replica_late() -> None:
    planned = plan_faults(draws(3), 2, 1440.0)
    assert {item.fault for item in planned} == set(Fault)
    assert planned[-1].at < faults.LAST * 1440.0
    late = [item for item in planned if item.fault is Fault.KILL and item.at > faults.SPARED_AFTER * 1440.0]
    assert late
    assert {item.replica for item in late} == {1}
    restarts = [item.at for item in planned if item.fault is Fault.API_SERVER]
    gaps = [later - earlier for earlier, later in pairwise(restarts)]
    assert min(gaps) >= faults.SECONDS_BETWEEN_API_SERVER_RESTARTS


def test_only_responses_to_writes_are_lost() -> None:
    answers = [item.answer for item in plan_faults(draws(3), 2, 5000.0) if item.answer is not None]
    assert {answer.status for answer in answers} >= {0, 409, 410, 429, 500}
    assert all(answer.method != "GET" for answer in answers if answer.after)
    assert all(answer.method != "GET" for answer in answers if answer.status == 409)


def test_hostile_objects_are_json_within_the_size_limit_of_the_api_server() -> None:
    made = list(hostile.hostile_objects(draws(1)))
    assert {item.path for item in made} == {hostile.PODS, hostile.JOBS, hostile.EXPERIMENTS}
    assert max(len(item.body) for item in made) < 1_500_000
    shallow = [item for item in made if "nested" not in item.what]
    assert all(json.loads(item.body)["metadata"]["name"].startswith("hostile-") for item in shallow)
