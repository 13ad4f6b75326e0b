"""Metrics in PromQL expressions, with the labels that are selected.

This isn't a parser of PromQL, but it suffices for this project's queries. promtool and Prometheus parse the language,
but don't check that a metric exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*(?:\{([^}]*)\})?")
_RANGE = re.compile(r"\[[^\]]*\]")
_OFFSET = re.compile(r"\boffset\s+\w+")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NUMBER = re.compile(r"(?<![\w:])[\d.]+(?:e[+-]?\d+)?(?![\w:])")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left"})


@dataclass(frozen=True)
class Use:
    """Selector of an expression: the metric, and the labels in its braces."""

    metric: str
    labels: frozenset[str]


def uses(expression: str) -> list[Use]:
    """Return the selectors of an expression, in order."""
    text = _OFFSET.sub("", _GROUPING.sub("", _RANGE.sub("", _STRING.sub('""', expression))))
    return list(_selectors(_NUMBER.sub("", text)))


def grouping_labels(expression: str) -> set[str]:
    """Return the labels by which an expression aggregates or joins."""
    text = _STRING.sub('""', expression)
    return {label.strip() for found in _GROUPING.findall(text) for label in found.split(",") if label.strip()}


def _selectors(text: str) -> Iterator[Use]:
    for found in _SELECTOR.finditer(text):
        name, inside = found[1], found[2] or ""
        called = text[found.end() :].lstrip().startswith("(")
        if name not in _WORDS and not (called and found[2] is None):
            yield Use(name, frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)))
