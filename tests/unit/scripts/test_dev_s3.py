"""Files of the local S3 server, and refusals; the how-to page's test starts the server itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
from scripts import dev_s3
from scripts.background_process import identity_of

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.store_config import read_store_config


class Buckets(BaseHTTPRequestHandler):
    """Answers to requests that create buckets."""

    def do_PUT(self) -> None:
        """Answer with 200, but for a name that is too short."""
        self.send_response(200 if len(self.path) > len("/ab") else 400)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Return the state of a server that runs."""
    with HTTPServer(("127.0.0.1", 0), Buckets) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        facts = {**identity_of(psutil.Process()), "endpoint": f"http://127.0.0.1:{server.server_port}"}
        (tmp_path / "state.json").write_text(json.dumps(facts))
        yield tmp_path
        server.shutdown()


def test_store_config_has_each_bucket_once(state: Path) -> None:
    for bucket in ("first", "second", "first"):
        config = dev_s3.add_bucket(state, bucket).config
    stores = read_store_config(config)
    assert [store.prefix for store in stores] == ["s3://first", "s3://second"]
    assert {(store.endpoint, store.allow_http) for store in stores} == {(dev_s3.Facts(state).endpoint, True)}


def test_keys_stay_when_a_bucket_is_added(state: Path) -> None:
    [first, second] = [
        {file.name: file.read_text() for file in dev_s3.add_bucket(state, bucket).keys.iterdir()}
        for bucket in ("first", "second")
    ]
    assert first == second
    assert set(first) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize(("prefix", "start"), [("x/y", "x/y/"), ("", "")])
def test_keys_of_objects_are_paths_below_the_prefix(tmp_path: Path, prefix: str, start: str) -> None:
    for name in ("b.json", "images/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = dev_s3.objects_of(tmp_path, ObjectUrl("s3", "bucket", prefix))
    assert found == {f"{start}b.json": tmp_path / "b.json", f"{start}images/a.jpg": tmp_path / "images" / "a.jpg"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://bucket/x", "gs://bucket/x must be s3://BUCKET/PREFIX"),
        ("s3://bucket/x", "has no files"),
    ],
)
def test_copy_that_is_impossible_is_refused(
    state: Path, capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    (state / "empty").mkdir()
    assert dev_s3.put(state, state / "empty", url) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("url", ["s3://bucket//x", "s3://ab/x"])
def test_invalid_url_of_a_copy_is_refused(state: Path, url: str) -> None:
    (state / "file").touch()
    with pytest.raises(InvalidInput):
        dev_s3.put(state, state, url)


def test_server_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "index.example.com")
    monkeypatch.setenv("NO_PROXY", "")
    dev_s3.reach_without_proxy()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "index.example.com,127.0.0.1"


def test_copy_without_a_server_names_the_command_that_starts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev_s3.put(tmp_path, tmp_path, "s3://bucket/x") == 1
    assert "make dev-s3" in capsys.readouterr().err
