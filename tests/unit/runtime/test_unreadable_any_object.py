"""No object makes the cache, decisions, progress, or metrics raise an exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from tests.unit.accepted import refused
from tests.unit.jobs.conftest import MANIFEST, UID, job_object, pod_object

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.cluster.cache import Cache, ExperimentEntry
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, Resource
from maskrcnn_operator.core.conditions import conditions
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.progress import progress_of
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.summary import invalid
from maskrcnn_operator.jobs.causes import cause_of, due_at, subjects
from maskrcnn_operator.jobs.config import JobConfig, run_name
from maskrcnn_operator.jobs.manifests import job_manifest
from maskrcnn_operator.jobs.observe import missing_jobs, observe
from maskrcnn_operator.jobs.parse import event_view, job_view, pod_view
from maskrcnn_operator.metrics.experiments import ExperimentCollector
from maskrcnn_operator.progress_endpoint.authorize import Peer, authorize, current_grant, peer_of
from maskrcnn_operator.progress_endpoint.refusal import Refused, ReportRefusal
from maskrcnn_operator.progress_endpoint.report import Report, parse_report
from maskrcnn_operator.runtime.unreadable import UnreadableObjects

Object = dict[str, Any]
Path = tuple[str | int, ...]

NOW = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)
SETTINGS = Settings(default_image="trainer:1", run_name=run_name)
KINDS = (EXPERIMENTS, JOBS, PODS)

WORD: Object = {
    "version": 1, "task": "convert", "code": 0, "fingerprint": "", "attempt": 1, "modelPath": "/workspace/m.tlt",
    "metrics": {"AP": 0.377, "mask_AP": 0.3}, "artifacts": {"model": {"path": "/workspace/m.tlt", "bytes": 123}},
    "checkpointStep": 120000,
}  # fmt: skip


def deep(levels: int) -> Object:
    found: Object = {"a": 1}
    for _ in range(levels):
        found = {"a": found}
    return found


def hostile_word(field: str, value: str) -> str:
    """Return a termination message whose ``field`` is a piece of JSON that Python would not write."""
    return json.dumps(WORD | {field: "HERE"}).replace('"HERE"', value)


# fmt: off
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, True, 7.5, 2**31, 2**53, 2**62, 2**63, 10**30, 10**400, 10**5000, 1e300, float("inf"), float("nan"),
)
TIMES: tuple[Any, ...] = (
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00",
    "2026-13-45T00:00:00Z", "2026-11-22T12:59:59Z", "soon",
)
TEXTS: tuple[Any, ...] = (
    "", "x", "other", "True", "7", "-1", "9" * 9, "9" * 30, "9" * 5000, "1²", "\udce9", "\x00\x1b[31m", "a" * 70_000,
    "ü" * 40_000, "\ud800" * 40_000, [], {}, None, *TIMES, "/", "/workspace/nuclei/convert-train/[z-a][!*\x00{?",
)
PARTS: tuple[Any, ...] = (
    None, 7, True, "x", [], {}, [7], ["x"], [[]], [{}], [None], {"a": None}, {"": ""}, {"\udce9": "\udce9"},
    {"type": 7, "status": "True"}, [{"type": [], "status": "True"}], {str(number): "x" for number in range(2_000)},
    [{"type": "Failed", "status": "True", "reason": [], "message": {}, "lastTransitionTime": 7}],
    deep(90), deep(300), deep(5_000), [deep(5_000)],
)
WORDS: tuple[Any, ...] = (
    "[" * 3_000, '{"code":1e999}', '{"code":0,"fingerprint":7}', '{"code":0}', "null", "\udce9", "\udce9" * 9_000,
    hostile_word("checkpointStep", "1e300"), hostile_word("checkpointStep", "9" * 30), hostile_word("code", "9" * 3000),
    hostile_word("artifacts", '{"a":{"path":"/x","bytes":1000000000000000000000}}'),
    hostile_word("metrics", '{"\\udce9":1,"\\udcea":2,"x":NaN,"y":1e999,"z":' + "9" * 400 + "}"),
    hostile_word("error", '{"reason":"\\udce9","message":"\\udce9"}').replace('"code": 0', '"code": 64'),
)
ANYTHING = (*NUMBERS, *TEXTS, *PARTS, *WORDS)
# fmt: on


def hostile_to(value: object) -> tuple[Any, ...]:
    """Return values that resemble ``value``: they pass more checks than others in its place."""
    if isinstance(value, dict | list):
        return PARTS
    if isinstance(value, str):
        return WORDS if value.startswith("{") else TIMES if value.startswith("2026-") else TEXTS
    return NUMBERS


def experiment_object() -> Object:
    """Return the nine-step experiment with all fields: two conversions have just ended, and the training runs."""
    item = copy.deepcopy(MANIFEST)
    item["metadata"] |= {
        "namespace": "lab", "uid": UID, "generation": 1, "resourceVersion": "5",
        "creationTimestamp": "2026-11-22T12:00:00Z", "labels": {"team": "a"}, "annotations": {"note": "x"},
        "managedFields": [{"manager": "kubectl"}], "finalizers": ["example.com/wait"],
    }  # fmt: skip
    item["spec"] |= {
        "activeDeadlineSeconds": 86400, "preRunningDeadlineSeconds": 600, "ttlSecondsAfterFinished": 600,
        "podOverrides": {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}],
            "labels": {"team": "a"}, "annotations": {"note": "x"}, "nodeSelector": {"gpu": "h100"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}], "volumes": [{"name": "data", "emptyDir": {}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}], "terminationGracePeriodSeconds": 60,
        },
    }  # fmt: skip
    item["spec"]["steps"][0] |= {
        "image": "convert:1", "activeDeadlineSeconds": 600,
        "podOverrides": {"affinity": {}, "env": [{"name": "A", "value": "2"}], "volumes": [{"name": "data"}]},
    }  # fmt: skip
    experiment = read_object(item)
    desired = resolve(experiment)
    steps = []
    for step in experiment.spec.steps:
        status: Object = {"name": step.name, "state": "Pending", "fingerprint": desired.fingerprint(step.name)}
        if step.name in ("convert-train", "convert-val", "train"):
            status |= {
                "state": "Running", "reason": "Training", "message": "x", "attempt": 1, "restarts": 1, "disruptions": 1,
                "jobName": f"nuclei-{step.name}-1-abcde", "image": "trainer:1", "startTime": "2026-11-22T12:01:00Z",
                "checkpointStep": 5, "exitCode": 1,
            }  # fmt: skip
        steps.append(status)
    condition = {
        "type": "Ready", "status": "False", "reason": "Running", "message": "x", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }  # fmt: skip
    item["status"] = {
        "steps": steps, "conditions": [condition], "restarts": 3,
        "observedGeneration": 1, "currentStep": "train", "activeSince": "2026-11-22T12:02:00Z", "activeSeconds": 40,
        "startTime": "2026-11-22T12:01:00Z", "metrics": [{"name": "AP", "value": "0.3"}],
        "progress": {
            "step": "train", "iteration": 500, "totalIterations": 1000, "percentage": 50, "checkpointStep": 400,
            "eta": "0:10:00", "metrics": [{"name": "loss", "value": "0.6"}], "lastUpdatedTime": "2026-11-22T12:04:00Z",
        },
    }  # fmt: skip
    return item


def versioned(item: Object, version: int) -> Object:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": str(version)}}


EXPERIMENT = experiment_object()
PRINTS = {step["name"]: step["fingerprint"] for step in EXPERIMENT["status"]["steps"]}


def said(step: str, **more: Any) -> str:
    return json.dumps(WORD | {"fingerprint": PRINTS[step]} | more)


ERROR = {"reason": "InvalidData", "message": "no image"}
JOB_OBJECTS = (
    job_object(nodes=2, queue="gpus"),
    job_object("convert-train", complete=60),
    job_object("convert-val", failed=("PodFailurePolicy", "condition DisruptionTarget"), deleted=70),
    job_object("evaluate", suspend=True),
)
POD_OBJECTS = (
    pod_object(),
    pod_object(index=1, phase="Pending", waiting=("ImagePullBackOff", "not found")),
    pod_object("convert-train", phase="Succeeded", code=0, said=said("convert-train")),
    pod_object("convert-val", phase="Failed", code=64, said=said("convert-val", code=64, error=ERROR)),
    pod_object("prune", phase="Pending", unschedulable="0/3 nodes", pod_reason=("Evicted", "low"), job="gone"),
    pod_object("export", phase="Failed", code=1, said="Killed\n", job="gone", deleted=70, disrupted=True),
)
EVENT: Object = {
    "metadata": {"name": "x"}, "involvedObject": {"uid": "u"}, "type": "Warning", "reason": "FailedMount",
    "message": "secret absent", "count": 3, "firstTimestamp": "2026-11-22T12:01:00Z",
    "lastTimestamp": "2026-11-22T12:02:00Z", "eventTime": "2026-11-22T12:01:00.000000Z",
    "series": {"count": 2, "lastObservedTime": "2026-11-22T12:03:00.000000Z"},
}  # fmt: skip
VALID: tuple[tuple[Resource, Object], ...] = (
    (EXPERIMENTS, EXPERIMENT),
    *((JOBS, versioned(item, 5)) for item in JOB_OBJECTS),
    *((PODS, versioned(item, 5)) for item in POD_OBJECTS),
)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all values below the root of a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from paths(item, (*path, key))


def at(item: Any, path: Path) -> Any:
    for key in path:
        item = item[key]
    return item


def places(item: Object) -> list[tuple[list[Path], tuple[Any, ...]]]:
    """Return the paths of an object, grouped by the values that are hostile to them, with these values."""
    found: dict[int, tuple[list[Path], tuple[Any, ...]]] = {}
    for path in paths(item):
        values = hostile_to(at(item, path))
        found.setdefault(id(values), ([], values))[0].append(path)
    return list(found.values())


PLACES = [places(item) for _, item in VALID]


def change(item: Object, path: Path, value: Any, how: int) -> None:
    """Replace a value by a hostile one, add a hostile one next to it, or remove it."""
    try:
        part = at(item, path[:-1])
        if how == 0:
            del part[path[-1]]
        elif how > 1:
            part[path[-1]] = value
        elif isinstance(part, list):
            part.append(value)
        else:
            part["deletionTimestamp" if path[0] == "metadata" else "\udce9"] = value
    except (LookupError, TypeError, AttributeError):
        pass  # an earlier change has removed the place


@st.composite
def hostile_objects(draw: st.DrawFn, which: int) -> Object:
    """Return a valid object with one or two changes."""
    found = copy.deepcopy(VALID[which][1])
    for _ in range(draw(st.integers(1, 2))):
        where, values = draw(st.sampled_from(PLACES[which]))
        values = ANYTHING if draw(st.integers(0, 4)) == 0 else values
        value = values[draw(st.integers(0, len(values) - 1))]
        change(found, draw(st.sampled_from(where)), value, draw(st.integers(0, 9)))
    return found


# most objects of a cluster should be valid: otherwise nothing would be decided from the invalid ones
CLUSTERS = st.tuples(*(st.none() | hostile_objects(which) for which in range(len(VALID))))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(("True", "7")),
    lambda inside: st.lists(inside, max_size=4)
    | st.dictionaries(
        st.sampled_from(("metadata", "spec", "status", "uid", "name", "namespace", "resourceVersion", "labels",
                         "conditions", "steps", "state", "containerStatuses", "ownerReferences", "podOverrides")),
        inside,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


def check_status(status: Object) -> None:
    """Check that the API server accepts a status."""
    status.pop("progress", None)
    assert list(refused(status)) == []
    assert len(json.dumps(status, allow_nan=False)) < 1_000_000


def look(cache: Cache) -> None:
    """Make all decisions for each experiment, and check the status and Jobs that would be written."""
    for key in sorted(cache.keys()):
        entry = cache.entry(key)
        if entry is None:
            continue
        if entry.experiment is None:
            look_at_unreadable(entry)
            continue
        experiment, jobs, pods = entry.experiment, cache.jobs_of(*key), cache.pods_of(*key)
        missing_jobs(experiment, jobs)
        seen = observe(experiment, jobs, pods, NOW)
        plan = reconcile(experiment, seen.runs, NOW, SETTINGS, cache.desired(experiment), lingering=seen.lingering)
        check_status(plan.status.to_json())
        for event in plan.events:
            event.message.encode()
        for start in plan.start:
            json.dumps(job_manifest(experiment, start, JobConfig()), allow_nan=False)
        cache.put_status({"uid": experiment.metadata.uid, "resourceVersion": "9"}, experiment, plan.status)


def look_at_unreadable(entry: ExperimentEntry) -> None:
    assert entry.problems
    told = conditions(invalid(entry.problems), (), entry.generation, NOW)
    check_status({"conditions": [condition.to_json() for condition in told]})


def report(cache: Cache, record: Object) -> None:
    """Authorize a report of each pod, and check the progress that would be written."""
    said = Report(experiment_uid=UID, attempt=1, fingerprint=None, record=record)
    for key in sorted(cache.keys()):
        for pod in cache.pods_of(*key):
            job = cache.job(pod.job_uid)
            experiment = cache.experiment(job.namespace, job.experiment) if job else None
            grant = authorize(Peer(pod.namespace, pod.name, pod.uid), said, pod, job, experiment)
            if not isinstance(grant, ReportRefusal) and experiment is not None and current_grant(experiment) == grant:
                progress = progress_of(grant.step, said.record, experiment.status.progress, NOW)
                assert progress is None or list(refused({"progress": progress.to_json()})) == []


def export(cache: Cache) -> None:
    """Export the experiments' metrics."""
    generate_latest(ExperimentCollector(cache, lambda: True, 10))  # type: ignore[arg-type]


