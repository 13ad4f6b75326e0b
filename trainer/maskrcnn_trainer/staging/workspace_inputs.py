"""Paths below ``/workspace`` where it stands for a URL: the keys that they name, and whose results are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectPattern, ObjectUrl, key_problem, parse_url
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.shared.variables import (
    INPUT_FINGERPRINTS_VARIABLE,
    RESULTS_DIR_VARIABLE,
    WORKSPACE_URL_VARIABLE,
)
from maskrcnn_trainer.staging.published_inputs import StepPlace

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class WorkspaceInStore:
    """Workspace in object storage, as one task sees it.

    Attributes:
        url: that ``/workspace`` stands for.
        experiment: name of the task's experiment; empty if unknown.
        fingerprints: of the steps of that experiment whose results the task reads, oldest first, by name of the step.
    """

    url: ObjectUrl
    experiment: str = ""
    fingerprints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> WorkspaceInStore | None:
        """Return the workspace of the environment's variables; None if ``/workspace`` is a directory.

        Raises:
            InvalidInput: a variable is invalid.
        """
        text = environ.get(WORKSPACE_URL_VARIABLE)
        if not text:
            return None
        url = parse_url(text, WORKSPACE_URL_VARIABLE)
        if not url.container:
            raise InvalidInput(f"{WORKSPACE_URL_VARIABLE}: a URL of a file has no objects: leave the variable out")
        fingerprints = _fingerprints(environ.get(INPUT_FINGERPRINTS_VARIABLE) or "{}")
        parts = (environ.get(RESULTS_DIR_VARIABLE) or "").rstrip("/").split("/")
        experiment = parts[-2] if len(parts) > 1 else ""
        if fingerprints and not experiment:
            raise InvalidInput(
                f"{INPUT_FINGERPRINTS_VARIABLE}: the experiment of these steps isn't known: set {RESULTS_DIR_VARIABLE} "
                "to EXPERIMENT/STEP below the working directory"
            )
        return cls(url, experiment, fingerprints)

    def fingerprints_of(self, place: StepPlace) -> tuple[str, ...]:
        """Return the fingerprints whose results a task reads from a step; empty: those of the current one."""
        if place.root != self.url or place.keys.experiment != self.experiment:
            return ()
        return self.fingerprints.get(place.keys.step, ())

    def url_of(self, path: str, field_name: str) -> ObjectUrl:
        """Return the URL that a path below ``/workspace`` stands for; characters in it are literal.

        Raises:
            InvalidInput: the path leaves the workspace, or can't be a key.
        """
        return self._url(_segments(path, field_name), field_name)

    def pattern_of(self, path: str, field_name: str) -> ObjectPattern:
        """Return the pattern of URLs that a pattern below ``/workspace`` stands for.

        Raises:
            InvalidInput: the path leaves the workspace, or can't be a key.
        """
        segments = _segments(path, field_name)
        literal = next((at for at, segment in enumerate(segments) if _WILDCARD.search(segment)), len(segments))
        return ObjectPattern(self._url(segments[:literal], field_name), "/".join(segments[literal:]))

    def step_above(self, url: ObjectUrl) -> StepPlace | None:
        """Return the step whose directory a URL below the workspace is or lies in, by the names in it alone."""
        below = url.key[len(self.url.key) :].removeprefix("/")
        experiment, _, rest = below.partition("/")
        return StepPlace.of(self.url, experiment, rest.partition("/")[0])

    def path_of(self, url: ObjectUrl) -> str:
        """Return the path below ``/workspace`` of a URL."""
        below = url.key[len(self.url.key) :].removeprefix("/")
        return f"{WORKSPACE_MOUNT}/{below}" if below else WORKSPACE_MOUNT

    def with_paths(self, text: str) -> str:
        """Return a message in which paths replace the URLs of objects in the workspace."""
        return re.sub(rf"{re.escape(str(self.url))}(?=/)", WORKSPACE_MOUNT, text)

    def _url(self, segments: list[str], field_name: str) -> ObjectUrl:
        key = "/".join(filter(None, [self.url.key, *segments]))
        if key and (problem := key_problem(key)):
            raise InvalidInput(f"{field_name}: {problem}")
        return ObjectUrl(self.url.scheme, self.url.container, key)


def is_workspace_path(text: str) -> bool:
    """Return whether a text is ``/workspace`` or a path below it."""
    return text == WORKSPACE_MOUNT or text.startswith(f"{WORKSPACE_MOUNT}/")


def _segments(path: str, field_name: str) -> list[str]:
    segments = [one for one in path.removeprefix(WORKSPACE_MOUNT).split("/") if one not in ("", ".")]
    if ".." in segments:
        raise InvalidInput(f"{field_name}: {path} has a '..', which object storage doesn't have: write the path out")
    return segments


def _fingerprints(text: str) -> dict[str, tuple[str, ...]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(_is_list_of_names(names) for names in value.values()):
        raise InvalidInput(
            f'{INPUT_FINGERPRINTS_VARIABLE}: the value must be JSON such as {{"train": ["FINGERPRINT"]}}, as the '
            "operator writes it"
        )
    return {step: tuple(names) for step, names in value.items()}


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) and name for name in value)
