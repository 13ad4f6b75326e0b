"""Tables of rules by type of layer, which refuse a layer whose type has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import keras

Rule = TypeVar("Rule")


class UnknownLayerError(NotImplementedError):
    """A layer whose type has no rule. No user's input leads here: a part of the network has a new type of layer."""


class LayerRules(Generic[Rule]):
    """The rules of one purpose by type of layer.

    The type must be the very one that was registered. A subclass may treat channels in another way than its base, as a
    grouped convolution does, so it needs a rule of its own.

    Args:
        purpose: what the rules are for, such as ``pruning``, for messages.
        module: where they are registered.
    """

    def __init__(self, purpose: str, module: str) -> None:
        self._purpose = purpose
        self._module = module
        self._rules: dict[type, Rule] = {}

    def rule_for(self, *types: type) -> Callable[[Rule], Rule]:
        """Register the decorated function for some types of layers.

        Raises:
            ValueError: a type has a rule already.
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
            UnknownLayerError: the layer's type has none; the layer is named.
        """
        kind = type(layer)
        if kind not in self._rules:
            raise UnknownLayerError(
                f"{layer.name}: no rule for {self._purpose} of a layer of type {kind.__name__}; "
                f"add one with @rule_for({kind.__name__}) in {self._module}"
            )
        return self._rules[kind]
