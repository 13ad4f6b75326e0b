"""Where and how steps run: workspace, Secret, resources and what may be overridden in their pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from maskrcnn_operator.api.base import ApiModel
from maskrcnn_operator.api.opaque import MAX_BYTES, MAX_DEPTH, MAX_MEMBERS
from maskrcnn_operator.api.reserved import refusal
from maskrcnn_trainer.shared.variables import VARIABLE_PREFIX

OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
QUANTITY_PATTERN = r"^\+?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$"
LABEL_VALUE_PATTERN = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"

ObjectName = Annotated[str, StringConstraints(pattern=OBJECT_NAME_PATTERN, min_length=1, max_length=253)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY_PATTERN, max_length=64)]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE_PATTERN, max_length=63)]
Opaque = Annotated[dict[str, Any], Field(max_length=MAX_MEMBERS)]
"""A part that Kubernetes defines; :mod:`maskrcnn_operator.api.opaque` bounds what is in it."""
_BOUNDS = f"{MAX_DEPTH} levels and {MAX_BYTES // 1024} KiB as JSON at most"

ANNOTATION_BYTES = 192 * 1024
"""Keys and values of podOverrides.annotations in all: of Kubernetes' 256 KiB a pod, 64 are left for the operator's."""


def annotation_bytes(annotations: Mapping[str, str]) -> int:
    """Return the size of annotations as the API server counts it, in bytes."""
    return sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items())


class ClaimReference(ApiModel):
    """A PersistentVolumeClaim of the experiment's namespace."""

    claim_name: ObjectName = Field(description="Name of the claim; ReadWriteMany lets steps run side by side.")


class Workspace(ApiModel):
    """The volume that every step finds at /workspace."""

    persistent_volume_claim: ClaimReference = Field(description="The claim that holds data, models and results.")
    sub_path: str = Field(
        default="",
        max_length=1024,
        description="Directory inside the volume; its root when empty. Relative, without '..'.",
    )

    @field_validator("sub_path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/"):
            raise ValueError("is a path inside the volume: relative, and without '..'")
        return value


class SecretKeyReference(ApiModel):
    """One key of a Secret of the experiment's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)] = Field(
        default="key", description="Key inside the Secret."
    )


class ResourceRequirements(ApiModel):
    """Compute resources of one pod of the step, as Kubernetes writes them. GPUs come from gpusPerNode."""

    requests: dict[LabelKey, Quantity] = Field(
        default={}, max_length=32, description='Least resources, such as cpu: "32".'
    )
    limits: dict[LabelKey, Quantity] = Field(default={}, max_length=32, description="Most resources.")

    @field_validator("requests", "limits", mode="before")
    @classmethod
    def _numbers_are_quantities(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key: str(amount) if isinstance(amount, int) and not isinstance(amount, bool) else amount
            for key, amount in value.items()
        }


class Toleration(ApiModel):
    """A taint that the pods tolerate."""

    key: str | None = Field(
        default=None, max_length=317, description="Key of the taint; every key when absent (operator Exists)."
    )
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Equal when absent.")
    value: LabelValue | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; every effect when absent."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="How long NoExecute is tolerated, in seconds; for good when absent.",
    )


class LocalObjectReference(ApiModel):
    """An object of the experiment's namespace."""

    name: ObjectName = Field(description="Name of the object.")


class EnvVar(ApiModel):
    """An environment variable of the step's container."""

    name: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=253)] = Field(
        description="Name; names that begin with MASKRCNN_ belong to the operator."
    )
    value: str | None = Field(default=None, max_length=131072, description="Value.")
    value_from: Opaque | None = Field(default=None, description=f"Source of the value, as in a pod: {_BOUNDS}.")

    @field_validator("name")
    @classmethod
    def _not_ours(cls, value: str) -> str:
        if value.startswith(VARIABLE_PREFIX):
            raise ValueError("names that begin with MASKRCNN_ are set by the operator: choose another")
        return value


class PodSecurityContext(ApiModel):
    """Users and groups that the pods run as."""

    run_as_user: int | None = Field(default=None, ge=1, le=2**31 - 1, description="User id; never 0.")
    run_as_group: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Group id.")
    fs_group: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Group that owns the volumes.")
    supplemental_groups: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = Field(
        default=(), max_length=64, description="Further group ids."
    )


class PodOverrides(ApiModel):
    """What the cluster wants of the pods; counts from the next attempt of a step, and replaces one that never ran."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=64, description="Labels that a node must have."
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=64, description="Taints that the pods tolerate.")
    affinity: Opaque | None = Field(default=None, description=f"Affinity of the pods, as in a pod: {_BOUNDS}.")
    priority_class_name: str | None = Field(default=None, max_length=253, description="PriorityClass of the pods.")
    service_account_name: ObjectName | None = Field(default=None, description="ServiceAccount of the pods.")
    image_pull_secrets: tuple[LocalObjectReference, ...] = Field(
        default=(), max_length=16, description="Secrets to pull the trainer image with."
    )
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64, description="Further environment variables.")
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=64, description="Further labels of the pods; what Kueue reads from the Job goes there."
    )
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=65536)]] = Field(
        default={},
        max_length=64,
        description="Further annotations of the pods; what Kueue reads from the Job goes there.",
    )
    runtime_class_name: ObjectName | None = Field(default=None, description="RuntimeClass of the pods.")
    scheduler_name: str | None = Field(default=None, max_length=253, description="Scheduler of the pods.")
    volumes: tuple[Opaque, ...] = Field(
        default=(), max_length=32, description=f"Further volumes, as in a pod: {_BOUNDS}."
    )
    volume_mounts: tuple[Opaque, ...] = Field(
        default=(),
        max_length=32,
        description=f"Where the further volumes are mounted, as in a container: {_BOUNDS}.",
    )
    termination_grace_period_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86400,
        description="Time to write a checkpoint after SIGTERM, in seconds; 120 when absent.",
    )
    security_context: PodSecurityContext | None = Field(default=None, description="Users and groups of the pods.")
    gpu_resource: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=253)] = Field(
        default="nvidia.com/gpu", description="Extended resource that gpusPerNode asks for."
    )

    @field_validator("env", "image_pull_secrets")
    @classmethod
    def _each_once(cls, value: tuple[EnvVar | LocalObjectReference, ...]) -> tuple[EnvVar | LocalObjectReference, ...]:
        names = [entry.name for entry in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: given twice; every name stands there once")
        return value

    @field_validator("labels", "annotations")
    @classmethod
    def _not_of_controllers(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        field: Literal["labels", "annotations"] = "labels" if info.field_name == "labels" else "annotations"
        taken: dict[str, list[str]] = {}
        for key in sorted(value):
            if why := refusal(field, key):
                taken.setdefault(why, []).append(key)
        if taken:
            raise ValueError("; ".join(f"{', '.join(keys)}: {why}" for why, keys in taken.items()))
        return value

    @field_validator("annotations")
    @classmethod
    def _fit_on_a_pod(cls, value: dict[str, str]) -> dict[str, str]:
        size = annotation_bytes(value)
        if size > ANNOTATION_BYTES:
            raise ValueError(f"{size} bytes of annotations: at most {ANNOTATION_BYTES} in all fit on a pod")
        return value
