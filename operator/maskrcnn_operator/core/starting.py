"""Attempts to start now, and problems that keep an experiment from starting any."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.claims import mounted_claims
from maskrcnn_operator.core.graph import ModelUse
from maskrcnn_operator.core.merge import with_model
from maskrcnn_operator.core.plan import ReconcileContext, StartRun, Steps
from maskrcnn_operator.core.readiness import Candidate, Never, answer, waiting
from maskrcnn_operator.core.retries import failed
from maskrcnn_operator.core.workspace_paths import mounted_place


def problems_of(context: ReconcileContext) -> tuple[ManifestProblem, ...]:
    """Return the problems of an experiment that keep all of its steps from starting."""
    return (*context.desired.problems, *_problems_of_overlap(context), *_problems_of_sharing(context))


def _problems_of_overlap(context: ReconcileContext) -> Iterator[ManifestProblem]:
    """Yield the overlaps of inputs with results for steps that have not started with their current fingerprint.

    A step that has started may end and be retried: its directory is claimed, so its contents are not moved.
    """
    for name, problems in context.desired.overlaps.items():
        if not _has_started(name, context):
            yield from problems


def _has_started(name: str, context: ReconcileContext) -> bool:
    step = context.experiment.status.step(name)
    recorded = {run.fingerprint for run in context.runs if run.step == name} | ({step.fingerprint} if step else set())
    return any(context.desired.recognizes(name, fingerprint) for fingerprint in recorded)


def _problems_of_sharing(context: ReconcileContext) -> Iterator[ManifestProblem]:
    """Yield the steps with several nodes if only one node can mount the workspace or the cache."""
    claims = [claim for claim in mounted_claims(context) if claim.shared is False]
    for index, step in enumerate(context.experiment.spec.steps):
        for claim in claims:
            if step.nodes > 1 and step.name in claim.steps:
                yield ManifestProblem(
                    f"spec.steps[{index}].nodes",
                    f"found {step.nodes}, but only one node can mount the PersistentVolumeClaim {claim.name} "
                    f"({claim.field}); use a ReadWriteMany claim",
                    claim.not_shared,
                )


def start_what_is_ready(
    context: ReconcileContext, steps: Steps
) -> tuple[Steps, tuple[StartRun, ...], tuple[datetime, ...]]:
    """Start each pending step or let it wait; return the steps, the attempts to start, and when waits end."""
    found = dict(steps)
    start: list[StartRun] = []
    wake: list[datetime] = []
    for name in [name for name, step in steps.items() if step.state is StepState.PENDING]:
        why = answer(Candidate(name, found, context))
        if isinstance(why, Never):
            found[name] = failed(found[name], why.reason, why.message, context.now)
        elif why is not None:
            wake += [why.until] if why.until else []
            found[name] = waiting(found[name], why)
        else:
            found[name], run = next_attempt(name, found, context)
            start += [run] if run else []
    return found, tuple(start), tuple(wake)


def next_attempt(name: str, steps: Steps, context: ReconcileContext) -> tuple[StepStatus, StartRun | None]:
    """Return the step with one more attempt, and the attempt to start.

    If the step that makes its model named no file, the step fails and the attempt is None. Numbers of attempts are
    never reused. A recorded fingerprint of an older release stays as long as it is recognized
    (:class:`maskrcnn_operator.core.desired.DesiredState`). If the spec names no image, the recorded one is used
    (:func:`maskrcnn_operator.core.edits.drop_images_chosen_before_an_edit`).
    """
    experiment, desired, settings = context.experiment, context.desired, context.settings
    step, node, manifest = steps[name], desired.graph.nodes[name], experiment.step(name)
    maker = steps[node.model] if node.model else None
    shown = maker.model_path if maker is not None else None
    if maker is not None and shown is None:
        message = f"step {maker.name} succeeded but named no model; change its revision to run it again"
        return failed(step, Reason.ERROR, message, context.now), None
    spec = desired.specs[name]
    made = None if shown is None else mounted_place(shown, experiment.spec.workspace)
    if spec is not None and maker is not None:
        spec = with_model(spec, node, made)
    argument = made if maker and node.model_use is ModelUse.ARGUMENT else manifest.model_path
    *older, fingerprint = desired.fingerprints_of_attempt(name, steps)
    image = experiment.image_of(manifest) or step.image or settings.default_image
    queue = (experiment.spec.queue_name or settings.default_queue) if settings.queueing else ""
    state, reason = (StepState.QUEUED, Reason.QUEUED) if queue else (StepState.STARTING, Reason.STARTING)
    started = step.model_copy(
        update={
            "state": state,
            "reason": reason.value,
            # the message that the Job will have, so that its first observation changes nothing
            "message": f"waits for LocalQueue {queue}" if queue else "",
            "attempt": step.attempt + 1,
            "job_name": settings.run_name(experiment, name, step.attempt + 1),
            "image": image,
            "fingerprint": fingerprint,
            "older_fingerprint": older[0] if older else None,
            "start_time": step.start_time or context.now,
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
        input_fingerprints={
            other: steps[other].fingerprints for other in steps if other in desired.graph.ancestors(name)
        },
    )
