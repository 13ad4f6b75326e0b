"""Pod settings of an installation for experiments that specify none: ``--job-defaults FILE``."""

from __future__ import annotations

import json
from typing import Any

import yaml
from pydantic import Field, ValidationError

from maskrcnn_operator.api.base import ApiModel
from maskrcnn_operator.api.problems import field_path
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.yaml_reading import UNREADABLE_VALUES, load_documents


class PodIds(ApiModel):
    """User and group ids of pods. A null id is left to the platform, which OpenShift's restricted-v2 requires."""

    run_as_user: int | None = Field(default=1000, ge=1, le=2**31 - 1)
    run_as_group: int | None = Field(default=1000, ge=0, le=2**31 - 1)
    fs_group: int | None = Field(default=1000, ge=0, le=2**31 - 1)


class JobDefaults(ApiModel):
    """Fields of the file. An experiment's ``podOverrides`` and ``queueName`` take precedence, field by field."""

    image_pull_policy: str | None = None
    image_pull_secrets: tuple[dict[str, str], ...] = ()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str | None = None
    queue_name: str | None = None
    security_context: PodIds = Field(default_factory=PodIds)


def read_job_defaults(text: str, source: str) -> JobDefaults:
    """Return the defaults of a YAML text; an empty text has none.

    Raises:
        InvalidInput: the text isn't a YAML mapping, or has an unknown field or one of the wrong type.
    """
    try:
        documents = load_documents(text)
    except (yaml.YAMLError, *UNREADABLE_VALUES, RecursionError) as error:
        raise InvalidInput(f"{source} is invalid YAML: {' '.join(str(error).split())}") from error
    content = documents[0] if documents else {}
    if len(documents) > 1 or not isinstance(content, dict):
        raise InvalidInput(f"{source} must be a single mapping of fields, for example nodeSelector: {{}}")
    try:
        text = json.dumps(content)
    except (ValueError, TypeError, RecursionError) as error:  # such as a key that isn't a string
        raise InvalidInput(f"{source} cannot be written as JSON: {error}") from error
    try:
        return JobDefaults.model_validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(f"{field_path(item['loc'])}: {item['msg']}" for item in error.errors(include_url=False))
        raise InvalidInput(f"{source}: {wrong}") from error
