"""Events: posted after the status, repeats counted, floods limited."""

from __future__ import annotations

from typing import Any

from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.events import BURST, EventRecorder
from maskrcnn_operator.cluster.resources import EVENTS
from maskrcnn_operator.core.plan import Event

STARTED = Event("Normal", "StepStarted", "step train: attempt 1")


def experiment(value: dict[str, Any]) -> MaskRCNNExperiment:
    value["metadata"]["namespace"] = "ns"
    return read_object(value)


def posted(server: FakeServer) -> list[dict[str, Any]]:
    return [item for (plural, _, _), item in server.objects.items() if plural == EVENTS.plural]


async def test_event_names_its_experiment(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    recorder = EventRecorder(server, "pod-1")  # type: ignore[arg-type]
    recorder.record(experiment(experiment_object), (STARTED,))
    assert posted(server) == []
    await recorder.flush()
    [event] = posted(server)
    assert (event["type"], event["reason"], event["note"]) == ("Normal", "StepStarted", "step train: attempt 1")
    assert event["regarding"]["uid"] == "exp-1"
    assert event["reportingInstance"] == "pod-1"
    assert event["eventTime"].endswith("Z")
    assert "series" not in event


async def test_repeats_are_counted_on_one_object(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    recorder = EventRecorder(server, "pod-1")  # type: ignore[arg-type]
    about = experiment(experiment_object)
    recorder.record(about, (STARTED, Event("Normal", "StepStarted", "step train: attempt 2"), STARTED, STARTED))
    await recorder.flush()
    first, second = posted(server)
    assert first["series"]["count"] == 3
    assert "series" not in second


async def test_series_whose_object_has_expired_starts_again(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    recorder = EventRecorder(server, "pod-1")  # type: ignore[arg-type]
    about = experiment(experiment_object)
    recorder.record(about, (STARTED,))
    await recorder.flush()
    server.objects.clear()
    recorder.record(about, (STARTED,))
    await recorder.flush()
    [event] = posted(server)
    assert "series" not in event


async def test_series_whose_object_another_client_has_changed_starts_again(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    recorder = EventRecorder(server, "pod-1")  # type: ignore[arg-type]
    about = experiment(experiment_object)
    recorder.record(about, (STARTED,))
    await recorder.flush()
    [event] = posted(server)
    server.add(EVENTS, "ns", event)
    recorder.record(about, (STARTED,))
    await recorder.flush()
    assert ["series" in event for event in posted(server)] == [False, False]


async def test_a_flood_is_cut(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    recorder = EventRecorder(server, "pod-1")  # type: ignore[arg-type]
    about = experiment(experiment_object)
    recorder.record(about, tuple(Event("Normal", "StepStarted", f"attempt {number}") for number in range(100)))
    await recorder.flush()
    assert len(posted(server)) == BURST


async def test_event_that_cannot_be_posted_is_dropped(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    recorder = EventRecorder(server, "pod-1")  # type: ignore[arg-type]
    server.fail["create", "events"] = [ApiError(403, "Forbidden", "no")]
    recorder.record(experiment(experiment_object), (STARTED, Event("Warning", "Failed", "x" * 5000)))
    await recorder.flush()
    [event] = posted(server)
    assert event["reason"] == "Failed"
    assert len(event["note"]) == 1024
