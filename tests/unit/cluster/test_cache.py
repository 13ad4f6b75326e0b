"""What is known of the cluster when it is told in no order, twice, or not at all."""

from __future__ import annotations

import copy
from typing import Any

from maskrcnn_operator.cluster.cache import Cache, Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS

KEY = Key("ns", "nuclei")


def at(item: dict[str, Any], version: int, **metadata: Any) -> dict[str, Any]:
    found = copy.deepcopy(item)
    found["metadata"] |= {"namespace": "ns", "resourceVersion": str(version), **metadata}
    return found


def job(uid: str, version: int, **status: Any) -> dict[str, Any]:
    labels = {"maskrcnn.dev/experiment": "nuclei", "maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "1"}
    metadata = {"name": f"job-{uid}", "namespace": "ns", "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": []}}}, "status": status}


def pod(uid: str, version: int, job_uid: str, phase: str) -> dict[str, Any]:
    found = job(uid, version)
    owner = {"kind": "Job", "uid": job_uid, "controller": True}
    return {**found, "metadata": {**found["metadata"], "ownerReferences": [owner]}, "status": {"phase": phase}}


def test_the_newest_version_stays_whoever_tells_it_last(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    newer = at(experiment_object, 20)
    newer["status"] = {"restarts": 2}
    assert cache.put(EXPERIMENTS, newer) == KEY
    assert cache.put(EXPERIMENTS, at(experiment_object, 9)) is None
    assert cache.put(EXPERIMENTS, newer) is None
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    assert (found.metadata.resource_version, found.status.restarts) == ("20", 2)


def test_the_spec_is_read_once_a_generation(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 1))
    first = cache.experiment("ns", "nuclei")
    told = at(experiment_object, 2)
    told["status"] = {"currentStep": "train"}
    cache.put(EXPERIMENTS, told)
    second = cache.experiment("ns", "nuclei")
    assert first is not None and second is not None
    assert second.spec is first.spec
    assert second.status.current_step == "train"
    edited = at(experiment_object, 3, generation=2)
    edited["spec"]["suspend"] = True
    cache.put(EXPERIMENTS, edited)
    third = cache.experiment("ns", "nuclei")
    assert third is not None
    assert third.spec.suspend is True


def test_what_is_wanted_is_worked_out_once_a_generation(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 1))
    first = cache.experiment("ns", "nuclei")
    assert first is not None
    wanted = cache.wanted(first)
    assert cache.wanted(first) is wanted
    cache.put(EXPERIMENTS, at(experiment_object, 2, generation=2))
    second = cache.experiment("ns", "nuclei")
    assert second is not None
    assert cache.wanted(second) is not wanted


def test_what_was_deleted_does_not_come_back() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    assert cache.drop(JOBS, "j1") == KEY
    assert cache.put(JOBS, job("j1", 9)) is None
    assert cache.job("j1") is None
    assert cache.drop(JOBS, "j1") is None


def test_a_change_that_decides_nothing_is_no_news() -> None:
    cache = Cache()
    assert cache.put(JOBS, job("j1", 5, active=0)) == KEY
    assert cache.put(JOBS, job("j1", 6, active=1, ready=0)) is None
    assert cache.put(JOBS, job("j1", 7, startTime="2026-01-01T00:00:00Z")) == KEY
    kept = cache.job("j1")
    assert kept is not None
    assert kept.resource_version == "7"


def test_a_list_takes_away_what_it_lacks_but_nothing_newer() -> None:
    cache = Cache()
    cache.put(JOBS, job("old", 5))
    cache.put(JOBS, job("made-meanwhile", 12))
    assert cache.retain(JOBS, None, {"other"}, 10) == {KEY}
    assert cache.job("old") is None
    assert cache.job("made-meanwhile") is not None


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    assert cache.retain(JOBS, "elsewhere", set(), 10) == set()
    assert cache.job("j1") is not None
    assert cache.replace(JOBS, [], "ns") == {KEY}
    assert cache.job("j1") is None


def test_a_pod_that_had_ended_stays_as_long_as_its_job() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    cache.put(PODS, pod("p0", 6, "j1", "Succeeded"))
    cache.put(PODS, pod("p1", 6, "j1", "Running"))
    assert cache.drop(PODS, "p0") == KEY
    assert cache.drop(PODS, "p1") == KEY
    assert [found.uid for found in cache.pods_of("ns", "nuclei")] == ["p0"]
    # told again by a list that lacks it: no news
    assert cache.retain(PODS, None, set(), 50) == set()
    cache.drop(JOBS, "j1")
    assert cache.pods_of("ns", "nuclei") == []
    assert cache.keys() == set()


def test_an_experiment_that_cannot_be_read_says_why(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    experiment_object["spec"]["experiment"]["learningRateSteps"] = [60, 80]
    assert cache.put(EXPERIMENTS, at(experiment_object, 1)) == KEY
    assert cache.experiment("ns", "nuclei") is None
    entry = cache.entry(KEY)
    assert entry is not None
    assert "learningRateSteps" in str(entry.problems[0]) or "learningRateDecayLevels" in str(entry.problems[0])
    assert cache.experiments() == []


def test_of_two_with_one_name_the_newer_is_the_experiment(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 5))
    cache.put(EXPERIMENTS, at(experiment_object, 8, uid="exp-2"))
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    assert found.metadata.uid == "exp-2"
    cache.drop(EXPERIMENTS, "exp-1")
    assert cache.experiment("ns", "nuclei") is not None


def test_what_carries_no_label_is_nobodys() -> None:
    stray = job("j1", 5)
    del stray["metadata"]["labels"]
    assert Cache().put(JOBS, stray) is None


def test_cache_is_listed_by_namespace() -> None:
    cache = Cache()
    cache.mark_namespace_listed("team-a")
    assert (cache.is_listed("team-a"), cache.is_listed("team-z"), cache.is_listed(None)) == (True, False, False)
    assert (cache.listed, cache.last_listed) == (False, None)
    cache.mark_listed()
    assert cache.listed
    first = cache.last_listed
    assert first is not None
    cache.mark_namespace_listed(None)
    assert cache.last_listed is not None
    assert cache.last_listed >= first
    assert cache.is_listed("team-z")


def test_cache_lacks_what_is_newer_and_nothing_that_is_gone() -> None:
    cache = Cache()
    assert cache.lacks(JOBS, "j1", 5)
    cache.put(JOBS, job("j1", 5))
    assert (cache.lacks(JOBS, "j1", 5), cache.lacks(JOBS, "j1", 6)) == (False, True)
    cache.drop(JOBS, "j1")
    assert not cache.lacks(JOBS, "j1", 7)
