"""Tests of the operator's command about results: names of experiments of the cluster, and URLs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from maskrcnn_operator.cli import main
from maskrcnn_operator.cluster import stored_results
from maskrcnn_operator.cluster.stored_results import ClusterFlags, StoredResults
from maskrcnn_operator.runtime import artifacts_command
from maskrcnn_trainer.errors import TryAgain

URL = "s3://bucket/results"
STORES = "MASKRCNN_OBJECT_STORES"


class Replaced(Exception):
    """End of this process, which becomes the trainer's command."""


class Cluster:
    """Stand-in for the cluster and for the trainer's command.

    Attributes:
        asked: name, namespace, kubeconfig, context, and file of stores of each experiment that was asked for.
        with_owner: whether the owner of each was asked for, too.
        started: arguments and variables of the trainer's command.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.with_owner: list[bool] = []
        self.started: list[tuple[list[str], Mapping[str, str] | None]] = []
        self.error: Exception | None = None

    async def find(
        self, name: str, flags: ClusterFlags, store_config: Path | None, *, with_owner: bool
    ) -> StoredResults:
        self.asked.append((name, flags.namespace, flags.kubeconfig, flags.context, store_config))
        self.with_owner.append(with_owner)
        if self.error is not None:
            raise self.error
        namespace = flags.namespace or "of-the-context"
        return StoredResults(URL, f"stores of {store_config}", namespace, "uid-1" if with_owner else None)

    def replace(self, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> NoReturn:
        self.started.append((list(arguments), variables))
        raise Replaced

    def call(self, *arguments: str) -> list[str]:
        """Return the arguments of the trainer's command that a command line becomes."""
        with pytest.raises(Replaced):
            main(["artifacts", *arguments])
        return self.started[-1][0]

    def exit_code(self, *arguments: str) -> int | str | None:
        with pytest.raises(SystemExit) as end:
            main(["artifacts", *arguments])
        assert self.started == []
        return end.value.code


@pytest.fixture(name="cluster")
def _cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(stored_results, "find_results", cluster.find)
    monkeypatch.setattr(artifacts_command, "run_artifacts", cluster.replace)
    return cluster


@pytest.mark.parametrize(
    ("given", "started"),
    [
        (["shapes"], [URL, "list", "shapes"]),
        (["shapes", "--json"], [URL, "list", "shapes", "--json"]),
        (["shapes", "list"], [URL, "list", "shapes"]),
        (["shapes/train", "get", "-o", "out"], [URL, "get", "shapes/train", "-o", "out"]),
        (["shapes/train/model.tlt", "link"], [URL, "link", "shapes/train/model.tlt"]),
        (["shapes", "clean"], [URL, "clean", "shapes"]),
    ],
)
def test_name_goes_behind_the_action(cluster: Cluster, given: list[str], started: list[str]) -> None:
    assert cluster.call(*given) == started


def test_uid_of_the_namespace_is_the_owner_whose_results_are_deleted(cluster: Cluster) -> None:
    started = cluster.call("shapes", "delete", "--yes", "-n", "team")
    assert started == [URL, "delete", "shapes", "--owner-namespace", "team", "--owner-id", "uid-1", "--yes"]


def test_given_owner_id_replaces_the_uid(cluster: Cluster) -> None:
    started = cluster.call("shapes", "delete", "--owner-id", "my-clusters", "-n", "team")
    assert started == [URL, "delete", "shapes", "--owner-namespace", "team", "--owner-id", "my-clusters"]
    assert cluster.with_owner == [False]


@pytest.mark.parametrize("action", ["list", "link", "clean"])
def test_owner_is_needed_for_a_deletion_only(cluster: Cluster, action: str) -> None:
    cluster.call("shapes", action)
    assert cluster.with_owner == [False]


@pytest.mark.parametrize(
    "given",
    [
        ["-n", "team", "--context", "lab", "--kubeconfig", "f", "shapes", "get", "-o", "out"],
        ["shapes", "get", "-o", "out", "-n", "team", "--context", "lab", "--kubeconfig", "f"],
    ],
)
def test_flags_of_the_cluster_are_read_before_and_after_the_name(cluster: Cluster, given: list[str]) -> None:
    assert cluster.call(*given) == [URL, "get", "shapes", "-o", "out"]
    assert cluster.asked == [("shapes", "team", Path("f"), "lab", None)]


