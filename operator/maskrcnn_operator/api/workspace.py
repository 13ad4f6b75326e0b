"""Workspace of an experiment: a claim that its pods mount, or a URL of an object store."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from maskrcnn_operator.api.base import ApiModel
from maskrcnn_operator.api.quantity import bytes_of
from maskrcnn_trainer.shared.object_url import LONGEST_WORKSPACE_URL, STORE_SCHEMES, is_url, workspace_url_problem
from maskrcnn_trainer.shared.owner_state import OwnerState
from maskrcnn_trainer.shared.resource import OBJECT_NAME_PATTERN

QUANTITY_PATTERN = r"^\+?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$"
TAKE_OVER_FROM_LENGTH = 300
ONE_WORKSPACE = "a workspace has exactly one of persistentVolumeClaim and objectStorage"
RELATIVE_SUB_PATH = "results are written to a URL with objectStorage: subPath must be a relative path inside the volume"
SUB_PATH_OF_A_CLAIM = "subPath is for a persistentVolumeClaim: with objectStorage, write the directory into its url"


def _is_a_limit(value: str) -> str:
    if bytes_of(value) == 0:
        raise ValueError(f"found {value}; it must be at least 1 byte: an emptyDir of 0 bytes has no limit")
    return value


ObjectName = Annotated[str, StringConstraints(pattern=OBJECT_NAME_PATTERN, min_length=1, max_length=253)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY_PATTERN, max_length=64)]
SizeLimit = Annotated[Quantity, AfterValidator(_is_a_limit)]
"""Size limit of an emptyDir, at least 1 byte."""


class ClaimReference(ApiModel):
    """PersistentVolumeClaim in the experiment's namespace."""

    claim_name: ObjectName = Field(
        description="Name of the claim. With access mode ReadWriteMany, several steps can run at a time."
    )


class Scratch(ApiModel):
    """An emptyDir of each pod for results that are not published yet."""

    size_limit: SizeLimit | None = Field(
        default=None,
        description='Maximum size, such as "20Gi". A step ends with WorkspaceFull before a checkpoint exceeds it.',
    )


class ObjectStorageWorkspace(ApiModel):
    """URL that stands for /workspace; spec.objectStores has how it is reached."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_WORKSPACE_URL)] = Field(
        description="URL of all experiments of this workspace, such as s3://BUCKET/PREFIX."
    )
    take_over_from: Annotated[str, StringConstraints(max_length=TAKE_OVER_FROM_LENGTH)] | None = Field(
        default=None,
        description="State of another owner of the experiment's results that is replaced, ID/EPOCH, as the message "
        "of a refused step names it. It can change at any time, and refused steps then start again.",
    )
    scratch: Scratch | None = Field(default=None, description="Volume of each pod for results that aren't published.")

    @field_validator("url")
    @classmethod
    def _is_of_a_store(cls, value: str) -> str:
        if value.partition("://")[0] not in STORE_SCHEMES:
            raise ValueError("must be a URL of an object store, such as s3://BUCKET/PREFIX")
        if problem := workspace_url_problem(value):
            raise ValueError(problem)
        if wildcards := sorted(set("*?[],") & set(value)):
            raise ValueError(f"has {' '.join(wildcards)}, which has a meaning in file patterns; use another prefix")
        return value

    @field_validator("take_over_from")
    @classmethod
    def _is_a_state(cls, value: str | None) -> str | None:
        if value is not None:
            OwnerState.parse(value)
        return value


class Workspace(ApiModel):
    """Place of /workspace in every step: exactly one of persistentVolumeClaim and objectStorage."""

    persistent_volume_claim: ClaimReference | None = Field(
        default=None, description="Claim of a volume for data, models, and results, mounted at /workspace."
    )
    object_storage: ObjectStorageWorkspace | None = Field(
        default=None, description="Object storage for data, models, and results, read as /workspace/..."
    )
    sub_path: str = Field(
        default="",
        max_length=1024,
        description="Directory of the claim's volume to mount; its root when empty. A relative path without '..'.",
    )

    @property
    def claim_name(self) -> str | None:
        """Return the name of the claim; None in object storage."""
        return None if self.persistent_volume_claim is None else self.persistent_volume_claim.claim_name

    @property
    def url(self) -> str | None:
        """Return the URL that ``/workspace`` stands for; None for a claim."""
        return None if self.object_storage is None else self.object_storage.url

    @property
    def take_over_from(self) -> str | None:
        """Return the state of another owner that is replaced; None without one, and for a claim."""
        return None if self.object_storage is None else self.object_storage.take_over_from

    @field_validator("sub_path")
    @classmethod
    def _stays_inside(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("object_storage") is not None:
            raise ValueError(SUB_PATH_OF_A_CLAIM)
        if value.startswith("/") or ".." in value.split("/"):
            raise ValueError("must be a relative path inside the volume, without '..'")
        if is_url(value):
            raise ValueError(RELATIVE_SUB_PATH)
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.persistent_volume_claim is None) == (self.object_storage is None):
            raise ValueError(ONE_WORKSPACE)
        return self