RECORDS = st.fixed_dictionaries({
    "step": st.integers(0, len(NUMBERS) - 1).map(NUMBERS.__getitem__),
    "total_steps": st.sampled_from((1000, 0)),
    "eta": st.integers(0, len(TEXTS) - 1).map(TEXTS.__getitem__),
    "kpi": st.integers(0, len(NUMBERS) - 1).map(lambda which: {"AP": NUMBERS[which], "\udce9": 1}),
})  # fmt: skip

# an example has several objects, some of them large, so a failure is reproduced by its seed and not shrunk
BIG = settings(suppress_health_check=list(HealthCheck), report_multiple_bugs=False)


@settings(BIG, max_examples=300)
@given(CLUSTERS, RECORDS, st.booleans())
def test_objects_with_hostile_values_anywhere(objects: tuple[Object | None, ...], record: Object, known: bool) -> None:
    cache = Cache(UnreadableObjects())
    for (resource, valid), hostile in zip(VALID, objects, strict=True):
        if hostile is None or known:
            cache.put(resource, versioned(valid, 1))
        if hostile is not None:
            cache.put(resource, hostile)
    for _ in range(2):
        look(cache)
        report(cache, record)
        export(cache)
    for resource in KINDS:
        cache.retain(resource, None, set(), 10**30)
    look(cache)


