"""Inputs in the workspace and in steps are found through pointers; others as the objects that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.object_store.clients import QUICK, connection_to
from tests.unit.object_store.published_steps import published_step, stored_key
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, refusal, serving

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.input_lookup import FoundInput, InputLookup
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore

WS = ObjectUrl("s3", "b", "ws")
CURRENT = ("f2", {"model.tlt": b"new model", "records/t-0": b"t0", "records/t-1": b"t1", "result.json": b"{}"})
PREVIOUS = ("f1", {"model.tlt": b"old model"})
STEP = published_step("exp", "train", CURRENT, PREVIOUS, root="ws")
PLAIN = {"ws/data/a.json": b"plain", "ws/data/r-0": b"r0", "other/deep/place/x.json": b"x"}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={**STEP, **PLAIN}) as started:
        yield started


class Lookups:
    """Makes look-ups of the server, and closes their clients."""

    def __init__(self, server: StubServer, directory: Path) -> None:
        self._connection = connection_to(server, directory)
        self.client = StoreClient(self._connection, policy=QUICK)

    def of(self, workspace: WorkspaceInStore | None) -> InputLookup:
        return InputLookup(lambda _url, _field: self._connection, lambda _: self.client, workspace)

    def find(self, written: str, kind: InputKind, workspace: WorkspaceInStore | None = None, **more: Any) -> FoundInput:
        return self.of(workspace).find(UrlInput(written, kind, "-i", **more))


@pytest.fixture
def lookups(server: StubServer, tmp_path: Path) -> Iterator[Lookups]:
    made = Lookups(server, tmp_path)
    with made.client:
        yield made


def in_workspace(
    experiment: str = "exp", fingerprints: Mapping[str, tuple[str, ...]] | None = None
) -> WorkspaceInStore:
    return WorkspaceInStore(WS, experiment, fingerprints or {})


def key_of(found: FoundInput) -> str:
    (only,) = found.named.objects
    return only.info.key


def places(found: FoundInput) -> list[str]:
    return sorted(one.place for one in found.named.objects)


def test_path_below_a_step_is_read_through_its_pointer(lookups: Lookups) -> None:
    found = lookups.find("/workspace/exp/train/model.tlt", InputKind.FILE, in_workspace())
    assert key_of(found) == stored_key(STEP, b"new model")
    assert (found.above, found.named.path) == ("/workspace/exp/train", "model.tlt")


def test_path_of_a_step_with_a_fingerprint_is_read_from_its_slot(lookups: Lookups) -> None:
    workspace = in_workspace(fingerprints={"train": ("f0", "f1")})
    found = lookups.find("/workspace/exp/train/model.tlt", InputKind.FILE, workspace)
    assert key_of(found) == stored_key(STEP, b"old model")


def test_path_of_a_step_whose_fingerprint_is_gone_is_never_read_from_the_current_slot(lookups: Lookups) -> None:
    workspace = in_workspace(fingerprints={"train": ("f3",)})
    with pytest.raises(TryAgain, match="has no results of the fingerprint"):
        lookups.find("/workspace/exp/train/model.tlt", InputKind.FILE, workspace)


def test_step_of_another_experiment_is_read_from_its_current_slot(lookups: Lookups) -> None:
    workspace = in_workspace("another", {"train": ("f1",)})
    found = lookups.find("/workspace/exp/train/model.tlt", InputKind.FILE, workspace)
    assert key_of(found) == stored_key(STEP, b"new model")


def test_path_without_a_pointer_above_it_names_the_object(lookups: Lookups) -> None:
    found = lookups.find("/workspace/data/a.json", InputKind.FILE, in_workspace())
    assert key_of(found) == "ws/data/a.json"
    assert found.above == "/workspace/data"


def test_object_in_the_directory_of_a_step_that_its_manifest_lacks_does_not_exist(
    server: StubServer, lookups: Lookups
) -> None:
    server.objects["b"]["ws/exp/train/foreign.tlt"] = b"x"
    with pytest.raises(InvalidInput, match=r"-i: /workspace/exp/train/foreign\.tlt doesn't exist"):
        lookups.find("/workspace/exp/train/foreign.tlt", InputKind.FILE, in_workspace())


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (InputKind.FILE, "give the path of a file"),
        (InputKind.DIRECTORY, "give the path of a directory that has files"),
    ],
)
def test_absent_path_is_refused_as_written_with_a_remedy_for_a_path(
    lookups: Lookups, kind: InputKind, remedy: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        lookups.find("/workspace/nope/images", kind, in_workspace())
    assert str(error.value) == f"-i: /workspace/nope/images doesn't exist in the workspace: {remedy}"


def test_absent_file_with_companions_is_refused_as_written(lookups: Lookups) -> None:
    with pytest.raises(InvalidInput, match="-i: /workspace/nope/model.engine doesn't exist in the workspace"):
        lookups.find("/workspace/nope/model.engine", InputKind.FILE, in_workspace(), companions=lambda name: f"{name}.")


def test_directory_of_a_step_has_its_published_files(lookups: Lookups) -> None:
    found = lookups.find("/workspace/exp/train", InputKind.DIRECTORY, in_workspace())
    assert places(found) == ["model.tlt", "records/t-0", "records/t-1", "result.json"]
    assert (found.above, found.folder, found.named.path) == ("/workspace/exp/train", "train", "")


def test_directory_in_a_step_has_its_published_files(lookups: Lookups) -> None:
    assert places(lookups.find("/workspace/exp/train/records/", InputKind.DIRECTORY, in_workspace())) == ["t-0", "t-1"]


def test_pattern_in_a_step_matches_its_published_files(lookups: Lookups) -> None:
    found = lookups.find("/workspace/exp/train/records/t-*", InputKind.PATTERNS, in_workspace())
    assert places(found) == ["t-0", "t-1"]
    assert (found.above, found.named.path) == ("/workspace/exp/train/records", "t-*")


def test_pattern_of_plain_objects_matches_them(lookups: Lookups) -> None:
    assert places(lookups.find("/workspace/data/r-*", InputKind.PATTERNS, in_workspace())) == ["r-0"]


@pytest.mark.parametrize("pattern", ["/workspace/*/train/*", "/workspace/exp/tr*/records/t-*", "/workspace/**/t-0"])
def test_pattern_that_reaches_into_steps_is_refused(lookups: Lookups, pattern: str) -> None:
    with pytest.raises(InvalidInput, match="reaches the results of the step s3://b/ws/exp/train"):
        lookups.find(pattern, InputKind.PATTERNS, in_workspace())


def test_files_next_to_a_published_file_belong_to_it(lookups: Lookups) -> None:
    found = lookups.find(
        "/workspace/exp/train/records/t-0", InputKind.FILE, in_workspace(), companions=lambda _: "t-"
    )  # fmt: skip
    assert places(found) == ["t-0", "t-1"]


def test_workspace_itself_is_no_file(lookups: Lookups) -> None:
    with pytest.raises(InvalidInput, match="-i: /workspace is the workspace itself"):
        lookups.find("/workspace", InputKind.FILE, in_workspace())


@pytest.mark.parametrize(
    ("url", "said"),
    [("s3://b/ws/exp/train/model.tlt", "write /workspace/exp/train/model.tlt"), ("s3://b", "contains the workspace")],
)
def test_url_that_overlaps_the_workspace_is_an_invalid_spec(lookups: Lookups, url: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as raised:
        lookups.of(in_workspace()).refuse_overlap(UrlInput(url, InputKind.DIRECTORY, "-i"))
    assert raised.value.reason == "InvalidSpec"


@pytest.mark.parametrize("written", ["s3://b/other", "/workspace/exp/train", "/data"])
def test_other_inputs_do_not_overlap_the_workspace(lookups: Lookups, written: str) -> None:
    lookups.of(in_workspace()).refuse_overlap(UrlInput(written, InputKind.DIRECTORY, "-i"))


def test_url_below_a_step_is_read_through_its_pointer(lookups: Lookups) -> None:
    found = lookups.find("s3://b/ws/exp/train/model.tlt", InputKind.FILE)
    assert key_of(found) == stored_key(STEP, b"new model")
    assert found.above == "s3://b/ws/exp/train"


def test_url_of_an_object_next_to_a_pointer_is_read_through_the_pointer(server: StubServer, lookups: Lookups) -> None:
    server.objects["b"]["ws/exp/train/model.tlt"] = b"stale copy"
    found = lookups.find("s3://b/ws/exp/train/model.tlt", InputKind.FILE)
    assert key_of(found) == stored_key(STEP, b"new model")


def test_url_of_an_experiment_has_the_published_files_of_its_steps(lookups: Lookups) -> None:
    found = lookups.find("s3://b/ws/exp", InputKind.DIRECTORY)
    assert places(found) == ["train/model.tlt", "train/records/t-0", "train/records/t-1", "train/result.json"]


def test_url_of_a_directory_in_a_step_has_its_published_files(lookups: Lookups) -> None:
    assert places(lookups.find("s3://b/ws/exp/train/records", InputKind.DIRECTORY)) == ["t-0", "t-1"]


def test_pattern_of_urls_in_a_step_matches_its_published_files(lookups: Lookups) -> None:
    assert places(lookups.find("s3://b/ws/exp/train/records/*", InputKind.PATTERNS)) == ["t-0", "t-1"]


def test_absent_file_of_a_step_by_url_does_not_exist(lookups: Lookups) -> None:
    with pytest.raises(InvalidInput, match=r"s3://b/ws/exp/train/absent\.tlt does not exist"):
        lookups.find("s3://b/ws/exp/train/absent.tlt", InputKind.FILE)


def test_url_of_an_object_of_another_program_names_it(lookups: Lookups) -> None:
    assert key_of(lookups.find("s3://b/other/deep/place/x.json", InputKind.FILE)) == "other/deep/place/x.json"


def test_pointers_above_a_url_are_looked_up_once(server: StubServer, lookups: Lookups) -> None:
    lookup = lookups.of(None)
    for _ in range(2):
        lookup.find(UrlInput("s3://b/other/deep/place/x.json", InputKind.FILE, "-i"))
    seen = [one.path for one in server.reads() if one.path.endswith("run.json")]
    assert seen == ["/b/other/deep/place/run.json", "/b/other/deep/run.json"]


def test_object_is_read_by_an_identity_that_may_not_know_what_is_absent(server: StubServer, lookups: Lookups) -> None:
    def refused(seen: Seen) -> Answer | None:
        return refusal(403, "AccessDenied") if seen.path.endswith("run.json") else None

    server.plan = refused
    assert key_of(lookups.find("s3://b/other/deep/place/x.json", InputKind.FILE)) == "other/deep/place/x.json"


def test_messages_have_the_names_that_users_know(lookups: Lookups) -> None:
    lookup = lookups.of(in_workspace())
    lookup.find(UrlInput("/workspace/exp/train/model.tlt", InputKind.FILE, "-i"))
    text = f"s3://b/{stored_key(STEP, b'new model')}: refused. Is s3://b/ws/data/a.json there?"
    assert lookup.as_written(text) == "/workspace/exp/train/model.tlt: refused. Is /workspace/data/a.json there?"


def test_messages_have_the_urls_that_users_know(lookups: Lookups) -> None:
    lookup = lookups.of(None)
    lookup.find(UrlInput("s3://b/ws/exp/train/model.tlt", InputKind.FILE, "-i"))
    assert lookup.as_written(f"s3://b/{stored_key(STEP, b'new model')}.") == "s3://b/ws/exp/train/model.tlt."
