"""Reads of a scenario from an API server that responds late, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.apiserver.rest import RestError
from tests.cluster import cluster
from tests.cluster.bed import ClusterBed
from tests.cluster.cluster import Cluster

POD = {"metadata": {"name": "one"}}


@dataclass
class PlayedBed:
    """Bed that returns ``answers`` in order, then repeats the last one; exceptions are raised."""

    answers: list[Any]
    asked: list[str] = field(default_factory=list)

    def api(self, method: str, path: str) -> Any:
        self.asked.append(f"{method} {path}")
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def cluster_of(bed: PlayedBed) -> Cluster:
    nowhere = Path("/nowhere")
    return Cluster(nowhere, nowhere, nowhere, nowhere, cast(ClusterBed, bed))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.0)


def test_request_is_retried_if_the_api_server_does_not_answer() -> None:
    bed = PlayedBed([ConnectionError("the handshake timed out"), TimeoutError(), POD])
    assert cluster_of(bed).get("pod", "one", "here") == POD
    assert bed.asked == ["GET /api/v1/namespaces/here/pods/one"] * 3


def test_scenario_fails_if_the_api_server_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "NO_ANSWER_SECONDS", 0.0)
    with pytest.raises(ConnectionError, match="the handshake timed out"):
        cluster_of(PlayedBed([ConnectionError("the handshake timed out")])).get("pod", "one", "here")


def test_missing_object_is_none_and_refusal_is_raised_at_once() -> None:
    assert cluster_of(PlayedBed([RestError(404, {})])).get("pod", "one", "here") is None
    refused = PlayedBed([RestError(403, {"message": "forbidden"}), POD])
    with pytest.raises(RestError, match="forbidden"):
        cluster_of(refused).get("pod", "one", "here")
    assert len(refused.asked) == 1
