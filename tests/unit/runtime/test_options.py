"""Options of an operator process from its flags."""

from __future__ import annotations

import argparse

import pytest

from maskrcnn_operator.jobs.defaults import JobDefaults
from maskrcnn_operator.runtime.flags import add_flags
from maskrcnn_operator.runtime.options import Options, options_of


def options(*arguments: str) -> Options:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return options_of(parser.parse_args(arguments), JobDefaults())


@pytest.mark.parametrize("owner_id", ["fleet", "a.b_c:d-E7", "x" * 128])
def test_owner_of_results_in_object_storage_is_that_of_the_flag(owner_id: str) -> None:
    assert options("--object-storage-owner-id", owner_id).owner_id == owner_id
    assert options().owner_id is None


@pytest.mark.parametrize("owner_id", ["", "a/1", "a b", "x" * 129, "fleet\n"])
def test_value_that_cannot_be_an_owner_is_refused(owner_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--object-storage-owner-id", owner_id)
    assert "isn't 1 to 128 letters, digits, and . _ : -" in capsys.readouterr().err
