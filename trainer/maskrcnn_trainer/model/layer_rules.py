"""Tables of rules by type of layer; a layer whose type has no rule raises an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import keras

Rule = TypeVar("Rule")


class UnknownLayerError(NotImplementedError):
    """Layer whose type has no rule: a bug, since the network got a new type of layer; users' input cannot cause it."""


class LayerRules(Generic[Rule]):
    """Rules for one purpose by type of layer.

    A rule applies to exactly the registered type. A subclass may treat channels differently from its base class, as a
    grouped convolution does, so it needs its own rule.

    Args:
        purpose: of the rules, such as ``pruning``, for messages.
        module: file in which the rules are registered, for messages.
    """

    def __init__(self, purpose: str, module: str) -> None:
        self._purpose = purpose
        self._module = module
        self._rules: dict[type, Rule] = {}

    def rule_for(self, *types: type) -> Callable[[Rule], Rule]:
        """Return a decorator that registers a function for some types of layers.

        Raises:
            ValueError: a type already has a rule.
        """

        def register(rule: Rule) -> Rule:
            for kind in types:
                if kind in self._rules:
                    raise ValueError(f"{kind.__name__} has two rules for {self._purpose} in {self._module}")
                self._rules[kind] = rule
            return rule

        return register

    def of(self, layer: keras.layers.Layer) -> Rule:
        """Return the rule for a layer.

        Raises:
            UnknownLayerError: the layer's type has no rule; the message names the layer.
        """
        kind = type(layer)
        if kind not in self._rules:
            raise UnknownLayerError(
                f"{layer.name}: no rule for {self._purpose} of a layer of type {kind.__name__}; "
                f"add one with @rule_for({kind.__name__}) in {self._module}"
            )
        return self._rules[kind]
