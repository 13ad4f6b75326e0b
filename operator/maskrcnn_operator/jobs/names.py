"""Names of Jobs, Services, labels, and annotations."""

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
"""Fingerprints of the same step in older releases of the image, separated by spaces; absent if there are none."""
ANNOTATION_EXPERIMENT_UID = f"{GROUP}/experiment-uid"
ANNOTATION_TEMPLATE = f"{GROUP}/template"
ANNOTATION_TAKE_OVER_FROM = f"{GROUP}/take-over-from"
"""State of another owner that an attempt replaces in object storage, as in the workspace; absent without one."""
ANNOTATION_SPEC = f"{GROUP}/spec"
ANNOTATION_REPORT_CA = f"{GROUP}/report-ca"

JOB_NAME_LENGTH = 59
"""Pods of an Indexed Job are named ``<job>-<index>``: with up to 999 pods, a DNS label of at most 63 characters."""


def uid_hash(uid: str) -> str:
    """Return five characters that distinguish two experiments of the same name."""
    return base64.b32encode(hashlib.sha256(uid.encode()).digest())[:5].decode().lower()


def job_name(experiment: str, step: str, attempt: int, uid: str) -> str:
    """Return ``<experiment>-<step>-<attempt>-<hash of the uid>``; a long experiment name is cut from attempt 1000."""
    rest = f"-{step}-{attempt}-{uid_hash(uid)}"
    return experiment[: JOB_NAME_LENGTH - len(rest)] + rest


def service_name(experiment: str, step: str, uid: str) -> str:
    """Return ``<experiment>-<step>-<hash of the uid>``, the name of the Service for all attempts of a step."""
    return f"{experiment}-{step}-{uid_hash(uid)}"


def labels(experiment: str, step: str, attempt: int | None = None) -> dict[str, str]:
    """Return our labels of a Job and its pods; without an attempt, those of the step's Service."""
    found = {LABEL_EXPERIMENT: experiment, LABEL_STEP: step}
    if attempt is not None:
        found[LABEL_ATTEMPT] = str(attempt)
    return {**found, LABEL_MANAGED_BY: MANAGER}


def fingerprint_annotations(fingerprints: Sequence[str]) -> dict[str, str]:
    """Return the annotations of a Job and its pods for the fingerprints of their step.

    Args:
        fingerprints: oldest first; the last one is recorded.
    """
    *older, recorded = fingerprints
    return {
        ANNOTATION_FINGERPRINT: recorded,
        **({ANNOTATION_OLDER_FINGERPRINTS: " ".join(older)} if older else {}),
    }
