"""Leave an S3 server of this machine running, to try URLs of inputs; ``--stop`` ends it.

It is moto, which keeps objects in memory, accepts any key, and listens on 127.0.0.1 only. Standard output has the line
to evaluate: it names a file for ``--store-config``. ``--put DIR s3://BUCKET/PREFIX`` copies the files of a directory to
the running server.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.background_process import identity_of, running_process
from tests.apiserver.binaries import cache_folder
from tests.object_storage.installs import InstallError, moto_python

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl, parse_url

BUCKET = "my-data"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
WRITERS = 8


class Facts:
    """Running server, as its state has it.

    Attributes:
        endpoint: its URL.
        config: file for ``--store-config``.
        keys: directory that the file names as ``secretDir``.
    """

    def __init__(self, state: Path) -> None:
        self.endpoint: str = json.loads((state / "state.json").read_text())["endpoint"]
        self.config = state / "store-config.yaml"
        self.keys = state / "keys"


def say(message: str) -> None:
    """Print a message to standard error; standard output has only the line to evaluate."""
    sys.stderr.write(f"{message}\n")


def main() -> int:
    """Start or stop the server, or copy files to it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bucket", default=BUCKET, help="bucket to create (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 (default: a free one)")
    parser.add_argument("--put", nargs=2, metavar=("DIR", "URL"), help="copy the files of a directory to a prefix")
    parser.add_argument("--stop", action="store_true", help="end the running server; its objects are lost")
    arguments = parser.parse_args()
    state = cache_folder() / "dev-s3"
    reach_without_proxy()
    if arguments.stop:
        return stop(state)
    try:
        if arguments.put:
            return put(state, Path(arguments.put[0]), arguments.put[1])
        return start(state, arguments.bucket, arguments.port)
    except InvalidInput as error:
        say(str(error))
        return 1


def start(state: Path, bucket: str, port: int) -> int:
    """Start the server in the background, unless it runs, and print the line that names its store config."""
    if running_process(state / "state.json") is None:
        if not serve(state, port):
            return 1
    else:
        say("The S3 server is already running.")
    facts = add_bucket(state, bucket)
    say(f"Endpoint: {facts.endpoint}, bucket: s3://{bucket}, store config: {facts.config}")
    say(f"To copy files to it: .venv/bin/python scripts/dev_s3.py --put DIR s3://{bucket}/PREFIX")
    say('To read them: maskrcnn-operator run MANIFEST --store-config "$STORE_CONFIG"')
    say("To stop it: make dev-s3 ARGS=--stop")
    sys.stdout.write(f"export STORE_CONFIG={shlex.quote(str(facts.config))}\n")
    return 0


def serve(state: Path, port: int) -> bool:
    """Start the server, and return whether it answers."""
    try:
        python = moto_python()
    except InstallError as error:
        say(str(error))
        return False
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)
    port = port or free_port()
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (state / "log").open("wb") as log:
        process = psutil.Popen(
            command, cwd=state, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    endpoint = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    while not answers(endpoint):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            say(f"The S3 server didn't start:\n{(state / 'log').read_text(errors='replace')}")
            return False
        time.sleep(0.1)
    (state / "state.json").write_text(json.dumps({**identity_of(process), "endpoint": endpoint}))
    return True


def reach_without_proxy() -> None:
    """Exclude the server from the proxies of this process."""
    before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = f"{before},127.0.0.1" if before else "127.0.0.1"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(endpoint: str) -> bool:
    """Return whether a moto server answers."""
    try:
        with urlopen(f"{endpoint}/moto-api/", timeout=5) as answer:  # noqa: S310 - of this machine
            return bool(answer.status == 200)
    except OSError:
        return False


def add_bucket(state: Path, bucket: str) -> Facts:
    """Create a bucket unless it exists, and write the store config with it and the directory of the keys.

    Raises:
        InvalidInput: the server refuses the name.
    """
    facts = Facts(state)
    try:
        urlopen(Request(f"{facts.endpoint}/{bucket}", method="PUT"), timeout=30).close()  # noqa: S310 - as above
    except HTTPError as error:
        raise InvalidInput(
            f"{bucket!r} isn't a bucket's name ({error.reason}): it has 3 to 63 lowercase letters, digits, and hyphens"
        ) from None
    facts.keys.mkdir(mode=0o700, exist_ok=True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not (facts.keys / name).exists():
            (facts.keys / name).write_text(secrets.token_hex(16))
    known = yaml.safe_load(facts.config.read_text()) if facts.config.exists() else []
    prefixes = dict.fromkeys([*(store["prefix"] for store in known), f"s3://{bucket}"])
    stores = [
        {"prefix": prefix, "endpoint": facts.endpoint, "allowHttp": True, "secretDir": facts.keys.name}
        for prefix in prefixes
    ]
    facts.config.write_text(yaml.safe_dump(stores, sort_keys=False))
    return facts


def put(state: Path, directory: Path, text: str) -> int:
    """Copy the files of a directory to the running server; return the exit code.

    Raises:
        InvalidInput: the URL is invalid, or the server refuses its bucket.
    """
    if running_process(state / "state.json") is None:
        say("No S3 server is running; start it with make dev-s3.")
        return 1
    url = parse_url(text, "--put")
    found = objects_of(directory, url)
    if url.scheme != "s3" or not found:
        say(f"{text} must be s3://BUCKET/PREFIX" if url.scheme != "s3" else f"{directory} has no files")
        return 1
    facts = add_bucket(state, url.container)
    # not before the server is started: the library hangs in a process that forks after its use
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        url.container,
        endpoint=facts.endpoint,
        access_key_id=(facts.keys / "AWS_ACCESS_KEY_ID").read_text(),
        secret_access_key=(facts.keys / "AWS_SECRET_ACCESS_KEY").read_text(),
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    with ThreadPoolExecutor(WRITERS) as writers:
        for _ in writers.map(lambda key: obstore.put(store, key, found[key]), found):
            pass
    say(f"{len(found):,} objects are below {text}.")
    return 0


def objects_of(directory: Path, url: ObjectUrl) -> dict[str, Path]:
    """Return the files of a directory by the keys that they get below a URL."""
    start = f"{url.key}/" if url.key else ""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {f"{start}{path.relative_to(directory).as_posix()}": path for path in files}


def stop(state: Path) -> int:
    """End the running server, if there is one; return 0."""
    running = running_process(state / "state.json")
    if running is None:
        say("No S3 server is running.")
        return 0
    running.terminate()
    running.wait(STOP_SECONDS)
    shutil.rmtree(state, ignore_errors=True)
    say("The S3 server has ended.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
