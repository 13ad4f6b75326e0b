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


def blocked_by_runs(graph: StepGraph, running: frozenset[str]) -> frozenset[str]:
    """Steps that must not start while something of the steps ``running`` is alive.

    A run reads the results of what is upstream of it, wanted or not. A step that left the spec may have read anything,
    so it holds back every other.
    """
    if any(name not in graph.nodes for name in running):
        return frozenset(graph.nodes)
    return frozenset(upstream for name in running for upstream in graph.ancestors(name))


def waits_for(
    name: str,
    steps: Mapping[str, StepStatus],
    graph: StepGraph,
    *,
    held_back: frozenset[str],
    occupied: Mapping[str, str],
    now: datetime,
) -> Wait | None:
    """What the pending step ``name`` waits for; None where it may start, the number of running steps aside.

    Args:
        held_back: see :func:`blocked_by_runs`.
        occupied: what of a step is still alive although its status knows of no run, in words.
    """
    broken = _broken_upstream(name, steps, graph)
    if broken:
        return Wait(Reason.UPSTREAM_FAILED, f"step {broken[0]} failed, so this one cannot run")
    missing = [need for need in graph.nodes[name].needs if steps[need].state is not StepState.SUCCEEDED]
    if missing:
        return Wait(Reason.WAITING_FOR_STEPS, f"waits for {', '.join(missing)}")
    step = steps[name]
    if step.next_attempt_time is not None and step.next_attempt_time > now:
        return Wait(step.reason, step.message, step.next_attempt_time)
    if name in occupied:
        return Wait(Reason.WAITING_FOR_PODS, f"waits until they have ended: {occupied[name]}")
    if name in held_back:
        others = "; ".join(words for other, words in occupied.items() if other not in graph.nodes)
        which = f" (of no step of the spec: {others})" if others else ""
        return Wait(Reason.UPSTREAM_CHANGED, f"waits until steps that still use its old result have stopped{which}")
    return None


def _broken_upstream(name: str, steps: Mapping[str, StepStatus], graph: StepGraph) -> list[str]:
    upstream = graph.ancestors(name)
    return [other for other in graph.nodes if other in upstream and steps[other].state is StepState.FAILED]


def waits_for_its_turn(steps: Mapping[str, StepStatus], limit: int | None) -> Wait | None:
    """What a step waits for while ``limit`` others have a run; None where there is room, or no limit."""
    if limit is None or sum(step.state in LIVE_STATES for step in steps.values()) < limit:
        return None
    return Wait(Reason.WAITING_FOR_TURN, f"{limit} step(s) run at a time")


def waiting(step: StepStatus, wait: Wait) -> StepStatus:
    """The pending step with what it waits for; a back-off ends where steps before it have to run again first."""
    update: dict[str, object] = {"reason": str(wait.reason), "message": wait.message}
    if wait.reason in (Reason.WAITING_FOR_STEPS, Reason.UPSTREAM_FAILED):
        update["next_attempt_time"] = None
    return step.model_copy(update=update)