def each_change(item: Object, root: Path, kinds: tuple[tuple[Any, ...], ...]) -> Iterator[Object]:
    """Yield the object with one change, for each place below ``root`` and each value that is hostile to it."""
    for path in paths(at(item, root), root):
        values = hostile_to(at(item, path))
        for value in values if any(values is kind for kind in kinds) else ():
            found = copy.deepcopy(item)
            change(found, path, value, 9)
            yield found


def test_each_number_and_time_of_a_status() -> None:
    cache = Cache()
    cache.put(EXPERIMENTS, EXPERIMENT)
    for version, hostile in enumerate(each_change(EXPERIMENT, ("status",), (NUMBERS, TIMES)), 10):
        assert cache.put(EXPERIMENTS, versioned(hostile, version)) is not None
        look(cache)
    export(cache)


def test_each_value_of_a_job_and_of_a_pod() -> None:
    for resource, valid in VALID[1:]:
        view = job_view if resource is JOBS else pod_view
        for hostile in each_change(valid, (), (NUMBERS, TIMES, TEXTS, PARTS, WORDS)):
            check_view(view(hostile))


def test_each_value_of_an_event() -> None:
    job, pod = job_view(JOB_OBJECTS[0]), pod_view(pod_object(phase="Pending", waiting=("ContainerCreating", "")))
    about = subjects(job, [pod])
    assert about
    for hostile in each_change(EVENT, (), (NUMBERS, TIMES, TEXTS, PARTS, WORDS)):
        check_view(event_view(hostile))
        for subject in about:
            cause = cause_of(subject, [hostile, EVENT], NOW)
            check_view(cause)
            assert due_at(subject, cause) > NOW


