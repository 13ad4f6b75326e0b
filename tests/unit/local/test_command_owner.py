"""Owner of the results of a local run in object storage, with a fake trainer."""

from __future__ import annotations

import json

import pytest

from .bench import StoreBench, warnings

# A hanging run must fail before CI kills pytest, which would then run no finalizers and leave processes behind.
pytestmark = pytest.mark.timeout(300)

URL = "s3://bucket/prefix"


def test_results_of_another_owner_are_refused_before_any_step(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    """A state directory that was lost is another owner, too."""
    assert short.run() == 0
    owner = short.metadata()["ownerId"]
    short.state_dir = short.folder / "other"
    assert short.run() == 64
    assert len(short.calls()) == 1
    (message,) = warnings(caplog)
    assert message.startswith(f"{URL} holds the experiment shapes of owner {owner}; to take it over for good, ")
    assert f"give --take-over-from {owner}/1; " in message
    assert message.endswith(f"--owner-id {owner} continues it")


def test_lost_state_directory_continues_with_the_same_owner_id(short: StoreBench) -> None:
    assert short.run() == 0
    short.owner_id, short.state_dir = short.metadata()["ownerId"], short.folder / "other"
    assert short.run() == 0
    assert short.step("convert")["reason"] == "UpToDate"
    assert short.owner()["epoch"] == 1
    assert short.metadata()["ownerId"] == short.owner_id


def test_take_over_works_once(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    assert short.run() == 0
    first, owner = short.state_dir, short.metadata()["ownerId"]
    short.state_dir, short.take_over_from = short.folder / "other", f"{owner}/1"
    assert short.run() == 0
    assert short.owner() == {
        "owner": {"id": short.metadata()["ownerId"], "namespace": "", "name": "shapes"},
        "epoch": 2,
    }
    assert short.run() == 0  # the flag may stay in a script
    second = short.metadata()["ownerId"]
    short.state_dir, short.take_over_from = first, f"{second}/1"
    assert short.run() == 64
    assert f"--take-over-from {second}/1 names another state; " in caplog.text
    assert f"give --take-over-from {second}/2" in caplog.text
    assert short.owner()["epoch"] == 2


def test_take_over_is_not_recorded(short: StoreBench) -> None:
    assert short.run() == 0
    owner = short.metadata()["ownerId"]
    short.state_dir, short.take_over_from = short.folder / "other", f"{owner}/1"
    assert short.run() == 0
    assert f"{owner}/1" not in (short.home / "experiment-status.json").read_text()
    short.take_over_from = None
    short.manifest["spec"]["steps"][0]["revision"] = "again"
    assert short.run() == 0
    assert "MASKRCNN_TAKE_OVER_FROM" not in short.calls()[-1]["environment"]


def test_owner_that_came_after_the_check_is_shown_with_the_flag(
    short: StoreBench, caplog: pytest.LogCaptureFixture
) -> None:
    (short.folder / "store").mkdir()
    other = {"owner": {"id": "other", "namespace": "", "name": "shapes"}, "epoch": 3}
    (short.folder / "store" / "owner").write_text(json.dumps(other))
    assert short.run(artifacts=[75]) == 64
    assert "step convert: AnothersOwner: it is another's; give --take-over-from other/3" in warnings(caplog)
    assert "with --take-over-from and the value above;" in warnings(caplog)[-1]


def test_namespace_of_a_cluster_is_named_as_the_owner(short: StoreBench, caplog: pytest.LogCaptureFixture) -> None:
    (short.folder / "store").mkdir()
    other = {"owner": {"id": "lab", "namespace": "team", "name": "shapes"}, "epoch": 3}
    (short.folder / "store" / "owner").write_text(json.dumps(other))
    short.owner_id = "lab"
    assert short.run() == 64
    (message,) = warnings(caplog)
    assert message == (
        f"{URL} holds the experiment shapes of namespace team and owner lab; to take it over for good, give "
        "--take-over-from lab/3"
    )


def test_owner_id_of_the_environment_is_used(short: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_OWNER_ID", "ci")
    assert short.run() == 0
    assert (short.metadata()["ownerId"], short.owner()["owner"]["id"]) == ("ci", "ci")


def test_flag_precedes_the_owner_id_of_the_environment(short: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_OWNER_ID", "ci")
    short.owner_id = "given"
    assert short.run() == 0
    assert short.owner()["owner"]["id"] == "given"


def test_invalid_owner_id_of_the_environment_is_refused(
    short: StoreBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MASKRCNN_OWNER_ID", "a b")
    assert short.run() == 64
    assert warnings(caplog) == ["MASKRCNN_OWNER_ID: 'a b' isn't 1 to 128 letters, digits, and . _ : -"]
