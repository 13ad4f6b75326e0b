"""The page docs/reference/states.md: what kubectl shows of experiments in each state."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from scripts.experiment_states import PAGE, STATES, capture, experiments
from scripts.states_page import EXPLAIN, page
from tests.apiserver.bed import Bed

from maskrcnn_operator.jobs import causes

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def test_page_shows_what_kubectl_shows(bed: Bed, account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "READ_AFTER", (timedelta(seconds=5), timedelta(seconds=45)))
    with experiments(bed, account) as clusters:
        captures = [capture(clusters[state.experiment], state) for state in STATES]
    explained = bed.kubectl(*EXPLAIN.split()[1:]).stdout
    assert page(captures, explained) == PAGE.read_text("utf-8"), "run `make states`, and look at what has changed"
