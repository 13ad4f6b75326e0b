"""Commands of the tutorial for a cluster with a bucket, run as they are; the store is moto on this machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cluster.bucket import NamespaceBucket
from tests.object_storage.installs import moto_python
from tests.unit.docs.test_commands import Block, blocks

ROOT = Path(__file__).resolve().parents[2]
PAGE = "bucket.md"
FOLDER = "docs/tutorials"
SECONDS = 1500
STORE_OF_THE_PAGE = "http://127.0.0.1:9000"
COMMANDS = (
    "aws s3 mb",
    "aws s3 cp --recursive",
    "kubectl create secret generic",
    "kubectl apply -f bucket.yaml",
    "kubectl wait --for=condition=Succeeded mrx/in-a-bucket",
    "kubectl get mrx in-a-bucket -o jsonpath",
    "maskrcnn-operator artifacts in-a-bucket --store-config",
    "maskrcnn-operator artifacts in-a-bucket/train get",
    "kubectl delete mrx in-a-bucket",
    "maskrcnn-operator artifacts in-a-bucket delete --yes",
    "kubectl delete secret",
)
"""Commands that the page must have."""
AWS = '''#!{python}
"""Stand-in for the AWS CLI: aws s3 mb URL, and aws s3 cp --recursive DIR URL."""
import pathlib, sys
import boto3

client = boto3.client("s3")
match sys.argv[1:]:
    case ["s3", "mb", url]:
        client.create_bucket(Bucket=url.removeprefix("s3://"))
    case ["s3", "cp", "--recursive", directory, url]:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        root = pathlib.Path(directory)
        for path in (found for found in root.rglob("*") if found.is_file()):
            client.upload_file(str(path), bucket, f"{{prefix}}/{{path.relative_to(root)}}")
    case _:
        sys.exit(f"unknown: {{sys.argv[1:]}}")
'''

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(SECONDS + 60)]


def commands() -> list[Block]:
    """Return the blocks of commands that are run, in the order of the page."""
    return [block for block in blocks() if block.where.startswith(f"{FOLDER}/{PAGE}:") and block.mark[0] == "run"]


def manifest() -> str:
    """Return the page's whole manifest."""
    text = (ROOT / FOLDER / PAGE).read_text(encoding="utf-8")
    [found] = re.findall(r"^```yaml\n(apiVersion: maskrcnn\.dev/.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


def script(folder: Path, store: str) -> str:
    """Return all commands for a user in a folder who reaches the store at an address."""
    text = "\n".join(block.script.rstrip("\n") for block in commands())
    text = text.replace(STORE_OF_THE_PAGE, store)
    return re.sub(r"(?<![\w/])(?=\.venv/|examples/)", f"{shlex.quote(str(ROOT))}/", f"cd {folder}\n{text}\n")


def programs(folder: Path, kubectl: Path) -> Path:
    """Return a folder with kubectl, and a stand-in for the AWS CLI."""
    folder.mkdir()
    (folder / "kubectl").symlink_to(kubectl)
    (folder / "aws").write_text(AWS.format(python=moto_python()))
    (folder / "aws").chmod(0o755)
    return folder


def environment(bucket: NamespaceBucket, folder: Path) -> Mapping[str, str]:
    """Return the variables of a user whose kubeconfig names the namespace."""
    cluster = bucket.team.cluster
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
    set_namespace = ["config", "set-context", "--current", f"--namespace={bucket.team.namespace}"]
    subprocess.run(
        [str(cluster.kubectl_program), f"--kubeconfig={kubeconfig}", *set_namespace], check=True, capture_output=True
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MASKRCNN_"))}
    path = f"{programs(folder / 'bin', cluster.kubectl_program)}:{os.environ['PATH']}"
    return {**kept, "KUBECONFIG": str(kubeconfig), "PATH": path, "HOME": str(folder)}


def test_commands_of_the_tutorial_train_in_a_bucket_and_find_the_results_again(
    bucket: NamespaceBucket, tmp_path: Path
) -> None:
    user = tmp_path / "user"
    user.mkdir()
    (user / "bucket.yaml").write_text(manifest())
    done = subprocess.run(
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script(user, bucket.store.server.address)],
        env=environment(bucket, tmp_path),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    printed = {line.rstrip() for line in done.stdout.replace(bucket.team.namespace, "default").splitlines()}
    assert [line for block in commands() for line in block.output if line not in printed] == []
    assert re.search(r"^  train +complete +\d+ ", output, re.MULTILINE), output[-6000:]
    assert (user / "trained" / "model.step-10.tlt").stat().st_size > 0
    assert "trained/logs:" in done.stdout
    assert "in-a-bucket is deleted" in output
