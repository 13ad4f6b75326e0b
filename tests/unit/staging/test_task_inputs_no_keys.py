"""Search for keys in all that a command leaves whose inputs are by URL: output, results, messages, and the cache."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.unit.conversion.sources import Source
from tests.unit.object_store.clients import secret_in
from tests.unit.object_store.identities import (
    PROXY_PASSWORD,
    Identity,
    files_of,
    found_in,
    identities,
    sent_secrets,
)
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, serving

from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK

ROOT = Path(__file__).resolve().parents[3]
KINDS = identities()
MAIN = "import sys; from maskrcnn_trainer.cli import main; sys.exit(main(sys.argv[1:]))"
SIGNATURE = "c2lnbmF0dXJlb2ZhbGluaw"


@dataclass(frozen=True)
class Ended:
    """Command that has ended.

    Attributes:
        code: its exit code.
        output: all that it printed.
        left: names and bytes of the files that it left, those of gzipped ones unpacked, too.
    """

    code: int
    output: str
    left: str


def objects(directory: Path) -> dict[str, bytes]:
    """Return a small data set as objects."""
    directory.mkdir()
    source = Source(directory, images=3)
    source.annotate(0, 1)
    source.write()
    images = {f"images/{path.name}": path.read_bytes() for path in source.image_dir.iterdir()}
    return {"boxes.json": source.annotations_file.read_bytes(), **images}


def converted(
    server: StubServer, identity: Identity, directory: Path, *, images: str = "{}/images", boxes: str = "{}/boxes.json"
) -> Ended:
    """Convert the data set of the server's bucket in a process of its own, by way of a proxy with a password."""
    url = f"{identity.scheme}://b"
    left = directory / "left"
    left.mkdir()
    proxy = server.url.replace("http://", f"http://user:{PROXY_PASSWORD.replace('/', '%2F')}@")
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ},
        "PYTHONPATH": os.pathsep.join([str(ROOT / "trainer"), os.environ.get("PYTHONPATH", "")]),
        "HOME": str(left),
        "HTTP_PROXY": proxy,
        "MASKRCNN_TERMINATION_LOG": str(left / "termination"),
        **identity.environment,
    }
    store = {"prefix": url, "endpoint": "http://store.test", "allowHttp": True}
    if identity.files:
        store["secretDir"] = str(secret_in(directory / "secret", identity.scheme, **identity.files))
    if identity.scheme == "az":
        store["account"] = "account"
    config = directory / "stores.yaml"
    config.write_text(yaml.safe_dump([store]))
    done = subprocess.run(
        [
            sys.executable, "-c", MAIN, "dataset_convert", "-i", images.format(url), "-a", boxes.format(url),
            "-o", str(left / "out"), "-r", str(left / "results"), "-s", "1", "--store-config", str(config),
            "--cache", str(left / "cache"),
        ],
        env=environment, cwd=left, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    packed = [gzip.decompress(path.read_bytes()).decode("latin-1") for path in left.rglob("*.gz")]
    return Ended(done.returncode, done.stdout, "\n".join([files_of(left), *packed]))


@pytest.mark.parametrize("kind", KINDS)
def test_command_that_succeeds_leaves_no_key(tmp_path: Path, kind: str) -> None:
    with serving(b=objects(tmp_path / "source")) as server:
        ended = converted(server, KINDS[kind], tmp_path)
        secrets = [*KINDS[kind].secrets, PROXY_PASSWORD, *sent_secrets(server.seen)]
        assert all("proxy-authorization" in seen.headers for seen in server.seen)
    assert ended.code == EXIT_OK, ended.output
    assert f'"{KINDS[kind].scheme}://b/images"' in ended.left
    results = tmp_path / "left" / "results"
    assert json.loads((results / "result.json").read_text())["inputs"]
    assert {path.name for path in results.iterdir()} >= {"result.json", "inputs.json.gz", "status.json"}
    assert (tmp_path / "left" / "termination").stat().st_size
    assert found_in(ended.output + ended.left, secrets) == []


def echoed(seen: Seen) -> Answer:
    """Return a refusal that isn't tried again, with all that the request had."""
    text = f"<Error><Code>InvalidToken</Code><Message>{seen.path} {seen.query} {seen.headers}</Message></Error>"
    return Answer(401, text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_command_that_is_refused_leaves_no_key(tmp_path: Path, kind: str) -> None:
    with serving(b=objects(tmp_path / "source")) as server:
        server.plan = echoed
        ended = converted(server, KINDS[kind], tmp_path)
        secrets = [*KINDS[kind].secrets, PROXY_PASSWORD, *sent_secrets(server.seen)]
        assert server.seen
    assert ended.code == EXIT_INVALID, ended.output
    assert "HTTP 401, InvalidToken" in ended.output
    assert "StoreRefused" in (tmp_path / "left" / "termination").read_text()
    assert found_in(ended.output + ended.left, secrets) == []


@pytest.mark.parametrize(
    "images",
    [
        f"{{}}/images?X-Amz-Signature={SIGNATURE}",
        f"https://b.s3.amazonaws.com/images?X-Amz-Signature={SIGNATURE}",
        f"s3://AKID:{SIGNATURE}@b/images",
        f"{{}}/images#{SIGNATURE}",
    ],
)
def test_signed_link_is_refused_without_its_signature(tmp_path: Path, images: str) -> None:
    with serving(b={}) as server:
        ended = converted(server, KINDS["static keys"], tmp_path, images=images)
        assert not server.seen
    assert ended.code == EXIT_INVALID, ended.output
    assert "-i" in ended.output
    assert found_in(ended.output + ended.left, [SIGNATURE]) == []
