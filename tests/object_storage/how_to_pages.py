"""Pages of docs/how-to whose commands are run as they are, on the S3 server of ``make dev-s3``."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.apiserver.binaries import cache_folder
from tests.object_storage.installs import InstallError, moto_python
from tests.unit.docs.test_commands import Block, blocks

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900


@dataclass(frozen=True)
class HowToPage:
    """A page.

    Attributes:
        name: of its file.
    """

    name: str

    @property
    def text(self) -> str:
        """Return its content."""
        return (ROOT / "docs" / "how-to" / self.name).read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        """Return its blocks of commands."""
        return [block for block in blocks() if block.where.startswith(f"docs/how-to/{self.name}:")]

    @property
    def script(self) -> str:
        """Return the commands that are run."""
        return "".join(block.script for block in self.blocks if block.mark[0] == "run")

    @property
    def manifest(self) -> str:
        """Return the page's whole manifest."""
        [found] = re.findall(r"^```yaml\n(apiVersion: maskrcnn\.dev/.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        return str(found)

    def check_marks(self, commands: tuple[str, ...], not_run: set[str]) -> None:
        """Check that commands are run in this order, and that those of accounts and clusters aren't.

        Args:
            commands: one of each block that is run.
            not_run: reasons of the others.
        """
        run = "\n".join(block.script for block in self.blocks if block.mark[0] == "run")
        places = [run.find(command) for command in commands]
        assert -1 not in places
        assert places == sorted(places)
        assert {block.mark[1] for block in self.blocks if block.mark[0] != "run"} == not_run
        for block in self.blocks:
            needs_account = re.search(r"^\s*(?:aws|kubectl|az|gcloud) |\$\(aws ", block.script, re.MULTILINE)
            assert not (needs_account and block.mark[0] == "run"), block.where

    def run(self, script: str, folder: Path, variables: Mapping[str, str]) -> None:
        """Run commands in the repository as a user with another home; the output is in its file ``output``.

        A test is skipped if the S3 server can't be installed.

        Args:
            script: the commands.
            folder: home of the user, with the cache ``cache``.
            variables: further environment variables.
        """
        try:
            moto_python()
        except InstallError as error:
            pytest.skip(str(error))
        cache = folder / "cache"
        (cache / "maskrcnn-operator").mkdir(parents=True)
        (cache / "maskrcnn-operator" / "object-storage").symlink_to(cache_folder() / "object-storage")
        environment = {**os.environ, **variables, "HOME": str(folder), "XDG_CACHE_HOME": str(cache)}
        try:
            with (folder / "output").open("w") as output:
                done = subprocess.run(
                    ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script],
                    cwd=ROOT,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=SECONDS,
                    check=False,
                )
        finally:
            stop = ["/usr/bin/env", "make", "-s", "dev-s3", "ARGS=--stop"]
            subprocess.run(stop, cwd=ROOT, env=environment, check=False)
        assert done.returncode == 0, (folder / "output").read_text()[-6000:]


def server_has_ended(folder: Path) -> bool:
    """Return whether the S3 server of a user's commands has ended, by their output and by its state."""
    ended = "The S3 server has ended." in (folder / "output").read_text()
    return ended and not (folder / "cache" / "maskrcnn-operator" / "dev-s3").exists()
