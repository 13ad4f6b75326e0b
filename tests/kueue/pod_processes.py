"""Pods of a training in a bucket as processes of this machine: ``maskrcnn launch`` of the stand-in task."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.apiserver.pod_scripts import ContainerEnd, PodFacts
from tests.object_storage.commands import environment
from tests.object_storage.stand_in_task import PROGRAM, ROOT

from maskrcnn_operator.api.pod_stores import STORES_DIRECTORY
from maskrcnn_operator.jobs.pod import TERMINATION_LOG
from maskrcnn_trainer.shared.variables import VARIABLE_PREFIX, WORKING_DIR_VARIABLE

TERMINATION_FILE = "termination-log"
OUTPUT = "output.log"


@dataclass(frozen=True)
class PodProcesses:
    """Runs the containers of pods; each has directories of its own, so that none finds files of another.

    Attributes:
        folder: for the directories, which are named by the pods.
        secret: files of the Secret of the only store.
        options: flags of the stand-in task.
    """

    folder: Path
    secret: Mapping[str, str]
    options: tuple[str, ...] = ()

    async def run(self, facts: PodFacts, deleted: asyncio.Event) -> ContainerEnd:
        """Run a pod's command with its environment; send it SIGTERM once the pod is deleted."""
        folder = self.folder / facts.name
        self._mount(folder)
        container = facts.pod["spec"]["containers"][0]
        with (folder / OUTPUT).open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(*PROGRAM, *self._arguments(container)),
                cwd=ROOT,
                env={**_of_this_machine(), **_environment(container, folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        ended, stopped = asyncio.ensure_future(process.wait()), asyncio.ensure_future(deleted.wait())
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.send_signal(signal.SIGTERM)
            code = await ended
        finally:
            stopped.cancel()
            if process.returncode is None:
                process.kill()
        message = folder / TERMINATION_FILE
        return ContainerEnd(code if code >= 0 else 128 - code, message.read_text() if message.exists() else "")

    def output(self, pod: str) -> str:
        """Return the output of a pod, by its name."""
        return (self.folder / pod / OUTPUT).read_text()

    def _mount(self, folder: Path) -> None:
        directory = folder / "stores" / "0"
        directory.mkdir(parents=True)
        for name, value in self.secret.items():
            (directory / name).write_text(value)

    def _arguments(self, container: Mapping[str, Any]) -> list[str]:
        """Return the arguments of launch, with those of the stand-in task behind ``--``."""
        arguments: list[str] = container["args"]
        end = arguments.index("--")
        results = arguments[arguments.index("-d") + 1]
        return [*arguments[:end], "--", "train", "-d", results, *self.options]


def _of_this_machine() -> dict[str, str]:
    return {name: value for name, value in environment().items() if not name.startswith(VARIABLE_PREFIX)}


def _environment(container: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the variables of a container, whose mounts are directories of this machine."""
    values = {entry["name"]: entry["value"].replace("$$", "$") for entry in container["env"] if "value" in entry}
    places = {
        TERMINATION_LOG: folder / TERMINATION_FILE,
        STORES_DIRECTORY: folder / "stores",
        values[WORKING_DIR_VARIABLE]: folder / "scratch",
    }
    for name, value in values.items():
        if name.startswith(VARIABLE_PREFIX):
            for path, place in places.items():
                value = value.replace(path, str(place))  # noqa: PLW2901 - several paths in one value
            values[name] = value
    return values
