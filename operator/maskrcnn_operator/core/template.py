"""Template hashes: hashes of the spec fields that a step's Job is made from and its fingerprint does not cover.

Version 1 is SHA-256 over canonical JSON (sorted keys, no spaces, ASCII), cut to 32 hex digits, with the suffix ``-v1``.
It covers only the user's spec, without fields equal to their default. Therefore an upgrade of the operator, another
default of its installation, or a new field of a later release does not change the hash of an unchanged spec. Hashes of
different versions are not compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.overrides import overrides_of

TEMPLATE_HASH_VERSION = "v1"

BODY_FIELDS = frozenset({"workspace", "object_stores", "cache", "encryption_key_secret_ref", "queue_name"})
"""Other fields of ``spec`` that every step's Job is made from."""
STEP_FIELDS = frozenset({"nodes", "gpus_per_node", "processes_per_node", "threads_per_process", "resources"})
"""Other fields of a step that its Job is made from. The fingerprint covers the task and the model."""


def template_hashes(experiment: MaskRCNNExperiment) -> dict[str, str]:
    """Return the template hash of every step, by name."""
    body = _digest(_given(experiment.spec, BODY_FIELDS))
    shared = _digest(_given(experiment.spec.experiment))
    hashes: dict[str, str] = {}
    for step in experiment.spec.steps:
        content: dict[str, Any] = {
            "body": body,
            "step": _given(step, STEP_FIELDS),
            "image": experiment.image_of(step),
            "podOverrides": _given(overrides_of(experiment, step)),
        }
        if step.kind.reads_spec:
            # includes fields that change no result, because they are in the file that the pod reads
            own = _given(step.experiment) if step.experiment is not None else {}
            content |= {"experiment": shared, "stepExperiment": own}
        hashes[step.name] = f"{_digest(content)}-{TEMPLATE_HASH_VERSION}"
    return hashes


def is_another_template(recorded: str, current: str) -> bool:
    """Return whether a recorded hash proves that a Job was made from another spec; an unreadable one does not."""
    return recorded.rpartition("-")[2] == TEMPLATE_HASH_VERSION and recorded != current


def _given(model: BaseModel, fields: Collection[str] | None = None) -> dict[str, Any]:
    included = set(fields) if fields is not None else None
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=included)
    return dumped


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
