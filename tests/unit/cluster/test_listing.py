"""Full lists, and errors made from responses."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import _error_of
from maskrcnn_operator.cluster.errors import ApiError, Conflict, Gone, NotFound, TooManyRequests
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.listing import forget_namespace, list_namespace
from maskrcnn_operator.cluster.paging import METADATA_ONLY
from maskrcnn_operator.cluster.resources import CLAIMS, EXPERIMENTS, JOBS, LEASES, PODS, TOKEN_REVIEWS


def named(experiment_object: dict[str, Any], name: str, **metadata: Any) -> dict[str, Any]:
    return {**experiment_object, "metadata": {"name": name, "generation": 1, **metadata}}


def job_of(name: str) -> dict[str, Any]:
    labels = {"maskrcnn.dev/experiment": "e0", "maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "1"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"template": {"spec": {"containers": []}}}}


async def listed(server: FakeServer, cache: Cache, namespace: str | None = None, *, compare: bool = False) -> set[Key]:
    """List a namespace; return the keys that changed."""
    changed: set[Key] = set()
    await list_namespace(server, cache, namespace, changed, compare=compare)  # type: ignore[arg-type]
    return changed


async def test_list_completes_the_cache(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    for number in range(5):
        server.add(EXPERIMENTS, "ns", named(experiment_object, f"e{number}"))
    gone = server.add(EXPERIMENTS, "ns", named(experiment_object, "gone"))
    cache.put(EXPERIMENTS, server.objects.pop(("maskrcnnexperiments", "ns", "gone")))
    assert await listed(server, cache) == {Key("ns", name) for name in ("e0", "e1", "e2", "e3", "e4", "gone")}
    assert gone["metadata"]["uid"] not in {found.metadata.uid for found in cache.experiments()}
    assert await listed(server, cache, "ns") == set()


async def test_list_returns_the_version_of_each_kind(server: FakeServer) -> None:
    versions = await list_namespace(server, Cache(), None, set())  # type: ignore[arg-type]
    assert list(versions) == [JOBS, PODS, EXPERIMENTS]
    assert sorted(versions.values()) == list(versions.values())


@pytest.mark.parametrize("compare", [False, True])
async def test_expired_pages_start_the_list_again(
    server: FakeServer, experiment_object: dict[str, Any], compare: bool
) -> None:
    cache = Cache()
    for number in range(5):
        server.add(EXPERIMENTS, "ns", named(experiment_object, f"e{number}"))
    server.fail["continue", "maskrcnnexperiments"] = [Gone(410, "Expired", "too old")]
    await listed(server, cache, compare=compare)
    assert len(cache.experiments()) == 5


async def test_failed_list_of_pods_leaves_experiments_unknown(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    """An experiment whose pods are unknown must not be reconciled, since it would seem to have none."""
    cache = Cache()
    server.add(EXPERIMENTS, "ns", experiment_object)
    server.fail["list", "pods"] = [ApiError(500, "InternalError", "no")]
    with pytest.raises(ApiError):
        await listed(server, cache)
    assert cache.experiments() == []


async def test_failed_list_keeps_the_keys_that_it_has_changed(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    cache, changed = Cache(), set[Key]()
    for number in range(3):
        server.add(EXPERIMENTS, "ns", named(experiment_object, f"e{number}"))
    server.fail["continue", "maskrcnnexperiments"] = [ApiError(500, "InternalError", "no")]
    with pytest.raises(ApiError):
        await list_namespace(server, cache, None, changed)  # type: ignore[arg-type]
    assert changed == {Key("ns", "e0"), Key("ns", "e1")}


async def test_comparison_reads_only_changed_objects(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    for number in range(30):
        server.add(EXPERIMENTS, "ns", named(experiment_object, f"e{number}"))
    server.add(JOBS, "ns", job_of("j"))
    await listed(server, cache)
    server.reads.clear()
    assert await listed(server, cache, compare=True) == set()
    assert {verb for verb, _, _ in server.reads} == {"list metadata"}

    server.reads.clear()
    server.add(EXPERIMENTS, "ns", named(experiment_object, "e1", uid=server.uid("e1"), generation=2))
    server.add(EXPERIMENTS, "ns", named(experiment_object, "new"))
    del server.objects["jobs", "ns", "j"], server.objects["maskrcnnexperiments", "ns", "e2"]
    assert await listed(server, cache, compare=True) == {Key("ns", name) for name in ("e0", "e1", "e2", "new")}
    assert sorted(str(name) for verb, _, name in server.reads if verb == "find") == ["e1", "new"]
    assert "list" not in {verb for verb, _, _ in server.reads}
    assert cache.experiment("ns", "e2") is None
    assert cache.jobs_of("ns", "e0") == []
    found = cache.experiment("ns", "e1")
    assert found is not None
    assert found.metadata.generation == 2


async def test_comparison_reads_all_if_many_objects_changed(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    cache = Cache()
    for number in range(30):
        server.add(EXPERIMENTS, "ns", named(experiment_object, f"e{number}"))
    assert len(await listed(server, cache, compare=True)) == 30
    assert [verb for verb, plural, _ in server.reads if plural == EXPERIMENTS.plural] == ["list metadata", "list"]


async def test_object_deleted_during_a_comparison_is_skipped(
    server: FakeServer, experiment_object: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache()
    server.add(EXPERIMENTS, "ns", named(experiment_object, "e0"))

    async def gone(*_: Any) -> None:
        return None

    monkeypatch.setattr(server, "find", gone)
    assert await listed(server, cache, compare=True) == set()


async def test_undecodable_experiment_is_known_with_its_problem(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    """Otherwise, its status would never report the problem."""
    unreadable: list[tuple[str, str, str]] = []
    cache = Cache(lambda resource, namespace, name, error: unreadable.append((resource.plural, namespace, name)))
    partial: dict[str, Any] = {
        "kind": METADATA_ONLY,
        "metadata": {"name": "deep", "generation": 1, "annotations": {"a": "b"}},
    }
    server.add(EXPERIMENTS, "ns", partial)
    server.add(EXPERIMENTS, "ns", named(experiment_object, "fine"))
    assert await listed(server, cache) == {Key("ns", "deep"), Key("ns", "fine")}
    assert unreadable == [("maskrcnnexperiments", "ns", "deep")]
    entry = cache.entry(Key("ns", "deep"))
    assert entry is not None
    assert entry.experiment is None
    assert [problem.reason for problem in entry.problems] == ["InvalidSpec"]
    assert entry.raw is not None
    assert "annotations" not in entry.raw["metadata"]
    # a write of its status makes a new version, which must not cause another write
    server.add(EXPERIMENTS, "ns", {**partial, "metadata": {**partial["metadata"], "uid": entry.uid}})
    assert await listed(server, cache) == set()
    assert cache.experiment("ns", "fine") is not None


async def test_undecodable_pod_is_skipped_and_named(server: FakeServer) -> None:
    named: list[tuple[str, str, str]] = []
    cache = Cache(lambda resource, namespace, name, error: named.append((resource.plural, namespace, name)))
    labels = {"maskrcnn.dev/experiment": "e0"}
    server.add(PODS, "ns", {"kind": METADATA_ONLY, "metadata": {"name": "deep", "labels": labels}})
    assert await listed(server, cache) == set()
    assert cache.pods_of("ns", "e0") == []
    assert named == [("pods", "ns", "deep")]


async def test_objects_of_a_deleted_namespace_are_dropped(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    cache = Cache()
    for namespace in ("ns", "other"):
        server.add(EXPERIMENTS, namespace, named(experiment_object, "e0"))
        server.add(JOBS, namespace, {**job_of("j"), "metadata": {**job_of("j")["metadata"], "uid": f"j-{namespace}"}})
        owner = {"kind": "Job", "uid": f"j-{namespace}", "controller": True}
        pod = job_of("p")
        server.add(
            PODS,
            namespace,
            {**pod, "metadata": {**pod["metadata"], "ownerReferences": [owner]}, "status": {"phase": "Succeeded"}},
        )
    await listed(server, cache)
    assert forget_namespace(cache, "ns") == {Key("ns", "e0")}
    assert cache.keys() == {Key("other", "e0")}
    assert cache.pods_of("other", "e0") != []


def test_paths() -> None:
    assert (
        EXPERIMENTS.path("ns", "x", "status")
        == "/apis/maskrcnn.dev/v1alpha1/namespaces/ns/maskrcnnexperiments/x/status"
    )
    assert EXPERIMENTS.path() == "/apis/maskrcnn.dev/v1alpha1/maskrcnnexperiments"
    assert JOBS.path("ns") == "/apis/batch/v1/namespaces/ns/jobs"
    assert CLAIMS.path("ns", "data") == "/api/v1/namespaces/ns/persistentvolumeclaims/data"
    assert LEASES.path("ns", "x") == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/x"
    assert TOKEN_REVIEWS.path() == "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (409, Conflict), (410, Gone), (429, TooManyRequests), (500, ApiError)]
)
def test_an_answer_is_an_error_of_its_kind(status: int, kind: type[ApiError]) -> None:
    error = _error_of(status, b'{"reason": "Word", "message": "text", "details": {"retryAfterSeconds": 3}}', None)
    assert type(error) is kind
    assert (error.status, error.reason, error.message, error.retry_after) == (status, "Word", "text", 3)
    assert str(error) == f"{status} Word: text"


def test_error_response_that_is_not_json_is_an_error() -> None:
    error = _error_of(502, b"<html>bad gateway</html>", 7.0)
    assert (error.status, error.retry_after) == (502, 7.0)
    assert "bad gateway" in error.message
