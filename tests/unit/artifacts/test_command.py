"""Tests of the command line of ``maskrcnn artifacts``, with a store in memory."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.artifacts.bucket import Bucket, attempt, own
from tests.unit.artifacts.test_getting import Source

from maskrcnn_trainer.artifacts import command
from maskrcnn_trainer.cli import main
from maskrcnn_trainer.shared.object_url import ObjectUrl

URL = "s3://bucket/experiments"


class Opened(Source):
    """Store in memory in place of a real one.

    Attributes:
        urls: that were opened.
    """

    def __init__(self) -> None:
        super().__init__(Bucket())
        self.urls: list[str] = []
        own(self.bucket)
        attempt(self.bucket).publish({"result.json": b"{}"}, complete=True)

    def link(self, key: str, seconds: float) -> str:
        return f"https://host/{key}"

    @contextlib.contextmanager
    def open(self, url: ObjectUrl, stores: Any, environment: Any, **options: Any) -> Iterator[Opened]:
        self.urls.append(str(url))
        yield self


@pytest.fixture(name="store")
def _store(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()
    monkeypatch.setattr(command, "open_fence_store", opened.open)
    return opened


@pytest.mark.parametrize("arguments", [[], ["list"], ["list", "exp"]])
def test_list_is_the_default(store: Opened, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["artifacts", URL, *arguments]) == 0
    assert capsys.readouterr().out.startswith("exp: owner me, namespace team, epoch 1\n")
    assert store.urls == [URL]


def test_json_is_one_document_on_standard_output(store: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    store.bucket.put("exp/\u202e/run.json", b"{}")
    assert main(["artifacts", URL, "list", "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["experiments"]["exp"]["steps"]["train"]["current"]["complete"] is True
    assert text.isascii()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", f"NAME: nothing has no results below {URL} yet"),
        ("nothing/train", "NAME: nothing/train has no results"),
        ("exp/nothing", "NAME: exp/nothing has no results"),
        ("exp/train/nothing", "NAME: exp/train has no nothing"),
    ],
)
def test_table_of_an_absent_name_is_refused(
    store: Opened, name: str, message: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["artifacts", URL, "list", name]) == 64
    assert message in caplog.text
    assert capsys.readouterr().out == ""


def test_document_of_an_absent_experiment_is_empty(store: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["artifacts", URL, "list", "nothing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"experiments": {}}


def test_keys_that_cannot_be_listed_give_one_warning(store: Opened, caplog: pytest.LogCaptureFixture) -> None:
    store.bucket.unlistable = {"exp"}
    assert main(["artifacts", URL]) == 0
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [
        f"{URL} has keys that can't be listed, with an empty part or a control character"
    ]


def test_get_writes_the_files(store: Opened, tmp_path: Path) -> None:
    assert main(["artifacts", URL, "get", "exp/train", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "result.json").read_bytes() == b"{}"


def test_link_is_the_only_line_on_standard_output(store: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["artifacts", URL, "link", "exp/train/result.json"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "https://host/" + next(key for key in store.bucket.objects if key.endswith("-result.json"))
    ]


def test_clean_reports_each_step(store: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    attempt(store.bucket, writer="bb", number=2, fingerprint="f2").publish({"a": b"1"}, fingerprint="f2")
    attempt(store.bucket, writer="cc", number=3, fingerprint="f3").publish({"a": b"1"}, fingerprint="f3")
    assert main(["artifacts", URL, "clean"]) == 0
    assert capsys.readouterr().out == "exp/train: 2 objects to be deleted by another clean in an hour\n"


def test_damaged_step_makes_clean_fail(store: Opened, caplog: pytest.LogCaptureFixture) -> None:
    store.bucket.put("exp/broken/run.json", b"{")
    assert main(["artifacts", URL, "clean"]) == 64
    assert "damaged and can't be cleaned: exp/broken (" in caplog.text


def answered(monkeypatch: pytest.MonkeyPatch, text: str, *, terminal: bool = True) -> None:
    stdin = io.StringIO(text)
    monkeypatch.setattr(stdin, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)])
def test_delete_asks_at_a_terminal(
    store: Opened,
    answer: str,
    deleted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered(monkeypatch, answer)
    assert main(["artifacts", URL, "delete", "exp"]) == 0
    assert "Delete it" in capsys.readouterr().err
    assert deleted is not any("/o/" in key for key in store.bucket.objects)


def test_delete_without_a_terminal_needs_yes(
    store: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = dict(store.bucket.objects)
    answered(monkeypatch, "y\n", terminal=False)
    assert main(["artifacts", URL, "delete", "exp"]) == 64
    assert "add --yes" in caplog.text
    assert store.bucket.objects == before


def test_yes_deletes_without_a_question(store: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, "", terminal=False)
    assert main(["artifacts", URL, "delete", "exp", "--yes"]) == 0
    assert sorted(store.bucket.objects) == ["exp/owner.json", "exp/train/run.json"]


@pytest.mark.parametrize("answer", [["--yes"], []])
@pytest.mark.parametrize("owner", [["--owner-id", "other", "--owner-namespace", "team"], ["--owner-id", "me"]])
def test_results_of_another_owner_id_are_not_deleted(
    store: Opened, owner: list[str], answer: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = dict(store.bucket.objects)
    assert main(["artifacts", URL, "delete", "exp", *answer, *owner]) == 64
    assert "belong to owner me of namespace team, and not to owner" in caplog.text
    assert store.bucket.objects == before


def test_results_of_another_owner_namespace_are_not_deleted(store: Opened, caplog: pytest.LogCaptureFixture) -> None:
    before = dict(store.bucket.objects)
    owner = ["--owner-id", "me", "--owner-namespace", "others"]
    assert main(["artifacts", URL, "delete", "exp", "--yes", *owner]) == 64
    assert "belong to owner me of namespace team, and not to owner me of namespace others" in caplog.text
    assert store.bucket.objects == before


def test_results_of_the_given_owner_are_deleted(store: Opened) -> None:
    owner = ["--owner-id", "me", "--owner-namespace", "team"]
    assert main(["artifacts", URL, "delete", "exp", "--yes", *owner]) == 0
    assert sorted(store.bucket.objects) == ["exp/owner.json", "exp/train/run.json"]


def test_purge_leaves_nothing(store: Opened) -> None:
    assert main(["artifacts", URL, "delete", "exp", "--yes", "--purge"]) == 0
    assert store.bucket.objects == {}


def test_deletion_that_is_not_whole_fails(store: Opened, caplog: pytest.LogCaptureFixture) -> None:
    store.bucket.put("exp/broken/run.json", b"{")
    assert main(["artifacts", URL, "delete", "exp", "--yes"]) == 64
    assert "exp isn't deleted as a whole: step broken is damaged" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/a/path"], "URL: must begin with s3://, gs://, or az://: results in a directory need no command"),
        (["file:///a/path"], "URL: must begin with s3://, gs://, or az://"),
        ([URL, "get", "exp"], "required: -o/--output"),
        ([URL, "get", "exp", "-o", "s3://other/place"], "results can't be written to a URL"),
        ([URL, "get", "../exp", "-o", "out"], "NAME '../exp' must be EXPERIMENT"),
        ([URL, "link", "exp/train"], "give EXPERIMENT/STEP/PATH"),
        ([URL, "clean", "exp/train/x"], "give EXPERIMENT or EXPERIMENT/STEP"),
        ([URL, "delete", "exp/train", "--yes"], "only whole experiments"),
        ([URL, "delete", "exp", "--yes", "--owner-namespace", "team"], "--owner-namespace team: add --owner-id"),
        ([URL, "delete", "exp", "--yes", "--owner-id", ""], "the value is empty"),
        ([URL, "delete", "absent", "--yes"], "NAME: absent has no results"),
        ([URL, "remove"], "invalid choice: 'remove'"),
        (["s3://user:s3cr3t@bucket"], "user info"),
    ],
)
def test_command_line_that_cannot_work_is_refused(
    store: Opened, arguments: list[str], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["artifacts", *arguments]) == 64
    assert message in caplog.text
    assert "s3cr3t" not in caplog.text


def test_store_config_is_read_before_and_after_the_action(
    store: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = str(tmp_path / "absent.yaml")
    flag = ["--store-config", config]
    actions = (["list"], ["get", "exp", "-o", "out"], ["link", "exp/train/a"], ["clean"], ["delete", "exp"])
    for arguments in ([*flag, URL], *([URL, *action, *flag] for action in actions)):
        caplog.clear()
        assert main(["artifacts", *arguments]) == 64
        assert f"--store-config {config} cannot be read" in caplog.text
