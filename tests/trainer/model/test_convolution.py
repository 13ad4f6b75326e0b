"""Options of a convolution that it does not support."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.model.convolution import Convolution

pytestmark = pytest.mark.trainer


@pytest.mark.parametrize("options", [{"groups": 2}, {"dilation_rate": 2}])
def test_option_that_is_not_computed_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="^wide: .* a Convolution has 1 group and dilation"):
        Convolution(4, 3, name="wide", **options)
