"""Parts of a pod that reads inputs by URL: the stores, a volume for each Secret, and the cache.

The files of a Secret are read again when a request is refused, and the kubelet replaces them when the Secret changes;
an environment variable would keep the old key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskrcnn_operator.api.experiment import ExperimentBody
from maskrcnn_operator.api.pod_stores import secret_directories, stores_of_pods
from maskrcnn_operator.api.quantity import bytes_of
from maskrcnn_operator.core.reserved_volumes import CACHE_DIRECTORY, CACHE_VOLUME, STORE_VOLUMES
from maskrcnn_trainer.shared.variables import CACHE_LIMIT_VARIABLE, CACHE_VARIABLE, OBJECT_STORES_VARIABLE
from maskrcnn_trainer.spec.object_stores import stores_to_json

GROUP_READS, ALL_READ = 0o440, 0o444
"""Modes of a Secret's files. They belong to root and, with an fsGroup, to that group."""


def store_environment(spec: ExperimentBody) -> Mapping[str, str]:
    """Return the variables with the stores and the cache."""
    # the kubelet expands $(NAME), and reads $$ as $
    values = {
        OBJECT_STORES_VARIABLE: stores_to_json(stores_of_pods(spec.object_stores)).replace("$", "$$"),
        CACHE_VARIABLE: CACHE_DIRECTORY,
    }
    if spec.cache is not None and spec.cache.size_limit is not None:
        values[CACHE_LIMIT_VARIABLE] = str(bytes_of(spec.cache.size_limit))
    return values


def store_volumes(spec: ExperimentBody, *, has_group: bool) -> list[dict[str, Any]]:
    """Return the volumes of the cache and of the Secrets.

    Args:
        spec: of the experiment.
        has_group: whether the pod has an fsGroup; without one, only mode 0444 lets its user read the files.
    """
    mode = GROUP_READS if has_group else ALL_READ
    return [
        {"name": CACHE_VOLUME, **_cache(spec)},
        *(
            {"name": f"{STORE_VOLUMES}{number}", "secret": {"secretName": name, "defaultMode": mode}}
            for number, name in enumerate(secret_directories(spec.object_stores))
        ),
    ]


def store_mounts(spec: ExperimentBody) -> list[dict[str, Any]]:
    """Return the mounts of :func:`store_volumes`."""
    return [
        {"name": CACHE_VOLUME, "mountPath": CACHE_DIRECTORY},
        *(
            {"name": f"{STORE_VOLUMES}{number}", "mountPath": directory, "readOnly": True}
            for number, directory in enumerate(secret_directories(spec.object_stores).values())
        ),
    ]


def _cache(spec: ExperimentBody) -> dict[str, Any]:
    cache = spec.cache
    if cache is not None and cache.persistent_volume_claim is not None:
        return {"persistentVolumeClaim": {"claimName": cache.persistent_volume_claim.claim_name}}
    limit = cache.size_limit if cache is not None else None
    return {"emptyDir": {"sizeLimit": limit} if limit is not None else {}}
