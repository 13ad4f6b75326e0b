"""Overrides of a step's pods: those of the experiment, overridden by the step's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.pod import ANNOTATION_BYTES, PodOverrides, annotation_bytes
from maskrcnn_operator.api.problems import ManifestProblem

_LIST_KEYS: Mapping[str, str] = {
    "env": "name",
    "image_pull_secrets": "name",
    "volumes": "name",
    "volume_mounts": "mountPath",
}
"""Lists whose entries are merged, and the field by which they are."""
_MAPS = frozenset({"node_selector", "labels", "annotations"})
"""Maps that are merged by key.

Fields in neither table replace those of the experiment; so does affinity, whose parts belong together.
"""


def overrides_of(experiment: MaskRCNNExperiment, step: Step) -> PodOverrides:
    """Return the overrides of a step's pods: the step's fields, and the experiment's where the step gives none."""
    whole, own = experiment.spec.pod_overrides, step.pod_overrides
    if own is None:
        return whole
    return whole.model_copy(
        update={name: _merged(name, getattr(whole, name), getattr(own, name)) for name in own.model_fields_set}
    )


def problems_of_overrides(experiment: MaskRCNNExperiment) -> tuple[ManifestProblem, ...]:
    """Return a problem for each step whose annotations, merged with the experiment's, are too large for a pod."""
    found = []
    for index, step in enumerate(experiment.spec.steps):
        size = annotation_bytes(overrides_of(experiment, step).annotations) if step.pod_overrides else 0
        if size > ANNOTATION_BYTES:
            text = f"found {size} bytes, with those of spec.podOverrides; a pod takes at most {ANNOTATION_BYTES}"
            found.append(ManifestProblem(f"spec.steps[{index}].podOverrides.annotations", text))
    return tuple(found)


def _merged(name: str, whole: Any, own: Any) -> Any:
    if name in _MAPS:
        return {**whole, **own}
    if name in _LIST_KEYS and own:
        return _by_key(whole, own, _key(_LIST_KEYS[name]))
    if name == "security_context" and whole is not None and own is not None:
        return whole.model_copy(update={field: getattr(own, field) for field in own.model_fields_set})
    return own


def _key(name: str) -> Callable[[Any], str | None]:
    def of(entry: Any) -> str | None:
        # an entry that Kubernetes defines may have any fields; one without the key is not merged
        found = getattr(entry, name) if isinstance(entry, BaseModel) else entry.get(name)
        return found if isinstance(found, str) else None

    return of


def _by_key(whole: Iterable[Any], own: Iterable[Any], key: Callable[[Any], str | None]) -> tuple[Any, ...]:
    """Return the entries of ``whole``, each replaced if ``own`` has its key, and then the other entries of ``own``."""
    mine = {name: entry for entry in own if (name := key(entry)) is not None}
    kept = [mine.get(name, entry) if (name := key(entry)) is not None else entry for entry in whole]
    known = {key(entry) for entry in whole} - {None}
    return (*kept, *(entry for entry in own if key(entry) not in known))
