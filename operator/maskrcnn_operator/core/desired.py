"""Desired state: everything that follows from an experiment's spec alone, or all of its problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.core.fingerprint import StepFingerprints, fingerprints
from maskrcnn_operator.core.graph import StepGraph, build_graph
from maskrcnn_operator.core.merge import merge_step
from maskrcnn_operator.core.overlap import overlaps
from maskrcnn_operator.core.overrides import problems_of_overrides
from maskrcnn_operator.core.template import template_hashes
from maskrcnn_operator.core.url_inputs import problems_of_volumes, reads_stores
from maskrcnn_operator.core.workspace_url_inputs import problems_of_workspace_url
from maskrcnn_trainer.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class DesiredState:
    """Desired state of an experiment, or the problems of its spec.

    Attributes:
        graph: graph of the steps.
        prints: fingerprints by step.
        problems: problems of the spec; if there are any, only ``graph`` has a value.
        overlaps: by step, inputs that lie where another step writes; a problem only for a step that has not started.
        specs: merged spec by step, without the path of another step's model; None for tasks that read none.
        templates: template hashes (:mod:`maskrcnn_operator.core.template`) by step.
        store_readers: names of the steps whose pods get the object stores and a cache.
    """

    graph: StepGraph
    prints: Mapping[str, StepFingerprints] = field(default_factory=dict)
    problems: tuple[ManifestProblem, ...] = ()
    overlaps: Mapping[str, tuple[ManifestProblem, ...]] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    specs: Mapping[str, ExperimentSpec | None] = field(default_factory=dict)
    store_readers: frozenset[str] = frozenset()

    def fingerprint(self, step: str) -> str:
        """Return the fingerprint of ``step`` by the current version of the algorithm."""
        return self.prints[step].newest

    def recognizes(self, step: str, recorded: str | None) -> bool:
        """Return whether a recorded fingerprint, of this or an older release, matches the current spec."""
        prints = self.prints[step]
        return recorded is not None and recorded in (*prints.by_version.values(), prints.older)

    def fingerprints_of_attempt(self, name: str, steps: Mapping[str, StepStatus]) -> tuple[str, ...]:
        """Return the fingerprints of a step's next attempt, oldest first; the last one is the one to record.

        A recorded fingerprint that still matches stays, whatever its version. Otherwise the current version is
        recorded, and the results also get the older fingerprint, with which images and operators of older releases
        find them. There is one exception: a step that uses results of a step recorded by version 1 is recorded by
        version 1 too. An edit that only version 1 of that step covers reruns that step, and then this one must rerun.
        """
        prints, step = self.prints[name], steps[name]
        if self.recognizes(name, step.fingerprint):
            found = (step.older_fingerprint, step.fingerprint)
        elif any(self._is_by_version_1(steps[other]) for other in prints.consumed):
            found = (None, prints.older)
        else:
            known = all(self._is_known_to_older_releases(steps[other]) for other in prints.consumed)
            found = (prints.older if known else None, prints.newest)
        return tuple(dict.fromkeys(value for value in found if value))

    def _is_by_version_1(self, step: StepStatus) -> bool:
        """Return whether an edit may change the recorded fingerprint of a step but not its newest one."""
        prints = self.prints[step.name]
        return not prints.lasting and step.fingerprint != prints.newest and self.recognizes(step.name, step.fingerprint)

    def _is_known_to_older_releases(self, step: StepStatus) -> bool:
        """Return whether an older release finds the result of a step that is recorded by the current version.

        It does not after an edit that only version 1 covers: the older release would run that step again.
        """
        prints = self.prints[step.name]
        return prints.lasting or step.older_fingerprint == prints.older


def resolve(experiment: MaskRCNNExperiment) -> DesiredState:
    """Return the desired state of an experiment, or all problems of its spec at once."""
    graph = build_graph(experiment)
    if graph.problems:
        return DesiredState(graph, problems=graph.problems)
    merged = {step.name: merge_step(experiment, graph, step.name) for step in experiment.spec.steps}
    problems = [problem for step in merged.values() for problem in step.problems]
    problems += problems_of_overrides(experiment)
    for index, step in enumerate(experiment.spec.steps):
        problems += problems_of_volumes(experiment, step, index, merged[step.name].spec)
    if experiment.spec.workspace.url is not None:
        problems += problems_of_workspace_url(experiment, experiment.spec.workspace.url)
    if problems:
        # a problem of spec.experiment is the same for every step
        return DesiredState(graph, problems=tuple(dict.fromkeys(problems)))
    specs = _each_once({name: step.spec for name, step in merged.items()})
    return DesiredState(
        graph,
        fingerprints(experiment, graph, specs),
        overlaps=overlaps(experiment, graph),
        templates=template_hashes(experiment),
        specs=specs,
        store_readers=frozenset(
            step.name for step in experiment.spec.steps if reads_stores(experiment, step, specs[step.name])
        ),
    )


def _each_once(specs: Mapping[str, ExperimentSpec | None]) -> dict[str, ExperimentSpec | None]:
    """Return the specs, equal ones as one object: a desired state is kept for every experiment of the cluster.

    Equal specs with different explicit fields stay separate, because a Job's spec file has every explicit field.
    """
    kept: dict[str, ExperimentSpec] = {}
    found: dict[str, ExperimentSpec | None] = {}
    for name, spec in specs.items():
        other = kept.setdefault(spec.model_dump_json(exclude_unset=True), spec) if spec is not None else None
        found[name] = other if other == spec else spec
    return found
