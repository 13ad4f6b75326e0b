"""Manifests of a step's Job, and of the headless Service through which the pods of a worker group find each other."""

from __future__ import annotations

from typing import Any

from maskrcnn_operator.api.base import API_VERSION, KIND
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reserved import Place, carried_by
from maskrcnn_operator.core.overrides import overrides_of
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.jobs.config import RENDEZVOUS_PORT, JobConfig
from maskrcnn_operator.jobs.names import (
    ANNOTATION_EXPERIMENT_UID,
    ANNOTATION_TAKE_OVER_FROM,
    ANNOTATION_TEMPLATE,
    LABEL_QUEUE,
    fingerprint_annotations,
    job_name,
    labels,
    service_name,
)
from maskrcnn_operator.jobs.pod import pod_template
from maskrcnn_operator.jobs.views import CONTAINER_NAME
from maskrcnn_trainer.errors import EXIT_INVALID


def job_manifest(experiment: MaskRCNNExperiment, start: StartRun, config: JobConfig) -> dict[str, Any]:
    """Return the Job of an attempt, which is created by POST and never changed.

    The Job fails with its first failed or disrupted pod. The operator then decides on another attempt, and counts and
    limits attempts. The Job controller would replace disrupted pods without a limit and without a notice.
    """
    step, queue = experiment.step(start.step), experiment.spec.queue_name or config.defaults.queue_name
    nodes, overrides = step.nodes, overrides_of(experiment, step)
    take_over_from = experiment.spec.workspace.take_over_from
    ours = labels(experiment.name, start.step, start.attempt)
    job_labels = {**carried_by(Place.JOB, "labels", overrides.labels), **ours}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(experiment.name, start.step, start.attempt, experiment.metadata.uid),
            "namespace": experiment.metadata.namespace,
            "labels": {**job_labels, LABEL_QUEUE: queue} if queue else job_labels,
            "annotations": {
                **carried_by(Place.JOB, "annotations", overrides.annotations),
                ANNOTATION_EXPERIMENT_UID: experiment.metadata.uid,
                **fingerprint_annotations(start.fingerprints),
                ANNOTATION_TEMPLATE: start.template,
                **({ANNOTATION_TAKE_OVER_FROM: take_over_from} if take_over_from else {}),
            },
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "suspend": bool(queue),
            "parallelism": nodes,
            "completions": nodes,
            "completionMode": "Indexed" if nodes > 1 else "NonIndexed",
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                # no rule matches 137 or 143: it would fail a Job that Kueue suspends
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER_NAME,
                            "operator": "In",
                            "values": [EXIT_INVALID],
                        },
                    },
                ]
            },
            "template": pod_template(experiment, start, config),
        },
    }


def service_manifest(experiment: MaskRCNNExperiment, step: str) -> dict[str, Any] | None:
    """Return the headless Service for all attempts of a step on several nodes; None for a step on one node."""
    if experiment.step(step).nodes == 1:
        return None
    ours = labels(experiment.name, step)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(experiment.name, step, experiment.metadata.uid),
            "namespace": experiment.metadata.namespace,
            "labels": ours,
            "annotations": {ANNOTATION_EXPERIMENT_UID: experiment.metadata.uid},
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "clusterIP": "None",
            # pods resolve each other's names before they are ready
            "publishNotReadyAddresses": True,
            "selector": dict(ours),
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "targetPort": RENDEZVOUS_PORT}],
        },
    }


def owner_reference(experiment: MaskRCNNExperiment) -> dict[str, Any]:
    """Return an owner reference to the experiment as controller.

    Its children are garbage-collected with it, and don't block its deletion.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": experiment.name,
        "uid": experiment.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
