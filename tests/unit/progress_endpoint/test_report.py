"""Parsing of reports: those of the trainer are accepted, invalid ones are refused with the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_operator.progress_endpoint.refusal import Refused
from maskrcnn_operator.progress_endpoint.report import MAX_REPORTED_METRICS, Report, parse_report
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import compact_json
from maskrcnn_trainer.task.reporter import Reporter


class Kept:
    """Poster that keeps its reports as bytes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def offer(self, record: Any) -> None:
        self.bodies.append(compact_json(record))

    def close(self) -> None:
        pass


def refused(body: bytes | dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        parse_report(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (caught.value.refusal.status, caught.value.refusal.reason) == (400, "InvalidReport")
    return caught.value.refusal.message


def test_all_reports_of_the_trainer_are_accepted(tmp_path: Path) -> None:
    kept = Kept()
    environment = TaskEnvironment(fingerprint="9f2c-v1", attempt=2, experiment_uid="uid")
    reporter = Reporter("train", tmp_path, environment, poster=kept)
    reporter.started("Starting.")
    reporter.running(epoch=3, max_epoch=10, step=300, total_steps=1000, eta=750, time_per_epoch=100.2,
                     graphical={"loss": 0.61, "images_per_second": 112.4})  # fmt: skip
    reporter.running("Checkpoint written.", step=300, checkpoint_step=300)
    reporter.running(step=301, eta=400000.0, kpi={"AP": 0.31, "AP50_max200": -1.0})
    reporter.failed(RuntimeError("no \udcff text"))
    reports = [parse_report(body) for body in kept.bodies]
    assert [report.record["checkpointStep"] for report in reports] == [None, None, 300, 300, 300]
    assert reports[1] == Report("uid", 2, "9f2c-v1", {
        "step": 300, "total_steps": 1000, "checkpointStep": None, "unpublishedSeconds": None, "eta": "0:12:30",
        "kpi": {}, "graphical": {"loss": 0.61, "images_per_second": 112.4},
    })  # fmt: skip
    assert reports[3].record["eta"] == "111:06:40"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "isn't valid JSON"),
        (b"{", "isn't valid JSON"),
        (b"\xff\xfe", "isn't valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"kpi": {"AP": NaN}}', "NaN isn't a JSON number"),
        (b'{"step": 1e3}', "step: must be an integer"),
        (b'{"step": ' + b"9" * 400 + b"}", "step: must be an integer"),
        (b'{"step": ' + b"9" * 5000 + b"}", "isn't valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        ({"version": 2}, "version: unsupported report version, expected 1"),
        ({"version": True}, "version: unsupported report version, expected 1"),
        ({"step": -1}, "step: must be"),
        ({"step": True}, "step: must be"),
        ({"total_steps": "10"}, "total_steps: must be"),
        ({"checkpointStep": 2**53 + 1}, "checkpointStep: must be"),
        ({"attempt": 1.5}, "attempt: must be"),
        ({"unpublishedSeconds": -1}, "unpublishedSeconds: must be an integer from 0 to 2^53"),
        ({"unpublishedSeconds": 2**53 + 1}, "unpublishedSeconds: must be an integer from 0 to 2^53"),
        ({"unpublishedSeconds": "150"}, "unpublishedSeconds: must be an integer from 0 to 2^53"),
        ({"eta": "soon"}, "eta: must be a duration"),
        ({"eta": "0:00:01" * 30}, "eta: must be a string of at most"),
        ({"fingerprint": 7}, "fingerprint: must be a string of at most"),
        ({"fingerprint": "\ud800"}, "fingerprint: must be a string of at most"),
        ({"experimentUid": "a\nb"}, "experimentUid: must be a string of at most"),
        ({"kpi": [1]}, "kpi: must be an object"),
        ({"kpi": {"AP": "0.3"}}, "kpi.AP: must be a finite number"),
        ({"kpi": {"AP": None}}, "kpi.AP: must be a finite number"),
        ({"kpi": {"AP": True}}, "kpi.AP: must be a finite number"),
        ({"graphical": {"loss": 10**300}}, "graphical.loss: must be a finite number"),
        (b'{"graphical": {"loss": 1e999}}', "graphical.loss: must be a finite number"),
        ({"kpi": {"": 1}}, "a metric's name must start"),
        ({"kpi": {"a b": 1}}, "a metric's name must start"),
        ({"kpi": {"\ud800": 1}}, "a metric's name must start"),
        ({"kpi": {f"m{index}": 1 for index in range(MAX_REPORTED_METRICS + 1)}}, "kpi: too many metrics"),
        (
            {"kpi": {f"k{index}": 1 for index in range(40)}, "graphical": {f"g{index}": 1 for index in range(40)}},
            "kpi and graphical: too many metrics",
        ),
    ],
)
def test_invalid_report_is_refused_with_the_field(body: Any, said: str) -> None:
    assert said in refused(body)


def test_seconds_for_which_a_checkpoint_waits_are_in_the_record() -> None:
    assert parse_report(b'{"unpublishedSeconds": 150}').record["unpublishedSeconds"] == 150


def test_member_of_a_later_release_is_ignored() -> None:
    assert parse_report(b'{"step": 3, "ofALaterRelease": {"a": [1]}}') == parse_report(b'{"step": 3}')


def test_message_is_bounded_text_for_any_body() -> None:
    assert len(refused(b'{"a": "' + b"\x00" * 5000)) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("version", "experimentUid", "fingerprint", "attempt", "step", "total_steps", "checkpointStep", "eta", "kpi",
          "graphical", "message", "unpublishedSeconds")  # fmt: skip


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(FIELDS), json_values).map(lambda x: json.dumps(x).encode())
)
def test_any_bytes_give_a_report_or_a_refusal(body: bytes) -> None:
    try:
        found = parse_report(body)
    except Refused as error:
        assert error.refusal.status == 400
        error.refusal.message.encode()
    else:
        json.dumps(dict(found.record), allow_nan=False).encode()
