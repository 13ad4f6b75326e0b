"""Cache with objects that arrive out of order, twice, or not at all."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from maskrcnn_operator.cluster import cache as module
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, Resource

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


def test_newest_version_stays_in_any_order_of_arrival(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    newer = at(experiment_object, 20)
    newer["status"] = {"restarts": 2}
    assert cache.put(EXPERIMENTS, newer) == KEY
    assert cache.put(EXPERIMENTS, at(experiment_object, 9)) is None
    assert cache.put(EXPERIMENTS, newer) is None
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    assert (found.metadata.resource_version, found.status.restarts) == ("20", 2)


def test_spec_is_read_once_per_generation(experiment_object: dict[str, Any]) -> None:
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


def test_desired_state_is_resolved_once_per_generation(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 1))
    first = cache.experiment("ns", "nuclei")
    assert first is not None
    desired = cache.desired(first)
    assert cache.desired(first) is desired
    cache.put(EXPERIMENTS, at(experiment_object, 2, generation=2))
    second = cache.experiment("ns", "nuclei")
    assert second is not None
    assert cache.desired(second) is not desired


def test_deleted_object_does_not_come_back() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    assert cache.drop(JOBS, "j1") == KEY
    assert cache.put(JOBS, job("j1", 9)) is None
    assert cache.job("j1") is None
    assert cache.drop(JOBS, "j1") is None


def test_oldest_deletion_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOMBSTONES", 2)
    cache = Cache()
    for uid in ("1", "2", "3"):
        cache.drop(JOBS, uid)
    assert len(cache._gone) == 2
    assert cache.put(JOBS, job("3", 5)) is None
    assert cache.put(JOBS, job("2", 5)) is None


def test_late_deletion_event_brings_nothing_back() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    cache.drop(JOBS, "j1")
    assert cache.drop(JOBS, "j1", 8) is None
    assert cache.put(JOBS, job("j1", 9)) is None
    assert cache.job("j1") is None


def test_irrelevant_change_is_not_reported() -> None:
    cache = Cache()
    assert cache.put(JOBS, job("j1", 5, active=0)) == KEY
    assert cache.put(JOBS, job("j1", 6, active=1, ready=0)) is None
    assert cache.put(JOBS, job("j1", 7, startTime="2026-01-01T00:00:00Z")) == KEY
    kept = cache.job("j1")
    assert kept is not None
    assert kept.resource_version == "7"


def test_list_drops_missing_objects_but_no_newer_ones() -> None:
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
    # a list without it reports the same again: no change
    assert cache.retain(PODS, None, set(), 50) == set()
    cache.drop(JOBS, "j1")
    assert cache.pods_of("ns", "nuclei") == []
    assert cache.keys() == set()


def test_pod_that_still_runs_stays_when_its_job_goes() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    cache.put(PODS, pod("p0", 6, "j1", "Running"))
    cache.drop(JOBS, "j1")
    assert [found.uid for found in cache.pods_of("ns", "nuclei")] == ["p0"]


def test_pod_that_had_ended_goes_where_its_job_is_unknown() -> None:
    cache = Cache()
    cache.put(PODS, pod("p0", 6, "gone", "Succeeded"))
    assert cache.drop(PODS, "p0") == KEY
    assert cache.keys() == set()


def test_unreadable_experiment_has_its_problems(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    experiment_object["spec"]["experiment"]["learningRateSteps"] = [60, 80]
    assert cache.put(EXPERIMENTS, at(experiment_object, 1)) == KEY
    assert cache.experiment("ns", "nuclei") is None
    entry = cache.entry(KEY)
    assert entry is not None
    assert "learningRateSteps" in str(entry.problems[0]) or "learningRateDecayLevels" in str(entry.problems[0])
    assert cache.experiments() == []


def test_newer_of_two_experiments_with_one_name_counts(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 5))
    cache.put(EXPERIMENTS, at(experiment_object, 8, uid="exp-2"))
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    assert found.metadata.uid == "exp-2"
    cache.drop(EXPERIMENTS, "exp-1")
    assert cache.experiment("ns", "nuclei") is not None


def test_object_without_the_label_belongs_to_no_experiment() -> None:
    stray = job("j1", 5)
    del stray["metadata"]["labels"]
    assert Cache().put(JOBS, stray) is None


def test_time_of_the_last_list_counts_from_the_first_complete_one() -> None:
    cache = Cache()
    cache.mark_namespace_listed()
    assert (cache.listed, cache.last_listed) == (False, None)
    cache.mark_listed()
    assert cache.listed
    first = cache.last_listed
    assert first is not None
    cache.mark_namespace_listed()
    assert cache.last_listed is not None
    assert cache.last_listed >= first


def test_cache_lacks_newer_versions_and_no_deleted_objects() -> None:
    cache = Cache()
    assert cache.lacks(JOBS, "j1", 5)
    cache.put(JOBS, job("j1", 5))
    assert (cache.lacks(JOBS, "j1", 5), cache.lacks(JOBS, "j1", 6)) == (False, True)
    cache.drop(JOBS, "j1")
    assert not cache.lacks(JOBS, "j1", 7)


class LeftOut(list[tuple[str, str, str, str]]):
    """Callback that records skipped objects: kind, namespace, name, and type of the error."""

    def __call__(self, resource: Resource, namespace: str, name: str, error: Exception) -> None:
        self.append((resource.plural, namespace, name, type(error).__name__))


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


def with_metadata(**changes: Any) -> dict[str, Any]:
    found = job("j1", 5)
    found["metadata"] |= changes
    return found


@pytest.mark.parametrize(
    ("item", "namespace", "name"),
    [
        (with_metadata(resourceVersion="9" * 5_000), "ns", "job-j1"),
        (with_metadata(resourceVersion="x"), "ns", "job-j1"),
        (with_metadata(resourceVersion=7), "ns", "job-j1"),
        (with_metadata(uid=["j1"]), "ns", "job-j1"),
        (with_metadata(uid=""), "ns", "job-j1"),
        (with_metadata(namespace={}), "", "job-j1"),
        (with_metadata(labels=7), "ns", "job-j1"),
        (with_metadata(labels={"maskrcnn.dev/experiment": ["nuclei"]}), "ns", "job-j1"),
        (with_metadata(labels={"maskrcnn.dev/experiment": "\udce9"}, name="\udce9" * 300), "ns", "\ufffd" * 253),
        ({"metadata": None}, "", ""),
        ({}, "", ""),
        ([], "", ""),
        (None, "", ""),
    ],
)
def test_an_object_that_cannot_be_read_is_left_out_and_named(item: Any, namespace: str, name: str) -> None:
    left_out = LeftOut()
    cache = Cache(left_out)
    assert cache.put(JOBS, item) is None
    assert [found[:3] for found in left_out] == [("jobs", namespace, name)]
    assert cache.replace(JOBS, [item, job("j2", 6)]) == {KEY}
    assert [found.uid for found in cache.jobs_of(*KEY)] == ["j2"]


def test_an_experiment_whose_metadata_cannot_be_read_is_left_out(experiment_object: dict[str, Any]) -> None:
    left_out = LeftOut()
    cache = Cache(left_out)
    assert cache.put(EXPERIMENTS, at(experiment_object, 5, generation=[1])) is None
    assert cache.put(EXPERIMENTS, at(experiment_object, 5, generation=10**5_000)) is None
    assert [found[:3] for found in left_out] == [("maskrcnnexperiments", "ns", "nuclei")] * 2
    assert cache.keys() == set()


def test_known_state_of_an_object_stays_while_it_cannot_be_read() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    assert cache.put(JOBS, with_metadata(resourceVersion="6", labels=7)) is None
    assert cache.job("j1") is not None


@pytest.mark.parametrize("levels", [101, 480, 900, 9_000])
def test_deeply_nested_experiment_has_the_field_in_its_problem(experiment_object: dict[str, Any], levels: int) -> None:
    left_out = LeftOut()
    cache = Cache(left_out)
    item = at(experiment_object, 1)
    item["spec"]["podOverrides"] = {"affinity": nested(levels)}
    assert cache.put(EXPERIMENTS, item) == KEY
    entry = cache.entry(KEY)
    assert entry is not None
    assert [problem.field for problem in entry.problems] == ["spec.podOverrides.affinity"]
    assert entry.raw is not None and entry.raw["spec"] == {"suspend": False}
    assert left_out == [("maskrcnnexperiments", "ns", "nuclei", "ManifestError")]


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"steps": nested(9_000)}, {}),
        ({"maxRestarts": 10**5_000}, {}),
        ({"image": "\udce9"}, {}),
        ({}, {"restarts": 10**5_000}),
        ({}, {"currentStep": nested(9_000)}),
        ({}, [7]),
        ({}, {"steps": [{"name": "train", "state": "Resting"}]}),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_an_experiment_that_cannot_be_read_has_a_problem(
    experiment_object: dict[str, Any], spec: dict[str, Any], status: Any, known: bool
) -> None:
    left_out = LeftOut()
    cache = Cache(left_out)
    if known:
        cache.put(EXPERIMENTS, at(experiment_object, 1))
    generation = 2 if spec else 1
    item = at(experiment_object, 2, generation=generation)
    item["spec"] |= spec
    item["status"] = status
    assert cache.put(EXPERIMENTS, item) == KEY
    entry = cache.entry(KEY)
    assert entry is not None
    assert (entry.experiment, entry.generation, entry.version) == (None, generation, 2)
    assert entry.problems
    json.dumps(entry.raw)
    assert left_out == [("maskrcnnexperiments", "ns", "nuclei", "ManifestError")]


def test_annotations_and_labels_of_a_megabyte_are_not_kept(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    large = {"annotations": {"note": "x" * 1_000_000}, "labels": {str(number): "x" for number in range(10_000)}}
    assert cache.put(EXPERIMENTS, at(experiment_object, 1, **large)) == KEY
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    assert (found.metadata.annotations, found.metadata.labels) == ({}, {})
    broken = at(experiment_object, 2, generation=2, **large)
    broken["spec"]["steps"] = []
    assert cache.put(EXPERIMENTS, broken) == KEY
    entry = cache.entry(KEY)
    assert entry is not None
    assert len(json.dumps(entry.raw)) < 1_000


def test_metadata_of_a_write_that_cannot_be_read_is_left_to_the_watch(experiment_object: dict[str, Any]) -> None:
    left_out = LeftOut()
    cache = Cache(left_out)
    cache.put(EXPERIMENTS, at(experiment_object, 1))
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    for metadata in ({}, None, {"uid": "exp-1", "resourceVersion": "9" * 5_000, "namespace": "ns", "name": "nuclei"}):
        cache.put_status(metadata, found, found.status.model_copy(update={"restarts": 9}))  # type: ignore[arg-type]
    assert cache.experiment("ns", "nuclei") is found
    assert left_out[-1][:3] == ("maskrcnnexperiments", "ns", "nuclei")


def test_answer_to_a_status_write_does_not_replace_a_newer_state(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 1))
    written = cache.experiment("ns", "nuclei")
    assert written is not None
    cache.put(EXPERIMENTS, at(experiment_object, 3, generation=2))
    cache.put_status(at(experiment_object, 2)["metadata"], written, written.status)
    found = cache.experiment("ns", "nuclei")
    assert found is not None
    assert (found.metadata.resource_version, found.metadata.generation) == ("3", 2)


def test_an_object_whose_label_changes_leaves_its_experiment() -> None:
    cache = Cache()
    cache.put(PODS, pod("p1", 5, "j1", "Running"))
    moved = pod("p1", 6, "j1", "Running")
    moved["metadata"]["labels"]["maskrcnn.dev/experiment"] = "other"
    assert cache.put(PODS, moved) == Key("ns", "other")
    assert cache.pods_of(*KEY) == []
    cache.drop(PODS, "p1")
    assert (cache.pods_of(*KEY), cache.keys()) == ([], set())


def test_response_to_a_progress_write_is_reported_only_for_an_edit(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 1))
    progress = {"step": "train", "fraction": "0.5"}
    assert cache.put_progress({**at(experiment_object, 2), "status": {"progress": progress}}) is None
    edited = at(experiment_object, 3, generation=2)
    assert cache.put_progress(edited) == KEY
    # the watch delivers the edit when it is known already
    assert cache.put(EXPERIMENTS, edited) is None
    deleted = at(experiment_object, 4, generation=2, deletionTimestamp="2026-11-22T12:00:00Z")
    assert cache.put_progress(deleted) == KEY


def test_progress_write_is_reported_when_a_checkpoint_begins_or_ceases_to_wait(
    experiment_object: dict[str, Any],
) -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, at(experiment_object, 1))

    def written(version: int, **progress: Any) -> Key | None:
        status = {"progress": {"step": "train", **progress}}
        return cache.put_progress({**at(experiment_object, version), "status": status})

    def waits(since: str, step: str = "train") -> dict[str, Any]:
        return {"unpublished": [{"step": step, "attempt": 1, "since": since}]}

    waiting = waits("2026-11-22T12:00:00Z")
    assert written(2, **waiting) == KEY
    assert written(3, **waiting, iteration=5) is None
    assert written(4, **waits("2026-11-22T12:05:00Z")) == KEY
    assert written(5, **waits("2026-11-22T12:05:00Z", "retrain")) == KEY
    assert written(6) == KEY


def test_removed_progress_is_not_reported_although_a_checkpoint_waited(experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    wait = {"step": "train", "attempt": 1, "since": "2026-11-22T12:00:00Z"}
    waiting = {"progress": {"step": "train", "unpublished": [wait]}}
    cache.put(EXPERIMENTS, {**at(experiment_object, 1), "status": waiting})
    assert cache.put_progress(at(experiment_object, 2)) is None


def test_an_object_whose_label_went_and_came_back_is_known_again() -> None:
    cache = Cache()
    cache.put(JOBS, job("j1", 5))
    cache.put(PODS, pod("p0", 6, "j1", "Running"))
    assert cache.drop(PODS, "p0", 10) == KEY
    assert cache.put(PODS, pod("p0", 10, "j1", "Running")) is None
    assert cache.lacks(PODS, "p0", 11)
    assert cache.put(PODS, pod("p0", 11, "j1", "Running")) == KEY
    # a late event about an earlier state
    assert cache.drop(PODS, "p0", 10) is None
    assert cache.pod("p0") is not None


def test_object_missing_in_a_list_may_come_back() -> None:
    cache = Cache()
    cache.put(PODS, pod("p0", 6, "j1", "Running"))
    assert cache.retain(PODS, None, set(), 10) == {KEY}
    assert cache.put(PODS, pod("p0", 11, "j1", "Running")) == KEY


def test_kept_deleted_pods_are_bounded_in_each_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_operator.cluster.cache._KEPT_PODS", 3)
    cache = Cache()
    cache.put(JOBS, job("j1", 1))
    for number in range(9):
        cache.put(PODS, pod(f"p{number}", 10 + number, "j1", "Failed"))
        cache.drop(PODS, f"p{number}", 10 + number)
    assert sorted(found.uid for found in cache.pods_of("ns", "nuclei")) == ["p6", "p7", "p8"]
    cache.drop(JOBS, "j1")
    assert cache.keys() == set()
