"""What every type of the resource shares: camelCase in YAML and JSON, snake_case in Python, frozen, nothing unknown."""

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
    "ABSOLUTE_PATH_PATTERN",
    "API_VERSION",
    "EXPERIMENT_NAME_LENGTH",
    "EXPERIMENT_NAME_PATTERN",
    "GROUP",
    "KIND",
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
ABSOLUTE_PATH_PATTERN = r"^/"


class ApiModel(BaseModel):
    """A part of the resource as the user wrote it; types are strict, as on an API server.

    Objects that come from outside are read as JSON (see :mod:`maskrcnn_operator.api.manifest`), where a list becomes a
    tuple and a text an enumeration or a time although types are strict.
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
        """The object as JSON values in camelCase, fields that are null left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """A part of the status: fields that a later release has added are ignored, so that a downgrade can read it."""

    model_config = ConfigDict(extra="ignore")
