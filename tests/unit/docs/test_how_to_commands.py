"""Tests of the commands that how-to pages mark as run, which the tests of object storage run."""

from __future__ import annotations

from types import ModuleType

import pytest
from tests.object_storage import test_how_to, test_how_to_results


@pytest.mark.parametrize("tests", [test_how_to, test_how_to_results], ids=["inputs", "results"])
def test_page_has_its_commands_and_names_those_that_are_not_run(tests: ModuleType) -> None:
    tests.PAGE.check_marks(tests.COMMANDS, tests.NOT_RUN)
