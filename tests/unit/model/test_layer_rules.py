"""Tables of rules by type of layer, tested with stand-ins for layers."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.model.layer_rules import LayerRules, UnknownLayerError


class Base:
    name = "first"


class Derived(Base):
    name = "second"


def test_rule_is_found_by_the_exact_type_and_a_subclass_is_refused_by_name() -> None:
    rules: LayerRules[str] = LayerRules("pruning", "some.module")
    rules.rule_for(Base)("whole")
    layer: Any = Base()
    assert rules.of(layer) == "whole"
    layer = Derived()
    with pytest.raises(UnknownLayerError) as refused:
        rules.of(layer)
    assert str(refused.value) == (
        "second: no rule for pruning of a layer of type Derived; add one with @rule_for(Derived) in some.module"
    )


def test_second_rule_for_a_type_is_refused() -> None:
    rules: LayerRules[str] = LayerRules("pruning", "some.module")
    rules.rule_for(Base)("whole")
    with pytest.raises(ValueError, match="Base has two rules for pruning in some.module"):
        rules.rule_for(Derived, Base)("cut")
