"""Loading of results to a directory: whole sets, verified, with what an interrupted call has loaded."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from maskrcnn_trainer.artifacts.local_tree import UNFINISHED_FILES, LocalTree
from maskrcnn_trainer.artifacts.names import ArtifactName, printable
from maskrcnn_trainer.artifacts.overview import shown_size, size_of_files
from maskrcnn_trainer.artifacts.reading import SendRequest, read_overview, read_set, set_of_outcome
from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.object_store.fence.exchange_types import (
    FenceAnswer,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.object_store.fence.result_reading import ReadTerms, read_results
from maskrcnn_trainer.object_store.fence_store import StoreLevel
from maskrcnn_trainer.object_store.resumed_file import is_resumable, resumed_bytes
from maskrcnn_trainer.task.files import make_directory
from maskrcnn_trainer.task.progress_bar import ProgressMeter, progress_bar

_KB = 1000


class SenderSource(Protocol):
    """Store of experiments, as far as loading needs it."""

    def sender(self, *, into: Path | None = None, on_bytes: Callable[[int], None] = lambda _: None) -> SendRequest:
        """Return the function that carries out requests; FetchFiles writes to ``into``."""

    def level(self, prefix: str) -> StoreLevel:
        """Return the folders and objects directly below a prefix."""

    def resume(
        self, file: PublishedFile, folder: Path, *, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Path | None:
        """Return a verified copy of a file of several parts in a folder; None: there is no such object."""


@dataclass(frozen=True)
class LoadedResults:
    """Outcome of a load.

    Attributes:
        files: number of files that are in the directory now.
        size: their bytes.
        loaded: bytes that came from the store.
    """

    files: int
    size: int
    loaded: int


@dataclass(frozen=True)
class _StepFiles:
    """Files of one step that are loaded.

    Attributes:
        keys: of the step.
        name: that the user gave.
        files: of the set that was current when the command began.
    """

    keys: StepKeys
    name: ArtifactName
    files: tuple[PublishedFile, ...]

    def place(self, path: str) -> str:
        """Return the place of a file below the directory: its path below the name.

        Raises:
            InvalidInput: it is that of unfinished files.
        """
        if self.name.step is None:
            place = f"{self.keys.step}/{path}"
        elif self.name.path is None:
            place = path
        else:
            place = path[len(self.name.path) :].removeprefix("/") or path.rpartition("/")[2]
        if place.partition("/")[0] == UNFINISHED_FILES:
            raise InvalidInput(
                f"{self.keys.prefix}{printable(path)}: {UNFINISHED_FILES} can't be a place", reason="StoreRefused"
            )
        return place


def get_results(store: SenderSource, name: ArtifactName, directory: Path, *, overwrite: bool = False) -> LoadedResults:
    """Load the current results of an experiment, of a step, or a file or directory of them.

    Files come to ``UNFINISHED_FILES`` in the directory first, and are moved to their places once all are loaded and
    verified. A later call uses what an interrupted one has left there.

    Args:
        store: of the experiments.
        name: of the results; the directory gets the tree below it.
        directory: made if absent.
        overwrite: whether files with another content are replaced.

    Raises:
        InvalidInput: there are no results of this name, they are damaged, or the directory has another file.
        TryAgain: the store is unavailable, or another process uses the directory.
        WorkspaceFull: there is no space.
        Stopped: on request.
    """
    if directory.exists() and not directory.is_dir():
        raise InvalidInput(f"-o {directory}: is a file; give a directory")
    steps = _steps(store, name)
    make_directory(directory, flag="-o")
    with LocalTree(directory) as tree:
        load = _Load(tree, store, overwrite=overwrite)
        load.plan(steps)
        loaded = load.run(steps)
        tree.clear()
    return loaded


def _steps(store: SenderSource, name: ArtifactName) -> list[_StepFiles]:
    """Return the files of each step that a name selects."""
    send = store.sender()
    if name.step is not None:
        keys = StepKeys(name.experiment, name.step)
        files = tuple(file for file in read_set(send, keys).files if name.selects(file.path))
        if not files:
            raise InvalidInput(f"NAME: {keys.prefix.rstrip('/')} has no {name.path}", reason="NotPublished")
        return [_StepFiles(keys, name, files)]
    found = read_overview(store, name).experiments.get(name.experiment)
    steps = found.steps if found else {}
    for step, one in steps.items():
        if one.problem:
            raise InvalidInput(
                f"NAME: step {printable(step)} can't be read: {printable(one.problem)}; get the other steps by name",
                reason="StoreRefused",
            )
    keys_of_steps = [StepKeys(name.experiment, step) for step, one in steps.items() if one.current is not None]
    if not keys_of_steps:
        raise InvalidInput(f"NAME: {name} has no results", reason="NotPublished")
    return [_StepFiles(keys, name, read_set(send, keys).files) for keys in keys_of_steps]


@dataclass(frozen=True)
class _Counters:
    """Functions that are called with numbers of bytes: of an earlier call, and from the store."""

    found: Callable[[int], None]
    loaded: Callable[[int], None]


class _Load:
    """Load of the files of some steps.

    Args:
        tree: that receives them.
        store: of the experiments.
        overwrite: whether files with another content are replaced.
    """

    def __init__(self, tree: LocalTree, store: SenderSource, *, overwrite: bool) -> None:
        self._tree = tree
        self._store = store
        self._overwrite = overwrite
        self._in_place: set[tuple[str, str]] = set()
        self._size = 0
        self._loaded = 0

    def plan(self, steps: list[_StepFiles]) -> None:
        """Find the files that are in their places already.

        Raises:
            InvalidInput: others are in the way.
            WorkspaceFull: there is no space for the rest.
        """
        files = [(step.place(file.path), file) for step in steps for file in step.files]
        self._tree.keep({_partial_name(place, file) for place, file in files})
        missing = 0
        for place, file in files:
            if self._tree.has(place, file):
                self._in_place.add((place, file.key))
                continue
            self._refuse_other(place)
            self._size += file.size
            name = _partial_name(place, file)
            missing += 0 if self._tree.has_partial(name, file) else file.size - resumed_bytes(self._tree.parts(name))
        free = shutil.disk_usage(self._tree.root).free
        if missing > free:
            raise WorkspaceFull(
                f"-o {self._tree.root}: {shown_size(missing)} are to be loaded, and {shown_size(free)} are free"
            )

    def run(self, steps: list[_StepFiles]) -> LoadedResults:
        """Load the files of all steps, and move them to their places."""
        with _progress(self._size) as progress:

            def count(size: int) -> None:
                self._loaded += size
                progress(size)

            send = self._store.sender(into=self._tree.partial, on_bytes=count)
            sets = [self._load(step, send, _Counters(progress, count)) for step in steps]
        for step, files in zip(steps, sets, strict=True):
            for file in files:
                self._move(step.place(file.path), file)
        every = tuple(file for files in sets for file in files)
        return LoadedResults(len(every), size_of_files(every), self._loaded)

    def _load(self, step: _StepFiles, send: SendRequest, counters: _Counters) -> tuple[PublishedFile, ...]:
        """Load the files of a step; if they were replaced meanwhile, those that replace them."""
        paths = None if step.name.path is None else frozenset(file.path for file in step.files)

        def sent(request: FenceRequest) -> FenceAnswer:
            return self._fetch(step, request, send, counters) if isinstance(request, FetchFiles) else send(request)

        outcome = run_decision(read_results(ReadTerms(step.keys, paths=paths)), sent)
        files = set_of_outcome(outcome, step.keys).files
        return tuple(file for file in files if paths is None or file.path in paths)

    def _fetch(self, step: _StepFiles, request: FetchFiles, send: SendRequest, counters: _Counters) -> FenceAnswer:
        """Load files under names of their own, so that their paths have no effect on where they are written."""
        found: set[str] = set()
        missing: list[PublishedFile] = []
        for file in request.files:
            place = step.place(file.path)
            name = _partial_name(place, file)
            if (place, file.key) in self._in_place:
                found.add(file.key)
            elif self._tree.has_partial(name, file):
                found.add(file.key)
                counters.found(file.size)
            elif not is_resumable(file):
                missing.append(replace(file, path=name))
            elif self._is_resumed(file, name, counters):
                found.add(file.key)
        answer = send(FetchFiles(tuple(missing))) if missing else FetchedKeys(frozenset())
        return FetchedKeys(answer.keys | found) if isinstance(answer, FetchedKeys) else answer

    def _is_resumed(self, file: PublishedFile, name: str, counters: _Counters) -> bool:
        """Load the rest of a large file; return False if there is no such object."""
        folder = self._tree.parts(name)
        counters.found(resumed_bytes(folder))
        loaded = self._store.resume(file, folder, on_bytes=counters.loaded)
        if loaded is None:
            return False
        self._tree.complete(name, loaded)
        return True

    def _move(self, place: str, file: PublishedFile) -> None:
        if (place, file.key) not in self._in_place:
            self._refuse_other(place)
            self._tree.place(_partial_name(place, file), place)

    def _refuse_other(self, place: str) -> None:
        if not self._overwrite and self._tree.exists(place):
            raise InvalidInput(
                f"-o {self._tree.root}: {printable(place)} exists with another content; move it, give another "
                "directory, or add --overwrite"
            )


def _partial_name(place: str, file: PublishedFile) -> str:
    """Return the name of an unfinished file, which is that of its content and place."""
    return hashlib.sha256(f"{place}\n{file.key}\n{file.size}\n{file.sha256}".encode()).hexdigest()


@contextlib.contextmanager
def _progress(size: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a number of bytes; the value counts those that are loaded."""
    unit, symbol = (_KB * _KB, "MB") if size >= 10 * _KB * _KB else (_KB, "kB")
    done = 0
    if not size:
        yield lambda _: None
        return
    with progress_bar("Loading", max(1, size // unit), symbol) as meter:

        def count(more: int) -> None:
            nonlocal done
            done += more
            _advance(meter, done // unit)

        yield count


def _advance(meter: ProgressMeter, done: int) -> None:
    if done > meter.done:
        meter.advance(done - meter.done)
