"""Staging of published files: verified, cached by content, and looked up again when they are replaced."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.object_store.published_steps import published_step, stored_key
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, refusal, serving
from tests.unit.staging.test_input_staging import Silent, settings_of

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.spelling import as_written
from maskrcnn_trainer.staging.input_staging import InputStaging
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore
from maskrcnn_trainer.task.staged_inputs import staged_inputs, staged_path
from maskrcnn_trainer.task.workspace import manifest_path, real_path

MODEL = UrlInput("/workspace/exp/train/model.tlt", InputKind.FILE, "-m")
RECORDS = UrlInput("/workspace/exp/convert/t-*", InputKind.PATTERNS, "trainingFilePattern")
WORKSPACE = WorkspaceInStore(ObjectUrl("s3", "b", "ws"), "exp", {})
TRAIN = published_step("exp", "train", ("f1", {"model.tlt": b"m" * 500, "copy.tlt": b"m" * 500}), root="ws")
CONVERT = published_step("exp", "convert", ("f1", {"t-0": b"0" * 300, "t-1": b"1" * 200, "v-0": b"v"}), root="ws")
MODEL_KEY = next(key for key in TRAIN if key.endswith("-model.tlt"))


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={**TRAIN, **CONVERT}) as started:
        yield started


def staging(server: StubServer, directory: Path, display: Silent | None = None, **changes: Any) -> InputStaging:
    settings = settings_of(server, directory, **{"workspace": WORKSPACE, **changes})
    return InputStaging(settings, display or Silent())


def reads_of(server: StubServer, key: str) -> int:
    return len([seen for seen in server.reads(key) if seen.method == "GET"])


def test_task_finds_published_files_at_their_paths(server: StubServer, tmp_path: Path) -> None:
    with staging(server, tmp_path) as stage:
        stage.stage([MODEL, RECORDS])
        model = Path(staged_path(MODEL.written))
        assert (model.name, model.read_bytes()) == ("model.tlt", b"m" * 500)
        pattern = Path(staged_path(RECORDS.written))
        assert {path.name: path.read_bytes() for path in pattern.parent.glob(pattern.name)} == {
            "t-0": b"0" * 300,
            "t-1": b"1" * 200,
        }


def test_results_and_messages_have_the_paths_in_the_workspace(server: StubServer, tmp_path: Path) -> None:
    with staging(server, tmp_path) as stage:
        stage.stage([MODEL, RECORDS])
        model, pattern = Path(staged_path(MODEL.written)), Path(staged_path(RECORDS.written))
        assert manifest_path(model) == MODEL.written
        assert manifest_path(pattern.with_name("t-0")) == "/workspace/exp/convert/t-0"
        assert as_written(f"{model}: damaged") == f"{MODEL.written}: damaged"
        assert real_path(MODEL.written) == model


def test_record_of_inputs_has_paths_and_content(server: StubServer, tmp_path: Path) -> None:
    with staging(server, tmp_path) as stage:
        stage.stage([RECORDS])
        listed = json.loads(gzip.decompress(Path(staged_inputs().list_file).read_bytes()))
        assert [(one["key"], one["size"], len(one["etag"])) for one in listed[RECORDS.written]] == [
            ("ws/exp/convert/t-0", 300, 64),
            ("ws/exp/convert/t-1", 200, 64),
        ]
        first = staged_inputs().summaries[RECORDS.written]
    again = published_step("exp", "convert", ("f1", {"t-0": b"0" * 300, "t-1": b"1" * 200}), root="ws", write=2)
    server.objects["b"].update(again)
    with staging(server, tmp_path) as stage:
        stage.stage([RECORDS])
        assert staged_inputs().summaries[RECORDS.written] == first


def test_content_under_two_keys_is_loaded_once(server: StubServer, tmp_path: Path) -> None:
    display = Silent()
    with staging(server, tmp_path, display) as stage:
        stage.stage([UrlInput("/workspace/exp/train", InputKind.DIRECTORY, "-i")])
        folder = Path(staged_path("/workspace/exp/train"))
        assert folder.joinpath("model.tlt").read_bytes() == folder.joinpath("copy.tlt").read_bytes() == b"m" * 500
    assert display.bytes == 500


def test_content_that_another_attempt_has_uploaded_again_is_not_loaded_again(
    server: StubServer, tmp_path: Path
) -> None:
    with staging(server, tmp_path) as stage:
        stage.stage([MODEL])
    again = published_step("exp", "train", ("f1", {"model.tlt": b"m" * 500}), root="ws", write=2)
    server.objects["b"].update(again)
    with staging(server, tmp_path) as stage:
        stage.stage([MODEL])
        assert Path(staged_path(MODEL.written)).read_bytes() == b"m" * 500
    assert reads_of(server, stored_key(again, b"m" * 500)) == 0


def test_content_that_arrives_damaged_once_is_loaded_again(server: StubServer, tmp_path: Path) -> None:
    damaged = [Answer(206, b"x" * 500, {"Content-Range": "bytes 0-499/500", "ETag": '"x"'})]

    def plan(seen: Seen) -> Answer | None:
        return damaged.pop() if damaged and seen.path.endswith(MODEL_KEY) else None

    server.plan = plan
    display = Silent()
    with staging(server, tmp_path, display) as stage:
        stage.stage([MODEL])
        assert Path(staged_path(MODEL.written)).read_bytes() == b"m" * 500
    assert display.waits == [f"{MODEL.written} arrived damaged: it is loaded again"]
    assert (display.bytes, display.corrections) == (1000, [500])


def test_content_that_stays_damaged_is_refused_by_its_path(server: StubServer, tmp_path: Path) -> None:
    server.objects["b"][MODEL_KEY] = b"x" * 500
    with (
        staging(server, tmp_path) as stage,
        pytest.raises(InvalidInput, match=f"^{MODEL.written} has another SHA-256 than its manifest states") as raised,
    ):
        stage.stage([MODEL])
    assert raised.value.reason == "StoreRefused"
    assert not [path for path in (tmp_path / "cache" / "objects").rglob("*") if path.is_file()]


def test_object_of_another_size_is_refused_by_its_path(server: StubServer, tmp_path: Path) -> None:
    server.objects["b"][MODEL_KEY] = b"x" * 501
    with (
        staging(server, tmp_path) as stage,
        pytest.raises(InvalidInput, match=f"^{MODEL.written} has another size than its manifest states, 500 bytes"),
    ):
        stage.stage([MODEL])


def test_object_that_is_gone_is_looked_up_in_the_pointer_again(server: StubServer, tmp_path: Path) -> None:
    later = published_step("exp", "train", ("f1", {"model.tlt": b"n" * 400}), root="ws", write=2)

    def plan(seen: Seen) -> Answer | None:
        if not seen.path.endswith(MODEL_KEY):
            return None
        server.objects["b"].update(later)
        return refusal(404, "NoSuchKey")

    server.plan = plan
    with staging(server, tmp_path) as stage:
        stage.stage([RECORDS, MODEL])
        assert Path(staged_path(MODEL.written)).read_bytes() == b"n" * 400
        assert Path(staged_path(RECORDS.written)).with_name("t-0").read_bytes() == b"0" * 300
        assert sorted(path.name for path in Path(staged_path(MODEL.written)).parents[1].iterdir()) == ["2", "3"]


def test_object_that_is_gone_under_the_same_pointer_is_damage(server: StubServer, tmp_path: Path) -> None:
    del server.objects["b"][MODEL_KEY]
    with (
        staging(server, tmp_path) as stage,
        pytest.raises(InvalidInput, match=r"^/workspace/exp/train/run\.json names an object that doesn't exist"),
    ):
        stage.stage([MODEL])


def test_absent_path_is_refused_by_its_name(server: StubServer, tmp_path: Path) -> None:
    absent = UrlInput("/workspace/exp/train/absent.tlt", InputKind.FILE, "-m")
    with (
        staging(server, tmp_path) as stage,
        pytest.raises(InvalidInput, match=r"^-m: /workspace/exp/train/absent\.tlt doesn't exist in the workspace"),
    ):
        stage.stage([absent])


def test_url_in_the_workspace_is_refused_as_it_was_written_before_any_request(
    server: StubServer, tmp_path: Path
) -> None:
    given = UrlInput("s3://b/ws/exp/train/model.tlt", InputKind.FILE, "-m")
    with (
        staging(server, tmp_path) as stage,
        pytest.raises(InvalidInput, match=r"^-m: s3://b/ws/exp/train/model\.tlt is in the workspace s3://b/ws"),
    ):
        stage.stage([MODEL, given])
    assert server.seen == []


def test_refusal_of_an_object_names_the_path(server: StubServer, tmp_path: Path) -> None:
    server.plan = lambda seen: refusal(416, "InvalidRange") if seen.path.endswith(MODEL_KEY) else None
    with staging(server, tmp_path) as stage, pytest.raises(InvalidInput) as raised:
        stage.stage([MODEL])
    assert MODEL_KEY not in str(raised.value)
    assert MODEL.written in str(raised.value)
