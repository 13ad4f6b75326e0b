"""Pods of a step: cache, Secret, resources, and overrides of the pod template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from maskrcnn_operator.api.base import ApiModel
from maskrcnn_operator.api.opaque import MAX_BYTES, MAX_LEVELS, MAX_MEMBERS
from maskrcnn_operator.api.reserved import refusal
from maskrcnn_operator.api.workspace import ClaimReference, ObjectName, Quantity, SizeLimit
from maskrcnn_trainer.shared.variables import VARIABLE_PREFIX

LABEL_VALUE_PATTERN = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE_PATTERN, max_length=63)]
Opaque = Annotated[dict[str, Any], Field(max_length=MAX_MEMBERS)]
"""Part that Kubernetes defines; :mod:`maskrcnn_operator.api.opaque` limits its depth and size."""
_BOUNDS = f"at most {MAX_LEVELS} levels and {MAX_BYTES // 1024} KiB as JSON"
ONE_CACHE = "a cache has exactly one of sizeLimit and persistentVolumeClaim"

ANNOTATION_BYTES = 192 * 1024
"""Maximum size of podOverrides.annotations, keys and values together, in bytes.

Kubernetes allows 256 KiB in each pod; 64 KiB are left for the operator's annotations.
"""


def annotation_bytes(annotations: Mapping[str, str]) -> int:
    """Return the size of annotations as the API server counts it, in bytes."""
    return sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items())


class InputCache(ApiModel):
    """Place for copies of inputs that are given by URL: exactly one of the two fields."""

    size_limit: SizeLimit | None = Field(
        default=None,
        description='Maximum size of an emptyDir of each pod, such as "50Gi"; the least recently used copies go first.',
    )
    persistent_volume_claim: ClaimReference | None = Field(
        default=None, description="Claim of a volume that keeps the copies for later steps and experiments."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.size_limit is None) == (self.persistent_volume_claim is None):
            raise ValueError(ONE_CACHE)
        return self


class SecretKeyReference(ApiModel):
    """Key of a Secret in the experiment's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)] = Field(
        default="key", description="Key in the Secret."
    )


class ResourceRequirements(ApiModel):
    """Compute resources of each pod of a step, as in Kubernetes. GPUs come from gpusPerNode."""

    requests: dict[LabelKey, Quantity] = Field(
        default={}, max_length=32, description='Minimum compute resources, for example cpu: "32".'
    )
    limits: dict[LabelKey, Quantity] = Field(
        default={}, max_length=32, description="Maximum compute resources, for example memory: 64Gi."
    )

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
    """Taint that the pods tolerate."""

    key: str | None = Field(
        default=None, max_length=317, description="Key of the taint; all keys when absent (with operator Exists)."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Exists for any value of the taint, Equal for one value; Equal when absent."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint, with operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; all effects when absent."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Time for which a NoExecute taint is tolerated, in seconds; forever when absent.",
    )


class LocalObjectReference(ApiModel):
    """Object in the experiment's namespace."""

    name: ObjectName = Field(description="Name of the object.")


class EnvVar(ApiModel):
    """Environment variable of the step's container."""

    name: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=253)] = Field(
        description="Name of the variable; names that begin with MASKRCNN_ are reserved for the operator."
    )
    value: str | None = Field(default=None, max_length=131072, description="Value of the variable.")
    value_from: Opaque | None = Field(default=None, description=f"Source of the value, as in a pod; {_BOUNDS}.")

    @field_validator("name")
    @classmethod
    def _not_ours(cls, value: str) -> str:
        if value.startswith(VARIABLE_PREFIX):
            raise ValueError("names that begin with MASKRCNN_ are reserved for the operator")
        return value


class PodSecurityContext(ApiModel):
    """User and groups of the processes in the pods."""

    run_as_user: int | None = Field(default=None, ge=1, le=2**31 - 1, description="User ID; root (0) is not allowed.")
    run_as_group: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Group ID.")
    fs_group: int | None = Field(default=None, ge=0, le=2**31 - 1, description="ID of the group that owns the volumes.")
    supplemental_groups: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = Field(
        default=(), max_length=64, description="Additional group IDs."
    )


class PodOverrides(ApiModel):
    """Overrides for the pod template; changes apply to the next attempt, and an attempt that never ran is replaced."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=64, description="Labels that a node must have."
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=64, description="Taints that the pods tolerate.")
    affinity: Opaque | None = Field(default=None, description=f"Affinity of the pods, as in a pod; {_BOUNDS}.")
    priority_class_name: str | None = Field(
        default=None, max_length=253, description="Name of the pods' PriorityClass."
    )
    service_account_name: ObjectName | None = Field(default=None, description="Name of the pods' ServiceAccount.")
    image_pull_secrets: tuple[LocalObjectReference, ...] = Field(
        default=(), max_length=16, description="Secrets for pulling the trainer image."
    )
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64, description="Additional environment variables.")
    labels: dict[LabelKey, LabelValue] = Field(
        default={},
        max_length=64,
        description="Additional labels of the pods. Labels that Kueue reads from the Job are set on the Job.",
    )
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=65536)]] = Field(
        default={},
        max_length=64,
        description="Additional annotations of the pods. Annotations that Kueue reads from the Job are set on the Job.",
    )
    runtime_class_name: ObjectName | None = Field(default=None, description="Name of the pods' RuntimeClass.")
    scheduler_name: str | None = Field(default=None, max_length=253, description="Name of the scheduler for the pods.")
    volumes: tuple[Opaque, ...] = Field(
        default=(), max_length=32, description=f"Additional volumes, as in a pod; {_BOUNDS}."
    )
    volume_mounts: tuple[Opaque, ...] = Field(
        default=(),
        max_length=32,
        description=f"Mounts of the additional volumes, as in a container; {_BOUNDS}.",
    )
    termination_grace_period_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86400,
        description="Time for writing a checkpoint after SIGTERM, in seconds; 120 when absent.",
    )
    security_context: PodSecurityContext | None = Field(default=None, description="User and groups of the pods.")
    gpu_resource: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=253)] = Field(
        default="nvidia.com/gpu", description="Extended resource that gpusPerNode requests."
    )

    @field_validator("env", "image_pull_secrets")
    @classmethod
    def _each_once(cls, value: tuple[EnvVar | LocalObjectReference, ...]) -> tuple[EnvVar | LocalObjectReference, ...]:
        names = [entry.name for entry in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"duplicate name: {', '.join(twice)}")
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
            raise ValueError(f"found {size} bytes of annotations; a pod takes at most {ANNOTATION_BYTES}")
        return value
