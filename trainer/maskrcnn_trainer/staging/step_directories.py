"""Directories and patterns in object storage that cover steps, whose files are found through their pointers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.object_store.explanations import REASONS_OF_REFUSALS
from maskrcnn_trainer.shared.messages import RUN_FILE
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.staging.published_inputs import ObjectLookup, PublishedSteps, StepObjects, StepPlace

log = logging.getLogger(__name__)


class DirectoryWithSteps:
    """Look-up of objects in a store, in which the directory of each step has the files that the step has published.

    Args:
        store: look-up of the objects as they are.
        steps: for the steps among them.
        root: URL of all experiments, or of the container: then a step is found below any prefix.
        any_prefix: whether steps are found below any prefix of the root.
    """

    def __init__(self, store: ObjectLookup, steps: PublishedSteps, root: ObjectUrl, *, any_prefix: bool) -> None:
        self._store = store
        self._steps = steps
        self._root = root
        self._any_prefix = any_prefix

    def head(self, key: str) -> ObjectInfo | None:
        """Return an object of the store."""
        return self._store.head(key)

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix that aren't of a step, and then the published files of each step."""
        listed = list(self._store.list(prefix, recursive=recursive))
        found: list[StepObjects] = []
        folders: list[str] = []
        for place in places_in((info.key for info in listed), self._root, any_prefix=self._any_prefix):
            if not is_step(place, self._steps, of_another_program=self._any_prefix):
                continue
            folders.append(f"{place.url.key}/")
            objects = self._steps.find_if_published(place)
            found += [objects] if objects is not None else []
        yield from (info for info in listed if not info.key.startswith(tuple(folders)))
        for step in found:
            yield from step.list(prefix)


class ObjectsOfPattern:
    """Look-up of the objects that a pattern matches, which refuses a pattern that reaches into a step.

    Args:
        store: look-up of the objects as they are.
        steps: for the steps among them.
        root: see :class:`DirectoryWithSteps`.
        any_prefix: see :class:`DirectoryWithSteps`.
        reaches: whether the pattern may match a file below a URL.
    """

    def __init__(
        self,
        store: ObjectLookup,
        steps: PublishedSteps,
        root: ObjectUrl,
        *,
        any_prefix: bool,
        reaches: Callable[[ObjectUrl], bool],
    ) -> None:
        self._store = store
        self._steps = steps
        self._root = root
        self._any_prefix = any_prefix
        self._reaches = reaches

    def head(self, key: str) -> ObjectInfo | None:
        """Return an object of the store."""
        return self._store.head(key)

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix.

        Raises:
            InvalidInput: the pattern may match files of a step.
        """
        pointers: list[str] = []
        for info in self._store.list(prefix, recursive=recursive):
            if info.key.endswith(f"/{RUN_FILE}"):
                pointers.append(info.key)
            yield info
        for place in places_in(pointers, self._root, any_prefix=self._any_prefix):
            if self._reaches(place.url) and is_step(place, self._steps, of_another_program=self._any_prefix):
                raise InvalidInput(
                    f"the pattern reaches the results of the step {place.url}, which are found through its pointer: "
                    "give a pattern for each step, with the names of experiment and step written out",
                    reason="InvalidData",
                )


def is_step(place: StepPlace, steps: PublishedSteps, *, of_another_program: bool) -> bool:
    """Return whether a place with a file of the pointer's name is the directory of a step.

    Args:
        place: of the file.
        steps: look-up of the pointer.
        of_another_program: whether a file that isn't a pointer is accepted as another program's.

    Raises:
        InvalidInput: the file isn't a pointer (64).
        TryAgain: the store doesn't answer (75).
    """
    try:
        return steps.exists(place)
    except InvalidInput as error:
        if error.reason in REASONS_OF_REFUSALS and of_another_program:
            log.warning("%s is taken as another program's directory, not as a step: %s", place.url, error)
            return False
        raise


def places_in(keys: Iterable[str], root: ObjectUrl, *, any_prefix: bool) -> list[StepPlace]:
    """Return the steps that seem to have a pointer among some keys.

    Args:
        keys: of a container.
        root: URL of all experiments.
        any_prefix: whether experiments below any prefix of the root count.
    """
    found: list[StepPlace] = []
    for key in keys:
        above, _, name = key.rpartition("/")
        if name != RUN_FILE or above.count("/") < 1:
            continue
        above, _, step = above.rpartition("/")
        prefix, _, experiment = above.rpartition("/")
        own_root = ObjectUrl(root.scheme, root.container, prefix)
        place = StepPlace.of(own_root, experiment, step)
        if place is not None and (own_root.is_below(root) if any_prefix else own_root == root):
            found.append(place)
    return found


def places_above(url: ObjectUrl, *, itself: bool) -> list[StepPlace]:
    """Return the steps in whose directory a URL may lie, the innermost first, by the names in it alone.

    Args:
        url: of an object or a directory.
        itself: whether the URL may be the directory of a step.
    """
    segments = url.key.split("/")
    found = []
    for end in range(len(segments) - (0 if itself else 1), 1, -1):
        root = ObjectUrl(url.scheme, url.container, "/".join(segments[: end - 2]))
        place = StepPlace.of(root, segments[end - 2], segments[end - 1])
        found += [place] if place is not None else []
    return found
