"""Steps whose wanted fingerprint is no longer the recorded one."""

from __future__ import annotations

from collections.abc import Mapping

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepStatus
from maskrcnn_operator.core.outcome import stopping, without_results
from maskrcnn_operator.core.wanted import Wanted


def drop_what_changed(steps: Mapping[str, StepStatus], wanted: Wanted) -> dict[str, StepStatus]:
    """Return the steps without the results of fingerprints that have changed; a run for one is stopped first."""
    found = dict(steps)
    for name, step in steps.items():
        if step.fingerprint is None or wanted.recognises(name, step.fingerprint):
            continue
        if step.state in LIVE_STATES:
            found[name] = stopping(step, Reason.SPEC_CHANGED, "the step was changed")
        else:
            found[name] = without_results(step)
    return found
