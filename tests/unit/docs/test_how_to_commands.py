"""Tests of the commands that pages mark as run, which the tests of object storage and of clusters run."""

from __future__ import annotations

from types import ModuleType

import pytest
from tests.cluster import test_bucket_tutorial
from tests.object_storage import test_how_to, test_how_to_results


@pytest.mark.parametrize("tests", [test_how_to, test_how_to_results], ids=["inputs", "results"])
def test_page_has_its_commands_and_names_those_that_are_not_run(tests: ModuleType) -> None:
    tests.PAGE.check_marks(tests.COMMANDS, tests.NOT_RUN)


def test_tutorial_has_the_commands_of_its_test_in_their_order() -> None:
    script = "\n".join(block.script for block in test_bucket_tutorial.commands())
    places = [script.find(command) for command in test_bucket_tutorial.COMMANDS]
    assert -1 not in places
    assert places == sorted(places)
