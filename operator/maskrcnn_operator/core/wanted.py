"""What an experiment asks for: graph and fingerprints, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.core.fingerprint import ALGORITHMS, CURRENT_VERSION, fingerprint_version, fingerprints
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
        prints: fingerprints by version of the algorithm, then by step.
        overlaps: by step, inputs that lie where another step writes; they are a problem for a step still to start.
        templates: template hashes (:mod:`maskrcnn_operator.core.template`) by step.
    """

    graph: StepGraph
    prints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    overlaps: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, step: str) -> str:
        """The fingerprint of ``step`` by the current version of the algorithm."""
        return self.prints[CURRENT_VERSION][step]

    def recognises(self, step: str, recorded: str | None) -> bool:
        """Whether a recorded fingerprint, perhaps of an older release, is that of the step as it is wanted now."""
        version = fingerprint_version(recorded) if recorded else None
        return version is not None and self.prints[version][step] == recorded


def understand(experiment: MaskRCNNExperiment) -> Wanted:
    """Everything that follows from the spec alone; all of its problems at once."""
    graph = build_graph(experiment)
    if graph.problems:
        return Wanted(graph, problems=graph.problems)
    merged = {step.name: merge_step(experiment, graph, step.name) for step in experiment.spec.steps}
    problems = [problem for step in merged.values() for problem in step.problems]
    problems += problems_of_overrides(experiment)
    if problems:
        # what spec.experiment has wrong is the same for every step
        return Wanted(graph, problems=tuple(dict.fromkeys(problems)))
    specs = {name: step.spec for name, step in merged.items()}
    prints = {version: fingerprints(experiment, graph, specs, version) for version in ALGORITHMS}
    return Wanted(graph, prints, overlaps=overlaps(experiment, graph), templates=template_hashes(experiment))
