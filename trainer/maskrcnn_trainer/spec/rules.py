"""Rules between fields. Each rule is a pure function of a spec whose fields are valid individually."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from maskrcnn_trainer.spec.errors import Path, Problem, shown
from maskrcnn_trainer.spec.url_fields import SPEC_URLS, InputKind, input_problem

if TYPE_CHECKING:
    from maskrcnn_trainer.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class Rule:
    """A check, and the fields that it reads; it isn't run if one of those is invalid."""

    reads: tuple[Path, ...]
    check: Callable[[ExperimentSpec], Iterator[Problem]]


def _count(number: int) -> str:
    return f"{number} entr{'y' if number == 1 else 'ies'}"


def rate_lists_match(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require one decay level for each step."""
    steps, levels = spec.learning_rate_steps, spec.learning_rate_decay_levels
    if len(steps) != len(levels):
        message = (
            f"{shown(levels)} has {_count(len(levels))}, but learningRateSteps {shown(steps)} has "
            f"{_count(len(steps))}; the two lists need the same length"
        )
        yield Problem(("learning_rate_decay_levels",), list(levels), message)


def rate_steps_rise(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require steps in increasing order."""
    steps = spec.learning_rate_steps
    if any(after <= before for before, after in pairwise(steps)):
        message = f"{list(steps)} must be in increasing order, for example {sorted(set(steps))}"
        yield Problem(("learning_rate_steps",), list(steps), message)


def length_is_given(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require the length of the training."""
    if spec.total_steps is None and spec.num_epochs is None:
        yield Problem(("total_steps",), None, "one of totalSteps and numEpochs is required, at least 1")


def sides_fit_levels(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require image sides that the stride of the highest pyramid level divides."""
    stride = 2**spec.maskrcnn_config.max_level
    height, width = spec.data_config.image_size
    if height % stride or width % stride:
        near = [-(-side // stride) * stride for side in (height, width)]
        message = (
            f"{[height, width]}: both sides must be multiples of {stride} (2^maxLevel, maxLevel is "
            f"{spec.maskrcnn_config.max_level}); the next larger size is {near}"
        )
        yield Problem(("data_config", "image_size"), [height, width], message)


def mask_resolution_divides(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require a mask resolution divisible by 4: the heads pool at a quarter and at half of it."""
    side = spec.maskrcnn_config.mrcnn_resolution
    if side % 4:
        message = f"{side} must be a multiple of 4; the nearest are {side // 4 * 4} and {side // 4 * 4 + 4}"
        yield Problem(("maskrcnn_config", "mrcnn_resolution"), side, message)


def _ordered(low: str, high: str) -> Rule:
    """Return the rule that one field is at most another; a field without a default is only compared if it is given."""
    paths: tuple[Path, Path] = (("maskrcnn_config", low), ("maskrcnn_config", high))

    def check(spec: ExperimentSpec) -> Iterator[Problem]:
        lower, upper = getattr(spec.maskrcnn_config, low), getattr(spec.maskrcnn_config, high)
        if lower is not None and lower > upper:
            yield Problem(paths[0], lower, f"{lower} must be at most {to_camel(high)} ({upper})")

    return Rule(paths, check)


def blocks_differ(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require each frozen block to be listed once."""
    blocks = spec.maskrcnn_config.freeze_blocks
    if len(set(blocks)) != len(blocks):
        message = f"{list(blocks)} lists a block twice; use {sorted(set(blocks))}"
        yield Problem(("maskrcnn_config", "freeze_blocks"), list(blocks), message)


def mask_is_included(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require a mask head."""
    if not spec.maskrcnn_config.include_mask:
        message = "false is not supported: every model has a mask head; set it to true"
        yield Problem(("maskrcnn_config", "include_mask"), False, message)


def jitter_is_a_range(spec: ExperimentSpec) -> Iterator[Problem]:
    """Require the smaller factor first."""
    augmentation = spec.data_config.augmentation
    if augmentation is None or augmentation.scale_jitter is None:
        return
    low, high = augmentation.scale_jitter
    if low > high:
        message = f"{[low, high]} must be [min, max], with min at most max; did you mean {[high, low]}?"
        yield Problem(("data_config", "augmentation", "scale_jitter"), [low, high], message)


def _valid_urls(path: Path, kind: InputKind) -> Rule:
    def check(spec: ExperimentSpec) -> Iterator[Problem]:
        given: Any = functools.reduce(lambda part, name: getattr(part, str(name)), path, spec)
        if isinstance(given, str) and (problem := input_problem(given, kind)):
            # the value isn't kept: it may have a signature
            yield Problem(path, None, problem)

    return Rule((path,), check)


RULES: tuple[Rule, ...] = (
    Rule((("learning_rate_steps",), ("learning_rate_decay_levels",)), rate_lists_match),
    Rule((("learning_rate_steps",),), rate_steps_rise),
    Rule((("total_steps",), ("num_epochs",)), length_is_given),
    Rule((("data_config", "image_size"), ("maskrcnn_config", "max_level")), sides_fit_levels),
    Rule((("maskrcnn_config", "mrcnn_resolution"),), mask_resolution_divides),
    _ordered("rpn_negative_overlap", "rpn_positive_overlap"),
    _ordered("bg_thresh_lo", "bg_thresh_hi"),
    _ordered("bg_thresh_hi", "fg_thresh"),
    _ordered("roi_max_level", "max_level"),
    Rule((("maskrcnn_config", "freeze_blocks"),), blocks_differ),
    Rule((("maskrcnn_config", "include_mask"),), mask_is_included),
    Rule((("data_config", "augmentation", "scale_jitter"),), jitter_is_a_range),
    *(_valid_urls(path, kind) for path, kind in SPEC_URLS.items()),
)


def check_rules(spec: ExperimentSpec, unknown: frozenset[Path] = frozenset()) -> list[Problem]:
    """Return all problems between the fields of a spec.

    Args:
        spec: a spec whose fields are valid individually.
        unknown: fields whose value is a stand-in; rules that read one of them (or a part of one) are skipped.
    """

    def known(path: Path) -> bool:
        return not any(path[: len(stand_in)] == stand_in or stand_in[: len(path)] == path for stand_in in unknown)

    return [problem for rule in RULES if all(map(known, rule.reads)) for problem in rule.check(spec)]
