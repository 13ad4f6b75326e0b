"""Base classes of the resource's types: camelCase in YAML and JSON, snake_case in Python, frozen, strict."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from maskrcnn_trainer.shared.resource import (
    API_VERSION,
    EXPERIMENT_NAME_LENGTH,
    EXPERIMENT_NAME_PATTERN,
    GROUP,
    KIND,
    VERSION,
    WORKSPACE_MOUNT,
)

__all__ = [
    "API_VERSION",
    "EXPERIMENT_NAME_LENGTH",
    "EXPERIMENT_NAME_PATTERN",
    "GROUP",
    "KIND",
    "PATH_OR_URL",
    "PATH_OR_URL_PATTERN",
    "PLURAL",
    "SHORT_NAME",
    "STEP_NAME_LENGTH",
    "STEP_NAME_PATTERN",
    "VERSION",
    "WORKSPACE_MOUNT",
    "ApiModel",
    "StatusModel",
]

PLURAL = "maskrcnnexperiments"
SHORT_NAME = "mrx"

STEP_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
STEP_NAME_LENGTH = 16
PATH_OR_URL_PATTERN = r"^(/|file:///|(s3|gs|az)://[^/])"
PATH_OR_URL = "must be an absolute path, such as /workspace/..., or a URL, such as s3://BUCKET/KEY"
"""Message for a text that the pattern doesn't match; the rest of a URL is checked in Python alone."""


class ApiModel(BaseModel):
    """Part of the resource as the user wrote it, with strict types and without unknown fields, as on an API server.

    Objects from outside are read as JSON (see :mod:`maskrcnn_operator.api.manifest`). There, strict types also accept a
    list for a tuple, and a string for an enumeration or a time.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def to_json(self) -> dict[str, Any]:
        """Return the object as JSON values in camelCase, without fields that are null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """Part of the status. Unknown fields are ignored, so that an older release can read the status of a later one."""

    model_config = ConfigDict(extra="ignore")
