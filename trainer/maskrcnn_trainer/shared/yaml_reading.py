"""YAML reader for manifests and experiment specs that agrees with an API server.

Differences to PyYAML's safe loader: 1e-4 is a number (in YAML 1.1 it is a string), a date is a string, a duplicate key
in a mapping is an error, an invalid value is an error with its line, and the size of values repeated by aliases is
limited.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

from maskrcnn_trainer.shared.text import shown

UNREADABLE_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Exceptions of PyYAML, other than YAMLError, for invalid values: a whole number of more than 4,300 digits, an escaped
character beyond Unicode, or a tag such as ``!!bool`` before a string that isn't a boolean."""

MOST_BITS = 1024
"""Limit for a whole number: the largest floating-point number has as many, and Python cannot print many more digits."""

_MERGE_TAG = "tag:yaml.org,2002:merge"
_TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"


class TooDeep(yaml.MarkedYAMLError):
    """Mappings or lists nested deeper than the reader allows."""


class KeyTwice(yaml.MarkedYAMLError):
    """Duplicate key in a mapping.

    Args:
        key: the key.
        first_line: line of the first occurrence, from 1.
        mark: position of the second occurrence.
    """

    def __init__(self, key: Hashable, first_line: int, mark: yaml.Mark) -> None:
        super().__init__(problem=f"duplicate key {key!r}", problem_mark=mark)
        self.first_line = first_line


class KeyNotPlain(yaml.MarkedYAMLError):
    """List or mapping used as a key."""

    def __init__(self, mark: yaml.Mark) -> None:
        super().__init__(problem="a key must be a plain value, not a list or mapping", problem_mark=mark)


class AliasesTooLarge(yaml.MarkedYAMLError):
    """Aliases that repeat more values than an API server accepts, or an anchor whose value contains itself."""


def load_documents(text: str, *, most_levels: int | None = None) -> list[Any]:
    """Return the documents of a YAML text, without empty ones.

    Args:
        text: the YAML text.
        most_levels: maximum levels of nested mappings and lists; None: limited by Python's stack.

    Raises:
        yaml.YAMLError: invalid YAML; including :class:`TooDeep`, :class:`KeyTwice`, :class:`KeyNotPlain` and
            :class:`AliasesTooLarge`.
        RecursionError: the nesting exceeds Python's stack.
    """
    loader = _Loader(text, most_levels)
    documents = []
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]  # PyYAML's stubs lack its types
            documents.append(loader.get_data())
    finally:
        loader.dispose()
    return [document for document in documents if document is not None]


@dataclass(slots=True)
class _Extent:
    """Size of nodes, with the value of each alias counted at the alias.

    Attributes:
        nodes: number of mappings, lists, keys, plain values, and aliases.
        characters: number of characters of plain values.
        levels: levels of nested mappings and lists; a plain value is one level.
    """

    nodes: int = 0
    characters: int = 0
    levels: int = 0

    def add(self, other: _Extent) -> None:
        self.nodes += other.nodes
        self.characters += other.characters
        self.levels = max(self.levels, other.levels)


def _most_repeated_share(nodes: int) -> float:
    """Return the largest share of a text's nodes that aliases may make up.

    It is the rule of go-yaml (``allowedAliasRatio`` in decode.go), the YAML reader of kubectl and API servers.
    """
    few, many = 400_000, 4_000_000
    return 0.99 - 0.89 * min(max(nodes - few, 0) / (many - few), 1)


_MOST_REPEATED_CHARACTERS = 3 * 2**20
"""Limit of an API server for the bytes of a request (``MaxRequestBodyBytes``); a manifest cannot need more."""


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, most_levels: int | None) -> None:
        super().__init__(text)
        self._most_levels = most_levels
        self._level = 0
        self._inner = _Extent()  # size of the nodes inside the current one
        self._anchored: dict[str, _Extent] = {}
        self._read = 0
        self._repeated = _Extent()

    def compose_document(self) -> yaml.Node | None:
        self._anchored.clear()
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs lack its types
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            self._repeat(event.anchor, event.start_mark)
            return node
        self._refuse_deeper(1, event.start_mark)
        self._read += 1
        self._level += 1
        around, self._inner = self._inner, _Extent()
        node = super().compose_node(parent, index)
        characters = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        extent = _Extent(1 + self._inner.nodes, characters + self._inner.characters, 1 + self._inner.levels)
        if event.anchor is not None:
            self._anchored[event.anchor] = extent
        around.add(extent)
        self._inner = around
        self._level -= 1
        return node

    def _refuse_deeper(self, levels: int, mark: yaml.Mark) -> None:
        if self._most_levels is not None and self._level + levels > self._most_levels:
            raise TooDeep(problem_mark=mark)

    def _repeat(self, anchor: str, mark: yaml.Mark) -> None:
        """Count the value of an alias as if it were written there; nothing is copied yet."""
        extent = self._anchored.get(anchor)
        if extent is None:
            problem = f"the value of the anchor &{anchor} contains itself"
            raise AliasesTooLarge(problem=problem, problem_mark=mark)
        self._refuse_deeper(extent.levels, mark)
        self._read += 1
        self._inner.nodes += 1
        self._inner.add(extent)
        self._repeated.add(extent)
        repeated = self._repeated.nodes
        nodes = self._read + repeated
        too_many = repeated > 100 and nodes > 1000 and repeated > nodes * _most_repeated_share(nodes)
        if too_many or self._repeated.characters > _MOST_REPEATED_CHARACTERS:
            problem = "aliases repeat more values than an API server accepts; write out the values that are needed"
            raise AliasesTooLarge(problem=problem, problem_mark=mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value: object = super().construct_object(node, deep)
        except UNREADABLE_VALUES:
            raise _unreadable(node) from None
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise _unreadable(node)
        return value

    def scan_flow_scalar(self, style: str) -> Any:
        start = self.get_mark()
        try:
            return super().scan_flow_scalar(style)
        except UNREADABLE_VALUES:
            problem = "an escaped character is not in Unicode, which ends at 10FFFF"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=start) from None

    def mapping(self, node: yaml.MappingNode) -> dict[Hashable, Any]:
        """Return a mapping; its own keys override merged ones (``<<``)."""
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == _MERGE_TAG:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise KeyNotPlain(key_node.start_mark)
            if key in lines:
                raise KeyTwice(key, lines[key], key_node.start_mark)
            lines[key] = key_node.start_mark.line + 1
        return self.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP_TAG]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.mapping)


def _unreadable(node: yaml.Node) -> yaml.MarkedYAMLError:
    kind = node.tag.rpartition(":")[2]
    found = shown(node.value, 40) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
    number = kind == "int" and node.value.strip("+-")[:1].isdecimal()
    words = f"the number {found} is too large" if number else f"{found} cannot be read as {kind}"
    return yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)
