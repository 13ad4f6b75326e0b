"""Which pending steps may start, and what the others wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.graph import StepGraph


@dataclass(frozen=True)
class Wait:
    """Why a step does not start now; ``until`` where time alone changes that."""

    reason: str
    message: str
    until: datetime | None = None


def blocked_by_old_runs(graph: StepGraph, unwanted: frozenset[str]) -> frozenset[str]:
    """Steps that must not start while runs of ``unwanted`` steps, which are being stopped, are alive.

    A run no longer wanted still reads the results of what is upstream of it. A step that left the spec may have read
    anything, so it holds back every other.
    """
    if any(name not in graph.nodes for name in unwanted):
        return frozenset(graph.nodes)
    return frozenset(upstream for name in unwanted for upstream in graph.ancestors(name))


def waits_for(
    name: str,
    steps: Mapping[str, StepStatus],
    graph: StepGraph,
    *,
    held_back: frozenset[str],
    haunted: frozenset[str],
    now: datetime,
) -> Wait | None:
    """What the pending step ``name`` waits for; None where it may start, the number of running steps aside.

    Args:
        held_back: see :func:`blocked_by_old_runs`.
        haunted: steps of which some run is still alive although their status knows of none.
    """
    broken = _broken_upstream(name, steps, graph)
    if broken:
        return Wait(Reason.UPSTREAM_FAILED, f"step {broken[0]} failed, so this one cannot run")
    missing = [need for need in graph.nodes[name].needs if steps[need].state is not StepState.SUCCEEDED]
    if missing:
        return Wait(Reason.WAITING_FOR_STEPS, f"waits for {', '.join(missing)}")
    if name in haunted:
        return Wait(Reason.WAITING_FOR_PODS, "waits until an earlier run of it has ended")
    if name in held_back:
        return Wait(Reason.UPSTREAM_CHANGED, "waits until steps that still use its old result have stopped")
    step = steps[name]
    if step.next_attempt_time is not None and step.next_attempt_time > now:
        return Wait(step.reason, step.message, step.next_attempt_time)
    return None


def _broken_upstream(name: str, steps: Mapping[str, StepStatus], graph: StepGraph) -> list[str]:
    upstream = graph.ancestors(name)
    return [other for other in graph.nodes if other in upstream and steps[other].state is StepState.FAILED]


def running(steps: Mapping[str, StepStatus]) -> int:
    """How many steps have a run."""
    return sum(step.state in LIVE_STATES for step in steps.values())
