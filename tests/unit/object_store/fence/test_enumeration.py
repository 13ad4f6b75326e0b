"""Tests of the fence by enumeration of interleavings; ``make test-fence`` runs all scenarios, the unit tier some."""

from __future__ import annotations

import os

import pytest
from tests.unit.object_store.fence.enumeration import Enumeration
from tests.unit.object_store.fence.mutants import MUTANTS, NOT_NEEDED
from tests.unit.object_store.fence.scenarios import BOUNDED, OWNED, SCENARIOS, THREE, seeded

RUN = list(SCENARIOS) if os.environ.get("FENCE_SCENARIOS") == "all" else BOUNDED


@pytest.mark.parametrize("name", RUN)
def test_no_interleaving_breaks_an_invariant(name: str) -> None:
    found = SCENARIOS[name]().run()
    print(f"{name}: {found.states} states, {found.seconds:.1f} s")  # noqa: T201 - pytest -s shows the table
    assert found.broken is None, "\n".join([str(found.broken), *found.trace])
    assert found.whole


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_breaks_an_invariant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.patch(monkeypatch)
    found = SCENARIOS[mutant.scenario]().run()
    print(f"{name}: rule {mutant.rule}, {mutant.scenario}, step {len(found.trace)}: {found.broken}")  # noqa: T201 - as above
    assert found.invariant == mutant.invariant


@pytest.mark.parametrize("name", NOT_NEEDED)
def test_sentence_that_others_back_up_breaks_nothing_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, patch = NOT_NEEDED[name]
    patch(monkeypatch)
    assert SCENARIOS[scenario]().run().broken is None


def test_store_that_ignores_conditions_breaks_an_invariant() -> None:
    assert Enumeration(THREE, 0, prune=False, compare=False).run().broken is not None


def test_first_step_of_a_trace_is_that_of_the_first_request() -> None:
    found = Enumeration(THREE, 0, prune=False, compare=False, **seeded(), **OWNED).run()
    assert found.trace[0].endswith("GetRecord e/s/run.json -> FoundRecord")
