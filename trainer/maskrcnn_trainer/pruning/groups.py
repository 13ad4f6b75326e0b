"""Groups of filters that must be removed together, and the weights that depend on them, from the models' connectivity.

Every tensor has one set of channels. A convolution or dense layer creates a new set; a layer that works channel by
channel passes its set on; an addition, and a layer that is applied to several tensors, merge the sets of their inputs.
Channels that reach an output, or a layer that mixes them, are never removed. A layer whose type has no rule raises an
error, since it may use channels in a way that the rules do not cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras

from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.layer_rules import LayerRules
from maskrcnn_trainer.pruning.walk import Call, calls

_RULES: LayerRules[Callable[[_Walk, Call], None]] = LayerRules("pruning", __name__)
rule_for = _RULES.rule_for
# These activations map zero to zero, so a filter whose weights are zero is equivalent to a removed one.
_ZERO_AT_ZERO = ("linear", "relu", "tanh")


@dataclass(frozen=True)
class Slice:
    """Positions of a group's channels on an axis of a variable.

    Channel c of n is at (o n + c) inner + i for every o < outer and i < inner, which is the layout after a flattening
    before a dense layer. Without one, outer and inner are 1.

    Attributes:
        axis: of the variable.
        group: number of the group in `Connectivity.groups`.
        outer: see above.
        inner: see above.
    """

    axis: int
    group: int
    outer: int = 1
    inner: int = 1


@dataclass(frozen=True)
class Group:
    """Layers whose filters are kept or removed together.

    Attributes:
        members: names of the layers that create these channels.
        filters: number of channels.
        whole: why no filter may be removed; None if filters may be removed.
    """

    members: tuple[str, ...]
    filters: int
    whole: str | None = None


@dataclass(frozen=True)
class Connectivity:
    """Groups of a network, and the variables that change if filters are removed.

    Attributes:
        groups: all sets of channels that layers create.
        group_of: number of the group by the name of a layer that creates it.
        slices: by variable name (``conv1/kernel``), for all variables that depend on the number of filters.
        layers: names of all layers, including those without variables.
    """

    groups: tuple[Group, ...]
    group_of: dict[str, int]
    slices: dict[str, tuple[Slice, ...]]
    layers: frozenset[str]


def connectivity(models: Sequence[keras.Model]) -> Connectivity:
    """Return the connectivity of functional models.

    Args:
        models: models without common layers. Operations between them (such as RoIAlign) are unknown here, so channels
            of their inputs and outputs are never removed.

    Raises:
        UnknownLayerError: a layer's type has no rule; the message names the layer.
    """
    walk = _Walk()
    for model in models:
        for tensor in model.inputs:
            walk.carry(tensor, walk.new_set(int(tensor.shape[-1]), whole="input"))
        for call in calls(model):
            walk.visit(call)
        for tensor in model.outputs:
            walk.keep_whole(tensor, "output")
    return walk.finish(frozenset(layer.name for model in models for layer in model.layers))


@dataclass
class _Set:
    filters: int
    members: list[str] = field(default_factory=list)
    whole: str | None = None


@dataclass(frozen=True)
class _Channels:
    """Set of a tensor's channels, with their axis and their layout on it (see `Slice`)."""

    number: int
    axis: int
    outer: int = 1
    inner: int = 1