def test_stores_go_to_the_trainer_in_place_of_the_file(cluster: Cluster) -> None:
    assert cluster.call("shapes", "--store-config", "c.yaml") == [URL, "list", "shapes"]
    assert cluster.started[-1][1] == {STORES: "stores of c.yaml"}


@pytest.mark.parametrize("place", ["s3://bucket/results", "/workspace", "./workspace"])
def test_url_and_path_are_passed_on_without_the_cluster(cluster: Cluster, place: str) -> None:
    given = ["--store-config", "c.yaml", place, "get", "shapes/train", "-o", "out"]
    assert cluster.call(*given) == given
    assert cluster.asked == []


@pytest.mark.parametrize("given", [["shapes", "get"], ["get"], ["-n", "team", "shapes/train", "get"]])
def test_help_of_an_action_has_the_order_that_is_accepted(
    cluster: Cluster, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cluster.exit_code(*given, "--help") == 0
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert usage.startswith("usage: maskrcnn-operator artifacts NAME get [-h] [-n NS]")
    assert usage.split()[-3:] == ["-o", "DIR", "[--overwrite]"]
    assert cluster.asked == []


def test_help_of_a_name_is_that_of_its_list(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.exit_code("shapes", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: maskrcnn-operator artifacts NAME list ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["Shapes"], "NAME 'Shapes': must begin with the name of an experiment, or be a URL, s3://BUCKET/PREFIX"),
        (["shapes", "take"], "ACTION 'take': must be list, get, link, clean, or delete"),
        (["shapes", "get", "shapes/train"], "'shapes/train' can't follow get: write the name before it"),
        (["shapes", "-n"], "expected one argument"),
        (
            ["list", "-n", "research"],
            "NAME is missing before list: write EXPERIMENT list, or, for an experiment that is",
        ),
        (["delete", "--yes"], "NAME is missing before delete"),
        (["shapes", "get"], "the following arguments are required: -o/--output"),
        (["shapes", "clean", "--yes"], "unrecognized arguments: --yes"),
        (["shapes", "clean", "--owner-id", "me"], "unrecognized arguments: --owner-id me"),
        (["shapes", "delete", "--owner-namespace", "other"], "unrecognized arguments: --owner-namespace other"),
        (["shapes", "delete", "--owner-id", ""], "argument --owner-id: '' isn't 1 to 128 letters"),
        ([URL, "-n", "research"], "-n research: with a URL the cluster isn't used; leave -n out"),
        ([URL, "delete", "shapes", "--context", "lab"], "--context lab: with a URL the cluster isn't used"),
        (["--kubeconfig", "f", URL], "--kubeconfig f: with a URL the cluster isn't used"),
    ],
)
def test_command_line_that_cannot_work_is_refused(
    cluster: Cluster, given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cluster.exit_code(*given) == 64
    assert message in capsys.readouterr().err
    assert cluster.asked == []


def test_experiment_with_the_name_of_an_action_is_found(cluster: Cluster) -> None:
    assert cluster.call("list", "list") == [URL, "list", "list"]


def test_exit_code_is_that_of_the_error(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.error = TryAgain("the API server is unavailable")
    assert cluster.exit_code("shapes") == 75
    assert capsys.readouterr().err == "maskrcnn-operator artifacts: the API server is unavailable\n"


def test_help_has_the_actions(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.exit_code("--help") == 0
    assert "{list,get,link,clean,delete}" in capsys.readouterr().out


def test_command_without_a_name_is_refused_with_the_help(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.exit_code() == 64
    assert capsys.readouterr().err.startswith("usage: maskrcnn-operator artifacts")


def test_url_needs_no_kubernetes_client() -> None:
    # the trainer's own message shows that it was reached
    block = "import sys; sys.modules['kubernetes'] = None; sys.modules['aiohttp'] = None; "
    program = f"{block} from maskrcnn_operator.cli import main; main(['artifacts', '/a/path', 'list'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60, env=os.environ
    )
    assert done.returncode == 64
    assert "URL: must begin with s3://, gs://, or az://" in done.stderr


def test_name_without_the_kubernetes_client_names_what_to_install() -> None:
    block = "import sys; sys.modules['kubernetes'] = None; "
    program = f"{block} from maskrcnn_operator.cli import main; main(['artifacts', 'shapes', 'list'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 64
    assert "install maskrcnn-operator[operator], or use the URL of its workspace" in done.stderr
