"""Values of the command line that name an owner of results."""

from __future__ import annotations

import argparse

import pytest

from maskrcnn_operator.local.owner_arguments import owner_id_argument, owner_state_argument


def test_owner_is_named_by_its_id_or_by_its_state() -> None:
    assert owner_id_argument("a.b:c_d-1") == "a.b:c_d-1"
    assert owner_state_argument("any id/of any form/3") == "any id/of any form/3"


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a" * 129])
def test_text_that_no_owner_has_as_its_id_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="isn't 1 to 128 letters, digits, and"):
        owner_id_argument(text)


@pytest.mark.parametrize("text", ["", "a", "a/", "/1", "a/0", "a/-1", "a/1x", "a\n/1"])
def test_text_without_an_epoch_is_no_state(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="isn't an owner's id, a slash, and its epoch"):
        owner_state_argument(text)