def check_view(view: Any) -> None:
    """Check that texts can be written and are bounded, numbers have 32 bits, and times allow calculations."""
    for name in view.__slots__:
        value = getattr(view, name)
        if isinstance(value, str):
            assert len(value.encode()) <= 4 * 4_096, name
        elif isinstance(value, int):
            assert abs(value) < 2**31, name
        elif isinstance(value, datetime):
            assert value.utcoffset() == timedelta(), name
            assert 1970 <= value.year <= 3000, name
        else:
            assert value is None or isinstance(value, tuple), name
            for part in value or ():
                check_view(part)


@pytest.mark.parametrize("word", range(len(WORDS)))
@pytest.mark.parametrize("step", ["convert-train", "convert-val"])
def test_every_termination_message_of_a_pod_is_handled(word: int, step: str) -> None:
    cache = Cache()
    for resource, valid in VALID:
        found = copy.deepcopy(valid)
        if resource is PODS and found["metadata"]["labels"]["maskrcnn.dev/step"] == step:
            ended = found["status"]["containerStatuses"][1]["state"]["terminated"]
            ended["message"] = WORDS[word].replace('"fingerprint": ""', f'"fingerprint": "{PRINTS[step]}"')
        cache.put(resource, found)
    look(cache)
    look(cache)


@settings(BIG, max_examples=100)
@given(ANY_JSON)
def test_any_json(value: Any) -> None:
    cache = Cache(UnreadableObjects())
    for resource in KINDS:
        cache.put(resource, value)
    cache.replace(PODS, [value])
    job_view(value)
    pod_view(value)
    look(cache)
    export(cache)
    if isinstance(value, dict):
        peer_of(value)
    with suppress(Refused):
        parse_report(json.dumps(value).encode())


def test_valid_objects_lead_to_decisions() -> None:
    cache = Cache()
    for resource, valid in VALID:
        cache.put(resource, valid)
    look(cache)
    (key,) = cache.keys()
    experiment = cache.experiment(*key)
    assert experiment is not None
    assert {step.name: step.state.value for step in experiment.status.steps[:3]} == {
        "convert-train": "Succeeded",
        "convert-val": "Failed",
        "train": "Starting",
    }
