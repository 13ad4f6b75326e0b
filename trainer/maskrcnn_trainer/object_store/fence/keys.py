"""Keys of the objects below an experiment, relative to the URL of all experiments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from maskrcnn_trainer.shared.messages import RUN_FILE

_WRITTEN_ONCE = re.compile(r"([1-9][0-9]{0,17})-([0-9a-z]{1,64})-(0|[1-9][0-9]{0,17})-([0-9A-Za-z._-]{1,200})")
_PART = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._-]*[0-9A-Za-z])?")
_UNSAFE_IN_NAME = re.compile(r"[^0-9A-Za-z._-]")
LONGEST_NAME_IN_KEY = 100
"""Most characters of a file's name that its key repeats."""
NUMBERS_PER_NODE = 10**11
"""Numbers of the writes of one node under one claim: more than seconds since 1970, by which other nodes count."""


@dataclass(frozen=True, slots=True)
class WrittenOnce:
    """Parts of a key that is written once: epoch and token of the writer, and number of the write."""

    epoch: int
    token: str
    number: int
    name: str

    @property
    def node(self) -> int:
        """Return the rank of the node that wrote the object: 0 for all but logs of other nodes."""
        return self.number // NUMBERS_PER_NODE


@dataclass(frozen=True, slots=True)
class StepKeys:
    """Keys of a step.

    Args:
        experiment: name of the experiment.
        step: name of the step.
    """

    experiment: str
    step: str

    def __post_init__(self) -> None:
        for value, what in ((self.experiment, "experiment"), (self.step, "step")):
            if not _PART.fullmatch(value):
                raise ValueError(f"The name {value!r} of the {what} isn't one that a key can contain")

    @property
    def owner(self) -> str:
        """Key of the experiment's owner."""
        return owner_key(self.experiment)

    @property
    def prefix(self) -> str:
        """Prefix of all keys of this step."""
        return f"{self.experiment}/{self.step}/"

    @property
    def pointer(self) -> str:
        """Key of the pointer."""
        return f"{self.prefix}{RUN_FILE}"

    def written_once(self, epoch: int, token: str, number: int, path: str) -> str:
        """Return the key of a file or manifest, which repeats the end of its path for those who read a listing."""
        name = _UNSAFE_IN_NAME.sub("_", path.rpartition("/")[2])[-LONGEST_NAME_IN_KEY:] or "_"
        return f"{self.prefix}o/{epoch}-{token}-{number}-{name}"

    def parse(self, key: str) -> WrittenOnce | None:
        """Return the parts of a key of this step that is written once; None for all others, which are foreign."""
        folder = f"{self.prefix}o/"
        found = _WRITTEN_ONCE.fullmatch(key[len(folder) :]) if key.startswith(folder) else None
        return WrittenOnce(int(found[1]), found[2], int(found[3]), found[4]) if found else None


def owner_key(experiment: str) -> str:
    """Return the key of an experiment's owner."""
    return f"{experiment}/owner.json"


def steps_in(experiment: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the steps that have a pointer or objects of ours among an experiment's keys, in order."""
    found = set()
    for key in keys:
        above, _, rest = key.partition("/")
        step, _, below = rest.partition("/")
        if above != experiment or not _PART.fullmatch(step):
            continue
        if below == RUN_FILE or StepKeys(experiment, step).parse(key) is not None:
            found.add(step)
    return tuple(sorted(found))
