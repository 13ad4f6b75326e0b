"""docs/tutorials/bucket.md: the sequence for a bucket of AWS is complete, and it deletes all that it makes.

Its commands are run with stand-ins for the programs, which only write down how they are called.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.test_bucket_tutorial import manifest
from tests.unit.docs.test_a_cluster_without_a_shared_volume import TEXT as HOW_TO
from tests.unit.docs.test_commands import Block, blocks, fences

from maskrcnn_operator.api.manifest import read_object

ROOT = Path(__file__).resolve().parents[3]
PAGE = "docs/tutorials/bucket.md"
HEADING = "## With a bucket of AWS\n"
NAMESPACE = "research"
IDENTITIES = {"EKS Pod Identity": "pod-identity", "IRSA": "open-id-connect"}
"""Ways of giving pods a role, each by the words that only its own blocks have."""
BUCKET, ACCOUNT, ISSUER = "my-company-my-data", "123456789012", "https://oidc.example/id/0123"
STAND_IN = f"""#!/usr/bin/env bash
call=$(printf '%q ' "${{0##*/}}" "$@" | tr '\\n' ' ')
echo "$call" >> "$CALLS" # one write: programs of a pipeline run at the same time
case "${{0##*/}} $*" in
  "aws sts "*) echo {ACCOUNT} ;;
  "aws eks describe-cluster "*) echo {ISSUER} ;;
  "aws eks describe-addon "*) exit 254 ;;
  "aws eks list-pod-identity-associations "*) echo a-1 ;;
  "aws configure "*) echo export AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=key AWS_SESSION_TOKEN=token ;;
  "maskrcnn-operator artifacts on-eks/train get "*) mkdir -p trained/logs; touch trained/model.step-10.tlt ;;
esac
"""
PROGRAMS = ("aws", "docker", "helm", "kubectl", "make", "python", "maskrcnn-operator")


def section_blocks() -> list[Block]:
    """Return the blocks of commands of the sequence."""
    first = (ROOT / PAGE).read_text(encoding="utf-8").partition(HEADING)[0].count("\n")
    found = [block for block in blocks() if block.where.startswith(f"{PAGE}:")]
    return [block for block in found if int(block.where.rpartition(":")[2]) > first]


@dataclass(frozen=True)
class Done:
    """Commands that have been run.

    Attributes:
        folder: directory in which they ran, with the files that they have written.
        calls: program and arguments of each call, in order.
    """

    folder: Path
    calls: list[list[str]]

    def names(self, flag: str, *command: str) -> list[str]:
        """Return the values of a flag, or what follows the command for an empty flag, in calls of a command."""
        found = [call for call in self.calls if call[: len(command)] == list(command)]
        return [call[call.index(flag) + 1] if flag else call[len(command)] for call in found]


@pytest.fixture(scope="module", params=IDENTITIES)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Run the sequence with one way of giving pods a role."""
    folder = tmp_path_factory.mktemp("user")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for program in PROGRAMS:
        (programs / program).write_text(STAND_IN)
        (programs / program).chmod(0o755)
    others = [words for identity, words in IDENTITIES.items() if identity != request.param]
    script = "\n".join(block.script for block in section_blocks() if not any(words in block.script for words in others))
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "CALLS": str(folder / "calls"), "HOME": str(folder)}
    ended = subprocess.run(
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return Done(folder, [shlex.split(line) for line in (folder / "calls").read_text().splitlines()])


def test_each_command_is_in_the_sequence_with_one_of_the_identities_alone() -> None:
    of_identity = [[words in block.script for words in IDENTITIES.values()] for block in section_blocks()]
    assert of_identity.count([True, False]) == of_identity.count([False, True]) == 2
    assert [True, True] not in of_identity


@pytest.mark.parametrize(
    ("made", "deleted"),
    [
        (("", "aws", "s3", "mb"), ("", "aws", "s3", "rb")),
        (
            ("--repository-name", "aws", "ecr", "create-repository"),
            ("--repository-name", "aws", "ecr", "delete-repository"),
        ),
        (("--role-name", "aws", "iam", "create-role"), ("--role-name", "aws", "iam", "delete-role")),
        (("--policy-name", "aws", "iam", "put-role-policy"), ("--policy-name", "aws", "iam", "delete-role-policy")),
        (("--addon-name", "aws", "eks", "create-addon"), ("--addon-name", "aws", "eks", "delete-addon")),
        (
            ("--cluster-name", "aws", "eks", "create-pod-identity-association"),
            ("--cluster-name", "aws", "eks", "delete-pod-identity-association"),
        ),
        (("", "helm", "install"), ("", "helm", "uninstall")),
    ],
    ids=lambda command: " ".join(command[1:]),
)
def test_what_is_made_is_deleted(done: Done, made: tuple[str, ...], deleted: tuple[str, ...]) -> None:
    assert sorted(done.names(*made)) == sorted(done.names(*deleted))


def test_identity_is_made_in_one_way_and_deleted(done: Done) -> None:
    associations = done.names("--role-arn", "aws", "eks", "create-pod-identity-association")
    providers = done.names("--url", "aws", "iam", "create-open-id-connect-provider")
    role = f"arn:aws:iam::{ACCOUNT}:role/maskrcnn-research"
    assert (associations, providers) in [([role], []), ([], [ISSUER])]
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER.removeprefix('https://')}"
    deleted = done.names("--open-id-connect-provider-arn", "aws", "iam", "delete-open-id-connect-provider")
    assert deleted == [provider for _ in providers]


