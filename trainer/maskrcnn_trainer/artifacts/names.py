"""Names on the command line: of an experiment, of a step, and of a file or directory of its results."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.untrusted import refuse_unsafe_path

FORM_OF_NAME = "EXPERIMENT, EXPERIMENT/STEP, or EXPERIMENT/STEP/PATH"
_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class ArtifactName:
    """Name of results below a URL.

    Attributes:
        experiment: name of the experiment.
        step: name of the step; None: the whole experiment.
        path: file or directory, relative to the step's directory; None: the whole step.
    """

    experiment: str
    step: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.experiment, self.step, self.path) if part is not None)

    def selects(self, path: str) -> bool:
        """Return whether a file of the step is this one, or lies below this directory."""
        return self.path is None or path == self.path or path.startswith(f"{self.path}/")


def parse_name(text: str) -> ArtifactName:
    """Return the name in a text.

    Raises:
        InvalidInput: it is none that an experiment, a step, or a path can have.
    """
    # completions of a shell end in a slash
    text = text.removesuffix("/")
    experiment, _, rest = text.partition("/")
    step, _, path = rest.partition("/")
    try:
        StepKeys(experiment, step if "/" in text else "any")
    except ValueError:
        raise InvalidInput(
            f"NAME {printable(text)!r} must be {FORM_OF_NAME}, with names of letters, digits, and . _ -",
            reason="InvalidCommandLine",
        ) from None
    if path or rest != step:
        refuse_unsafe_path(path, "NAME")
    return ArtifactName(experiment, step or None, path or None)


def printable(text: str) -> str:
    """Return a text from a store as a terminal may show it: without control characters, and not too long."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 3]}..."