class _Walk:
    def __init__(self) -> None:
        self._sets: list[_Set] = []
        self._parent: list[int] = []  # union-find over sets
        self._carried: dict[int, _Channels] = {}
        self._made_by: dict[str, int] = {}
        self._slices: dict[str, dict[tuple[int, int, int], int]] = {}

    def new_set(self, filters: int, *, whole: str | None = None) -> int:
        """Add a set of channels, and return its number."""
        self._sets.append(_Set(filters, whole=whole))
        self._parent.append(len(self._sets) - 1)
        return len(self._sets) - 1

    def carry(self, tensor: keras.KerasTensor, number: int) -> None:
        """Note that the last axis of a tensor has the channels of a set."""
        self._carried[id(tensor)] = _Channels(number, len(tensor.shape) - 1)

    def keep_whole(self, tensor: keras.KerasTensor, why: str) -> None:
        """Note that no channel of a tensor may be removed."""
        found = self._sets[self._root(self._carried[id(tensor)].number)]
        found.whole = found.whole or why

    def visit(self, call: Call) -> None:
        """Apply the rule of the called layer."""
        _RULES.of(call.layer)(self, call)

    @rule_for(Convolution)
    def _convolution(self, call: Call) -> None:
        self._makes_channels(call, call.layer.filters, in_axis=2, out_axis=3)

    @rule_for(keras.layers.Conv2DTranspose)
    def _transposed(self, call: Call) -> None:
        self._makes_channels(call, call.layer.filters, in_axis=3, out_axis=2, whole="transposed convolution")

    @rule_for(keras.layers.Dense)
    def _dense(self, call: Call) -> None:
        self._makes_channels(call, call.layer.units, in_axis=0, out_axis=1)

    @rule_for(BatchNorm)
    def _batch_norm(self, call: Call) -> None:
        channels = self._pass_on(call)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            self._add_slice(f"{call.layer.name}/{name}", 0, channels)

    @rule_for(keras.layers.Add)
    def _add(self, call: Call) -> None:
        first, *others = (self._carried[id(tensor)] for tensor in call.inputs)
        for other in others:
            self._join(first.number, other.number)
        self._pass_on(call)

    @rule_for(keras.layers.Permute)
    def _permute(self, call: Call) -> None:
        channels = self._carried[id(call.inputs[0])]
        axis = call.layer.dims.index(channels.axis) + 1
        self._carried[id(call.outputs[0])] = _Channels(channels.number, axis, channels.outer, channels.inner)

    @rule_for(keras.layers.Activation)
    def _activation(self, call: Call) -> None:
        if _name(call.layer.activation) in _ZERO_AT_ZERO:
            self._pass_on(call)
        else:
            self._mixes(call)

    @rule_for(keras.layers.ReLU, keras.layers.MaxPooling2D, keras.layers.UpSampling2D, keras.layers.ZeroPadding2D)
    def _channel_wise(self, call: Call) -> None:
        # Every output channel depends only on the same input channel, and is zero if that is zero.
        self._pass_on(call)

    def _pass_on(self, call: Call) -> _Channels:
        channels = self._carried[id(call.inputs[0])]
        self._carried[id(call.outputs[0])] = channels
        return channels

    def _makes_channels(
        self, call: Call, filters: int, *, in_axis: int, out_axis: int, whole: str | None = None
    ) -> None:
        layer = call.layer
        self._add_slice(f"{layer.name}/kernel", in_axis, self._carried[id(call.inputs[0])])
        if layer.name not in self._made_by:
            if _name(layer.activation) not in _ZERO_AT_ZERO:
                whole = f"activation {_name(layer.activation)}"
            number = self.new_set(filters, whole=whole)
            self._sets[number].members.append(layer.name)
            self._made_by[layer.name] = number
            made = _Channels(number, 0)
            self._add_slice(f"{layer.name}/kernel", out_axis, made)
            if layer.use_bias:
                self._add_slice(f"{layer.name}/bias", 0, made)
        self.carry(call.outputs[0], self._made_by[layer.name])

    @rule_for(keras.layers.Flatten)
    def _flatten(self, call: Call) -> None:
        channels, shape = self._carried[id(call.inputs[0])], call.inputs[0].shape
        if None in shape[1:]:
            self._mixes(call)
            return
        self._carried[id(call.outputs[0])] = _Channels(
            channels.number,
            1,
            channels.outer * math.prod(shape[1 : channels.axis]),
            channels.inner * math.prod(shape[channels.axis + 1 :]),
        )

    @rule_for(keras.layers.Reshape, keras.layers.Concatenate)
    def _mixes(self, call: Call) -> None:
        for tensor in call.inputs:
            self.keep_whole(tensor, call.layer.name)
        for tensor in call.outputs:
            self.carry(tensor, self.new_set(int(tensor.shape[-1] or 0), whole=call.layer.name))

    def _add_slice(self, variable: str, axis: int, channels: _Channels) -> None:
        """Note that ``variable`` has ``channels`` on ``axis``; merge the sets of a shared layer's inputs."""
        known = self._slices.setdefault(variable, {})
        for (other, outer, inner), number in known.items():
            if other == axis:
                self._join(number, channels.number)
                if (outer, inner) != (channels.outer, channels.inner):
                    self._sets[self._root(number)].whole = f"{variable} reads it in two layouts"
                return
        known[axis, channels.outer, channels.inner] = channels.number

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            number = self._parent[number]
        return number

    def _join(self, one: int, other: int) -> None:
        keep, gone = sorted((self._root(one), self._root(other)))
        if keep == gone:
            return
        self._parent[gone] = keep
        self._sets[keep].members += self._sets[gone].members
        self._sets[keep].whole = self._sets[keep].whole or self._sets[gone].whole

    def finish(self, layers: frozenset[str]) -> Connectivity:
        """Return the result for models with these layers."""
        numbers: dict[int, int] = {}
        groups: list[Group] = []
        for root in sorted({self._root(number) for number in self._made_by.values()}):
            numbers[root] = len(groups)
            found = self._sets[root]
            groups.append(Group(tuple(found.members), found.filters, found.whole))
        slices = {
            variable: tuple(
                Slice(axis, numbers[self._root(number)], outer, inner)
                for (axis, outer, inner), number in known.items()
                if self._root(number) in numbers
            )
            for variable, known in self._slices.items()
        }
        group_of = {name: numbers[self._root(number)] for name, number in self._made_by.items()}
        return Connectivity(tuple(groups), group_of, slices, layers)


def _name(activation: object) -> str:
    return str(getattr(activation, "__name__", activation))