def test_namespaces_are_that_of_the_experiment_and_that_of_the_operator_and_are_deleted(done: Done) -> None:
    made = {*done.names("", "kubectl", "create", "namespace"), *done.names("-n", "helm", "install")}
    given = [call[call.index("-n") + 1] for call in done.calls if "-n" in call]
    assert made == set(given) == {NAMESPACE, "maskrcnn-system"}
    assert set(done.names("", "kubectl", "delete", "namespace")) == made
    needs_one = [call for call in done.calls if call[:2] in (["kubectl", "apply"], ["kubectl", "wait"])]
    assert all(call[call.index("-n") + 1] == NAMESPACE for call in needs_one)


def test_pushed_images_are_those_that_are_installed(done: Done) -> None:
    pushed = done.names("", "docker", "push")
    [install] = [call for call in done.calls if call[:2] == ["helm", "install"]]
    settings = dict(setting.split("=") for setting in install if "=" in setting)
    assert pushed == [f"{settings['image.repository']}:0.1.0", settings["trainer.image"]]
    assert all(name.startswith(f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/maskrcnn-") for name in pushed)


def written(done: Done, name: str) -> dict[str, Any]:
    """Return what a file has that the sequence writes."""
    found: dict[str, Any] = yaml.safe_load((done.folder / name).read_text(encoding="utf-8"))
    return found


def of_how_to(word: str) -> dict[str, Any]:
    """Return the JSON document of the how-to guide that has a word, for the tutorial's bucket and account."""
    [found] = [text for _, language, text, _ in fences(HOW_TO) if language == "json" and word in text]
    text = found.replace("my-data", BUCKET).replace("ACCOUNT", ACCOUNT)
    document: dict[str, Any] = json.loads(text.replace("PROVIDER", ISSUER.removeprefix("https://")))
    return document


@pytest.mark.parametrize(("name", "word"), [("policy.json", "s3:PutObject"), ("lifecycle.json", "Rules")])
def test_documents_are_those_of_the_how_to_guide(done: Done, name: str, word: str) -> None:
    assert written(done, name) == of_how_to(word)


def test_trust_of_the_role_is_that_of_the_how_to_guide(done: Done) -> None:
    word = "pods.eks" if done.names("--namespace", "aws", "eks", "create-pod-identity-association") else "WebIdentity"
    assert written(done, "trust.json") == of_how_to(word)


def test_experiment_is_that_of_the_local_store_with_a_workspace_of_aws(done: Done) -> None:
    found, expected = written(done, "on-eks.yaml"), yaml.safe_load(manifest())
    spec = expected["spec"]
    expected["metadata"] = {"name": "on-eks"}
    spec["workspace"]["objectStorage"]["url"] = f"s3://{BUCKET}/results"
    spec["objectStores"] = [{"prefix": f"s3://{BUCKET}", "region": "eu-west-1"}]
    spec["podOverrides"] = {"serviceAccountName": "trainer"}
    assert found == expected
    read_object(found)


def test_pictures_are_uploaded_to_where_the_experiment_reads_them(done: Done) -> None:
    [upload] = [call[-1] for call in done.calls if call[:3] == ["aws", "s3", "cp"]]
    spec = written(done, "on-eks.yaml")["spec"]
    below = upload.replace(spec["workspace"]["objectStorage"]["url"], "/workspace")
    directories = {step["datasetConvert"]["imageDir"] for step in spec["steps"] if "datasetConvert" in step}
    assert directories == {f"{below}/images"}


def test_results_are_listed_loaded_and_deleted_by_the_name_of_the_experiment(done: Done) -> None:
    calls = [shlex.join(call[1:]) for call in done.calls if call[0] == "maskrcnn-operator"]
    assert calls == [
        "artifacts on-eks -n research",
        "artifacts on-eks/train get -n research -o trained",
        "artifacts on-eks delete -n research --yes",
    ]


def test_results_are_deleted_while_the_experiment_names_their_url(done: Done) -> None:
    calls = [shlex.join(call) for call in done.calls]
    deletion = calls.index("maskrcnn-operator artifacts on-eks delete -n research --yes")
    assert deletion < calls.index("kubectl delete namespace research")


def test_commands_of_the_sequence_name_no_bucket_or_account_but_by_variables() -> None:
    script = "\n".join(block.script for block in section_blocks()[1:])
    assert re.findall(r"s3://[a-z]|arn:aws:s3:::[a-z]|iam::\d|\beu-west-1\b", script) == []
