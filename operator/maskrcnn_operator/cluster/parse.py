"""An experiment as the API server shows it, read into types, at no more cost than what has changed in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, ObjectMeta
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.problems import ManifestError, Problem, field_path
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.cluster.compact import compact

_NOT_KEPT = ("managedFields", "ownerReferences", "finalizers", "annotations")


def read_experiment(
    item: Mapping[str, Any], known: MaskRCNNExperiment | None = None
) -> tuple[MaskRCNNExperiment | None, tuple[Problem, ...]]:
    """The experiment, or what keeps it from being read.

    Args:
        known: the same experiment at the same generation, whose spec is not read again.
    """
    metadata = {key: value for key, value in item["metadata"].items() if key not in _NOT_KEPT}
    try:
        if known is not None:
            newer = {
                "metadata": ObjectMeta.model_validate_json(json.dumps(metadata)),
                "status": ExperimentStatus.model_validate_json(json.dumps(item.get("status") or {})),
            }
            return compact(known.model_copy(update=newer)), ()
        return compact(read_object({**item, "metadata": metadata})), ()
    except ManifestError as error:
        return None, error.problems
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, tuple(Problem(f"status.{field_path(item['loc'])}", item["msg"]) for item in details)
