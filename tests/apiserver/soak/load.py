"""Experiments of a soak: arrival, behavior of their pods, actions of their users, and expected end. No I/O."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.apiserver.invariants import End
from tests.apiserver.pod_scripts import STOPPED, Play, PodFacts
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, GANG, NINE_STEPS, TRAIN, manifest
from tests.apiserver.soak.hostile import TERMINATION_MESSAGES

SHARED_CLAIM = "maskrcnn"
SINGLE_CLAIM = "single"
"""ReadWriteOnce claim, with which a step of several nodes is invalid."""

ARRIVE_WITHIN = 0.6
"""Fraction of the run in which experiments arrive."""
LONG_ENDS_AT = 0.7
"""Fraction of the run after which a long training ends."""
DEADLINE_OF_LONG = 3 * 24 * 3600
_RETRIED = (1, 75, 137, STOPPED)
_TRANSIENT_SHARE = 0.15
_TTL_SHARE = 0.8
_DEADLINE_SHARE = 0.5

Steps = list[dict[str, Any]]
Plays = Mapping[tuple[str, int], tuple[Play, ...]]


@dataclass(frozen=True)
class Act:
    """Action of a user on an experiment.

    Attributes:
        after: seconds since the experiment was created.
        patch: merge patch of its spec; None to delete the experiment.
    """

    after: float
    patch: Mapping[str, Any] | None


@dataclass(frozen=True)
class Planned:
    """One experiment of the run.

    Attributes:
        at: seconds from the start of the run to its creation.
        end: expected end.
        plays: by step and index, the plays of successive pods; the last one is repeated.
        progress: whether the progress of its training is written at the highest rate.
    """

    at: float
    namespace: str
    manifest: Mapping[str, Any]
    end: End = End.SUCCEEDED
    plays: Plays = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    progress: bool = False

    @property
    def name(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.manifest['metadata']['name']}"


def plan_load(
    rng: random.Random, number: int, namespaces: Sequence[str], seconds: float, *, hostile: bool = False
) -> list[Planned]:
    """Return ``number`` experiments for a run of ``seconds``, in the order of their arrival.

    With ``hostile`` there is one more for each of the harmful termination messages.
    """
    kinds = [kind for kind, (times, _) in KINDS.items() for _ in range(times)]
    kinds = [kinds[index % len(kinds)] for index in range(number)]
    kinds += list(TERMINATION_MESSAGES) if hostile else []
    rng.shuffle(kinds)
    planned = []
    for index, kind in enumerate(kinds):
        name = f"{kind}-{index}"
        if kind in TERMINATION_MESSAGES:
            made = _planned(rng, name, [CONVERT], plays={("convert", 0): (TERMINATION_MESSAGES[kind], Play())})
        else:
            made = KINDS[kind][1](rng, name, seconds)
        # a long training starts early, so that there is time for its progress
        latest = 0.05 if kind == "long" else ARRIVE_WITHIN
        planned.append(replace(made, at=rng.uniform(0.0, latest * seconds), namespace=rng.choice(namespaces)))
    return sorted(planned, key=lambda item: item.at)


class Script:
    """Thread-safe script of played kubelets: chooses the play of each pod."""

    def __init__(self, load: Sequence[Planned]) -> None:
        self._plays = {item.name: item.plays for item in load}
        self._given: Counter[tuple[str, str, int]] = Counter()
        self._lock = threading.Lock()

    def __call__(self, pod: PodFacts) -> Play | None:
        """Return the play of the next pod of that step and index; None for the default."""
        name = f"{pod.namespace}/{pod.experiment}"
        plays = self._plays.get(name, {}).get((pod.step, pod.index))
        if not plays:
            return None
        with self._lock:
            number = self._given[name, pod.step, pod.index]
            self._given[name, pod.step, pod.index] += 1
        return plays[min(number, len(plays) - 1)]


def _planned(
    rng: random.Random,
    name: str,
    steps: Steps,
    end: End = End.SUCCEEDED,
    plays: Plays | None = None,
    **spec: Any,
) -> Planned:
    # most are deleted some time after their end, so that their number doesn't grow with the length of the run
    if rng.random() < _TTL_SHARE:
        spec["ttlSecondsAfterFinished"] = rng.randrange(60, 120)
    if rng.random() < _DEADLINE_SHARE:
        spec.setdefault("activeDeadlineSeconds", DEADLINE_OF_LONG)
    plays = _transient(rng, steps) if plays is None else plays
    return Planned(0.0, "", manifest(name, *steps, **spec), end, plays)


def _transient(rng: random.Random, steps: Steps, longest: float = 4.0) -> Plays:
    """Return plays of up to ``longest`` seconds; the first pod of some steps fails with a transient error."""
    plays = {}
    for step in steps:
        for index in range(step.get("nodes", 1)):
            good = Play(seconds=rng.uniform(0.2, longest), stop_seconds=rng.uniform(0.0, 1.0))
            bad = replace(good, exit_code=rng.choice(_RETRIED))
            plays[step["name"], index] = (bad, good) if rng.random() < _TRANSIENT_SHARE else (good,)
    return plays


def _endless() -> Play:
    return Play(seconds=None, stop_seconds=1.0)


def _stopped() -> Play:
    """Return a play that is long enough to be stopped by its user's action."""
    return Play(seconds=40.0, stop_seconds=1.5)


