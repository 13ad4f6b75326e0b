"""What an experiment asks for: graph and fingerprints, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.core.fingerprint import StepFingerprints, fingerprints
from maskrcnn_operator.core.graph import StepGraph, build_graph
from maskrcnn_operator.core.merge import merge_step
from maskrcnn_operator.core.overlap import overlaps
from maskrcnn_operator.core.overrides import problems_of_overrides
from maskrcnn_operator.core.template import template_hashes


@dataclass(frozen=True)
class Wanted:
    """What is to be done, or ``problems`` why it cannot be.

    The merged specs are not in it: they are large, this is kept for every experiment, and they are read once, when a
    step starts.

    Attributes:
        prints: fingerprints by step.
        overlaps: by step, inputs that lie where another step writes; they are a problem for a step still to start.
        templates: template hashes (:mod:`maskrcnn_operator.core.template`) by step.
    """

    graph: StepGraph
    prints: Mapping[str, StepFingerprints] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    overlaps: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, step: str) -> str:
        """The fingerprint of ``step`` by the current version of the algorithm."""
        return self.prints[step].newest

    def recognises(self, step: str, recorded: str | None) -> bool:
        """Whether a recorded fingerprint, perhaps of an older release, is that of the step as it is wanted now."""
        prints = self.prints[step]
        return recorded is not None and recorded in (*prints.by_version.values(), prints.older)

    def fingerprints_of_attempt(self, step: str, recorded: Mapping[str, str | None]) -> tuple[str, ...]:
        """Return the fingerprints of the next attempt at ``step``, oldest first; the last one is to be recorded.

        A recorded fingerprint that is recognised stays, whatever its version. A step that starts fresh is recorded by
        the current version, and its results by the older fingerprint too, so that images and operators of older
        releases find them. But where it consumes results of a step that is recorded by version 1, it is recorded by
        version 1 as well: an edit that only version 1 of that step covers makes those results again, and then its own.

        Args:
            recorded: the recorded fingerprint of every step.
        """
        prints, own = self.prints[step], recorded.get(step)
        if self.recognises(step, own):
            by_older = own != prints.newest
        else:
            by_older = any(self._is_recorded_by_older(other, recorded.get(other)) for other in prints.consumed)
            own = None
        if by_older:
            return (own or prints.older,)
        return tuple(dict.fromkeys((prints.older, prints.newest)))

    def _is_recorded_by_older(self, step: str, recorded: str | None) -> bool:
        prints = self.prints[step]
        return not prints.lasting and recorded != prints.newest and self.recognises(step, recorded)


def understand(experiment: MaskRCNNExperiment) -> Wanted:
    """Everything that follows from the spec alone; all of its problems at once."""
    graph = build_graph(experiment)
    if graph.problems:
        return Wanted(graph, problems=graph.problems)
    merged = {step.name: merge_step(experiment, graph, step.name) for step in experiment.spec.steps}
    problems = [problem for step in merged.values() for problem in step.problems]
    problems += problems_of_overrides(experiment)
    if problems:
        return Wanted(graph, problems=tuple(problems))
    specs = {name: step.spec for name, step in merged.items()}
    prints = fingerprints(experiment, graph, specs)
    return Wanted(graph, prints, overlaps=overlaps(experiment, graph), templates=template_hashes(experiment))
