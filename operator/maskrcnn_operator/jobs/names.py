"""Names of what is made in the cluster: Jobs, Services, labels, annotations."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from maskrcnn_operator.api.base import GROUP

LABEL_EXPERIMENT = f"{GROUP}/experiment"
LABEL_STEP = f"{GROUP}/step"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
MANAGER = "maskrcnn-operator"

ANNOTATION_FINGERPRINT = f"{GROUP}/fingerprint"
ANNOTATION_OLDER_FINGERPRINTS = f"{GROUP}/older-fingerprints"
"""Fingerprints by which images of older releases know the same step, with spaces between them; absent without any."""
ANNOTATION_EXPERIMENT_UID = f"{GROUP}/experiment-uid"
ANNOTATION_TEMPLATE = f"{GROUP}/template"
ANNOTATION_SPEC = f"{GROUP}/spec"
ANNOTATION_REPORT_CA = f"{GROUP}/report-ca"

JOB_NAME_LENGTH = 59
"""An Indexed Job's pods are called ``<job>-<index>``: a DNS label of 63 characters with up to 999 pods."""


def uid_hash(uid: str) -> str:
    """Five characters that tell two experiments of the same name apart."""
    return base64.b32encode(hashlib.sha256(uid.encode()).digest())[:5].decode().lower()


def job_name(experiment: str, step: str, attempt: int, uid: str) -> str:
    """``<experiment>-<step>-<attempt>-<hash of the uid>``; from attempt 1000 on, a long experiment's name is cut."""
    rest = f"-{step}-{attempt}-{uid_hash(uid)}"
    return experiment[: JOB_NAME_LENGTH - len(rest)] + rest


def service_name(experiment: str, step: str, uid: str) -> str:
    """``<experiment>-<step>-<hash of the uid>``: one Service for all attempts of a step."""
    return f"{experiment}-{step}-{uid_hash(uid)}"


def labels(experiment: str, step: str, attempt: int | None = None) -> dict[str, str]:
    """Our labels of a Job and its pods; without an attempt those of the step's Service."""
    found = {LABEL_EXPERIMENT: experiment, LABEL_STEP: step}
    if attempt is not None:
        found[LABEL_ATTEMPT] = str(attempt)
    return {**found, LABEL_MANAGED_BY: MANAGER}


def fingerprint_annotations(fingerprints: Sequence[str]) -> dict[str, str]:
    """Return the annotations of a Job and of its pods that name the fingerprints of their step.

    Args:
        fingerprints: oldest first; the last one is recorded.
    """
    *older, recorded = fingerprints
    return {
        ANNOTATION_FINGERPRINT: recorded,
        **({ANNOTATION_OLDER_FINGERPRINTS: " ".join(older)} if older else {}),
    }
