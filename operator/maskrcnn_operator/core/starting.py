"""An attempt that starts now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core import restart
from maskrcnn_operator.core.desired import DesiredState
from maskrcnn_operator.core.graph import ModelUse
from maskrcnn_operator.core.merge import merge_step, with_model
from maskrcnn_operator.core.plan import Settings, StartRun
from maskrcnn_operator.core.runs import Run


def problems_of_overlap(
    experiment: MaskRCNNExperiment, runs: Sequence[Run], desired: DesiredState
) -> tuple[Problem, ...]:
    """Return the overlaps of inputs with results for the steps that have not started for their fingerprint.

    A step that has may end and be tried again: its directory is claimed, and nothing in it moves.
    """
    return tuple(
        problem
        for name, problems in desired.overlaps.items()
        if not _has_started(name, experiment, runs, desired)
        for problem in problems
    )


def _has_started(name: str, experiment: MaskRCNNExperiment, runs: Sequence[Run], desired: DesiredState) -> bool:
    step = experiment.status.step(name)
    recorded = {run.fingerprint for run in runs if run.step == name} | ({step.fingerprint} if step else set())
    return any(desired.recognises(name, fingerprint) for fingerprint in recorded)


def next_attempt(
    name: str,
    steps: Mapping[str, StepStatus],
    experiment: MaskRCNNExperiment,
    desired: DesiredState,
    *,
    now: datetime,
    settings: Settings,
) -> tuple[StepStatus, StartRun | None]:
    """The step with one attempt more, and what is to be started; a failed step and None where its model has no file.

    The attempt only rises. A recorded fingerprint of an older release stays as long as it is recognised
    (:class:`maskrcnn_operator.core.desired.DesiredState`), and an image that the spec does not name as long as the step
    records it (:mod:`maskrcnn_operator.core.image`).
    """
    step, node, manifest = steps[name], desired.graph.nodes[name], experiment.step(name)
    maker = steps[node.model] if node.model else None
    if maker is not None and maker.model_path is None:
        message = f"step {maker.name} has succeeded without naming a model: change its revision to run it again"
        return restart.failed(step, Reason.ERROR, message, now), None
    spec = merge_step(experiment, desired.graph, name).spec
    if spec is not None and maker is not None:
        spec = with_model(spec, node, maker.model_path)
    argument = maker.model_path if maker and node.model_use is ModelUse.ARGUMENT else manifest.model_path
    *older, fingerprint = desired.fingerprints_of_attempt(name, steps)
    image = experiment.image_of(manifest) or step.image or settings.default_image
    queue = (experiment.spec.queue_name or settings.default_queue) if settings.queueing else ""
    state, reason = (StepState.QUEUED, Reason.QUEUED) if queue else (StepState.STARTING, Reason.STARTING)
    started = step.model_copy(
        update={
            "state": state,
            "reason": reason.value,
            # as the Job says it, so that its first news is none
            "message": f"waits for LocalQueue {queue}" if queue else "",
            "attempt": step.attempt + 1,
            "job_name": settings.run_name(experiment, name, step.attempt + 1),
            "image": image,
            "fingerprint": fingerprint,
            "older_fingerprint": older[0] if older else None,
            "start_time": step.start_time or now,
            "run_start_time": None,
            "completion_time": None,
            "next_attempt_time": None,
        }
    )
    return started, StartRun(
        name,
        step.attempt + 1,
        fingerprint,
        image,
        spec,
        argument,
        template=desired.templates[name],
        older_fingerprints=tuple(older),
    )