def _plain(rng: random.Random, name: str, _: float) -> Planned:
    return _planned(rng, name, [CONVERT, TRAIN, EVALUATE])


def _gang(rng: random.Random, name: str, _: float) -> Planned:
    return _planned(rng, name, [CONVERT, GANG, EVALUATE])


def _nine(rng: random.Random, name: str, _: float) -> Planned:
    return _planned(rng, name, NINE_STEPS, plays=_transient(rng, NINE_STEPS, longest=1.0))


def _too_late(rng: random.Random, name: str, _: float) -> Planned:
    return _planned(rng, name, [TRAIN], End.FAILED, {("train", 0): (_endless(),)}, activeDeadlineSeconds=10)


def _refused_data(rng: random.Random, name: str, _: float) -> Planned:
    return _planned(rng, name, [CONVERT, TRAIN], End.FAILED, {("convert", 0): (Play(exit_code=64),)})


def _out_of_budget(rng: random.Random, name: str, _: float) -> Planned:
    return _planned(rng, name, [CONVERT], End.FAILED, {("convert", 0): (Play(exit_code=1),)}, maxRestarts=1)


def _invalid(rng: random.Random, name: str, _: float) -> Planned:
    claim = {"persistentVolumeClaim": {"claimName": SINGLE_CLAIM}}
    return _planned(rng, name, [CONVERT, GANG], End.INVALID, workspace=claim)


def _evicted(rng: random.Random, name: str, _: float) -> Planned:
    pods = (Play(seconds=2.0, disrupted=True, stop_seconds=0.5), Play(seconds=1.0))
    return _planned(rng, name, [CONVERT, GANG], plays={("train", index): pods for index in (0, 1)})


def _suspended(rng: random.Random, name: str, _: float) -> Planned:
    made = _planned(rng, name, [TRAIN, EVALUATE], plays={("train", 0): (_stopped(), Play(seconds=1.0))})
    suspend, resume = rng.uniform(4.0, 10.0), rng.uniform(15.0, 25.0)
    return replace(made, acts=(Act(suspend, {"suspend": True}), Act(resume, {"suspend": False})))


def _edited(rng: random.Random, name: str, _: float) -> Planned:
    made = _planned(rng, name, [TRAIN, EVALUATE], plays={("train", 0): (_stopped(), Play(seconds=1.0))})
    return replace(made, acts=(Act(rng.uniform(4.0, 12.0), {"experiment": {"seed": 8}}),))


def _deleted(rng: random.Random, name: str, _: float) -> Planned:
    made = _planned(rng, name, [TRAIN], End.DELETED, {("train", 0): (_endless(),)})
    return replace(made, acts=(Act(rng.uniform(3.0, 15.0), None),))


def _long(rng: random.Random, name: str, seconds: float) -> Planned:
    plays = {("train", 0): (Play(seconds=LONG_ENDS_AT * seconds),)}
    made = _planned(rng, name, [TRAIN, EVALUATE], plays=plays, activeDeadlineSeconds=DEADLINE_OF_LONG)
    return replace(made, progress=True)


KINDS: Mapping[str, tuple[int, Callable[[random.Random, str, float], Planned]]] = {
    "plain": (7, _plain),
    "gang": (3, _gang),
    "nine": (1, _nine),
    "too-late": (1, _too_late),
    "refused-data": (1, _refused_data),
    "out-of-budget": (1, _out_of_budget),
    "invalid": (1, _invalid),
    "evicted": (1, _evicted),
    "suspended": (1, _suspended),
    "edited": (1, _edited),
    "deleted": (1, _deleted),
    "long": (1, _long),
}
"""By kind: number among twenty experiments, and the function that makes one for a run of a number of seconds."""
