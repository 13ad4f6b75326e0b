"""YAML as an API server reads it, for manifests and experiment specs.

Compared with PyYAML's safe loader, 1e-4 is a number (YAML 1.1 has it as a text), a date is a text, a key stands once in
a mapping, and a value that cannot be read is an error with its line.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from maskrcnn_trainer.shared.text import shown

UNREADABLE_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises, besides YAMLError, for a value that it cannot make: a whole number of more than 4,300 digits, an
escaped character beyond Unicode, or a tag such as ``!!bool`` before a text that isn't one."""

MOST_BITS = 1024
"""Of a whole number: the largest floating-point number has as many, and Python writes few more (4,300 digits)."""

_MERGE_TAG = "tag:yaml.org,2002:merge"
_TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"


class TooDeep(yaml.MarkedYAMLError):
    """Mappings or lists that are nested deeper than the reader allows."""


class KeyTwice(yaml.MarkedYAMLError):
    """A key that stands twice in a mapping.

    Args:
        key: the key.
        first_line: line of the first one, from 1.
        mark: position of the second one.
    """

    def __init__(self, key: Hashable, first_line: int, mark: yaml.Mark) -> None:
        super().__init__(problem=f"the key {key!r} stands twice", problem_mark=mark)
        self.first_line = first_line


class KeyNotPlain(yaml.MarkedYAMLError):
    """A list or a mapping as a key."""

    def __init__(self, mark: yaml.Mark) -> None:
        super().__init__(problem="a key must be a plain value", problem_mark=mark)


def load_documents(text: str, *, most_levels: int | None = None) -> list[Any]:
    """Return the documents of a YAML text, empty ones left out.

    Args:
        most_levels: of nested mappings and lists; None for as many as Python's stack holds.

    Raises:
        yaml.YAMLError: invalid YAML; :class:`TooDeep`, :class:`KeyTwice` and :class:`KeyNotPlain` are among them.
        RecursionError: nested deeper than the stack holds.
    """
    loader = _Loader(text, most_levels)
    documents = []
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]
            documents.append(loader.get_data())
    finally:
        loader.dispose()
    return [document for document in documents if document is not None]


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, most_levels: int | None) -> None:
        super().__init__(text)
        self._levels_left = most_levels

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._levels_left is None:
            return super().compose_node(parent, index)
        if self._levels_left == 0:
            raise TooDeep(problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        self._levels_left -= 1
        node = super().compose_node(parent, index)
        self._levels_left += 1
        return node

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
            problem = "an escaped character is beyond Unicode, which ends at 10FFFF"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=start) from None

    def mapping(self, node: yaml.MappingNode) -> dict[Hashable, Any]:
        """Return a mapping; its own keys replace those that it merges (``<<``)."""
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
