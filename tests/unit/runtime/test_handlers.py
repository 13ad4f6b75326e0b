"""Handling of watch events with any content."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENT_LABEL, EXPERIMENTS, JOBS, PODS, Resource
from maskrcnn_operator.runtime.handlers import make_handler


class Ears:
    """Handler of one operator, its cache, and the keys that it was called with."""

    def __init__(self) -> None:
        self.cache, self.keys = Cache(), list[Key]()
        self.handle = make_handler(self.cache, self.keys.append)

    def hear(self, kind: str | None, item: dict[str, Any], resource: Resource = JOBS) -> None:
        self.handle(resource, {"type": kind, "object": item})


def job(version: int, **metadata: Any) -> dict[str, Any]:
    labels = {EXPERIMENT_LABEL: "nuclei", "maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "1"}
    own = {"name": "j", "namespace": "ns", "uid": "j-1", "resourceVersion": str(version), "labels": labels}
    return {"metadata": {**own, **metadata}, "spec": {}, "status": {}}


@pytest.fixture
def ears() -> Ears:
    return Ears()


def test_deleted_object_is_forgotten(ears: Ears) -> None:
    ears.hear("ADDED", job(5))
    ears.hear("DELETED", job(9))
    assert ears.cache.jobs_of("ns", "nuclei") == []
    assert ears.keys == [Key("ns", "nuclei")] * 2


def test_object_that_is_labeled_again_comes_back(ears: Ears) -> None:
    """A watch with a selector sends DELETED when an object's label is removed."""
    ears.hear("ADDED", job(5))
    ears.hear("DELETED", job(9))
    ears.hear("ADDED", job(11))
    assert len(ears.cache.jobs_of("ns", "nuclei")) == 1


def test_old_event_is_not_reported(ears: Ears) -> None:
    ears.hear("MODIFIED", job(9))
    ears.hear("MODIFIED", job(5))
    assert ears.keys == [Key("ns", "nuclei")]


HOSTILE_EVENTS: list[Any] = [
    None,
    5,
    "ADDED",
    [],
    {},
    {"type": "ADDED"},
    {"object": None},
    {"type": "ADDED", "object": []},
    {"type": "ADDED", "object": {}},
    {"type": "ADDED", "object": {"metadata": None}},
    {"type": "ADDED", "object": {"metadata": []}},
    {"type": "DELETED", "object": {"metadata": {"name": "j"}}},
    {"type": "DELETED", "object": {"metadata": {"uid": 5}}},
    {"type": ["ADDED"], "object": {"metadata": {"uid": "j-1"}}},
    {"object": {"metadata": {"uid": "j-1", "resourceVersion": "x"}}},
    {"type": "DELETED", "object": {"metadata": {"uid": "j-1", "resourceVersion": "9" * 5000}}},
    {"type": "MODIFIED", "object": job(7, labels=5)},
    {"type": "MODIFIED", "object": job(7, name=None)},
    {"type": "MODIFIED", "object": {**job(7), "spec": 5}},
    {"type": "MODIFIED", "object": {**job(7), "status": []}},
]


@pytest.mark.parametrize("resource", [EXPERIMENTS, JOBS, PODS])
@pytest.mark.parametrize("hostile", HOSTILE_EVENTS)
def test_hostile_event_raises_nothing(ears: Ears, resource: Resource, hostile: Any) -> None:
    ears.handle(resource, hostile)
    ears.hear("ADDED", job(8, uid="j-2", name="k"))
    assert ears.keys[-1] == Key("ns", "nuclei")


def test_unreadable_last_state_does_not_keep_a_deleted_object(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    ears.hear("ADDED", job(5))

    def put(*_: Any) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(ears.cache, "put", put)
    ears.hear("DELETED", job(9))
    assert ears.cache.jobs_of("ns", "nuclei") == []


def test_skipped_event_is_logged(ears: Ears, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ears.handle(PODS, {"type": "ADDED", "object": {}})
    assert "Skipped a watch event of pods: it has no object with a uid" in caplog.text
