"""``MaskRCNNExperiment``: the resource."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from maskrcnn_operator.api.base import (
    API_VERSION,
    EXPERIMENT_NAME_LENGTH,
    EXPERIMENT_NAME_PATTERN,
    KIND,
    STEP_NAME_LENGTH,
    STEP_NAME_PATTERN,
    ApiModel,
    StatusModel,
)
from maskrcnn_operator.api.pod import ObjectName, PodOverrides, ResourceRequirements, SecretKeyReference, Workspace
from maskrcnn_operator.api.status import ExperimentStatus, Size, Time
from maskrcnn_operator.api.task_kinds import (
    NEXT_MODEL_MAKERS,
    SEVERAL_PROCESSES,
    TASK_KINDS,
    Records,
    TaskKind,
    in_words,
)
from maskrcnn_operator.api.tasks import (
    AbsolutePath,
    DatasetConvert,
    Evaluate,
    Export,
    Inference,
    Prune,
    TaskOptions,
    Train,
)
from maskrcnn_trainer.shared.worker_group import MOST_NODES, MOST_PROCESSES, MOST_THREADS
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.partial import PartialExperimentSpec
from maskrcnn_trainer.spec.task_name import TaskName

StepName = Annotated[str, StringConstraints(pattern=STEP_NAME_PATTERN, min_length=1, max_length=STEP_NAME_LENGTH)]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
MAX_STEPS = 32
StepPodOverrides = Annotated[
    PodOverrides, WithJsonSchema({"type": "object", "maxProperties": len(PodOverrides.model_fields)})
]
"""The API server takes any fields there: written out once more, the type would add 11 KB to the definition."""


class Step(ApiModel):
    """One step: a name, exactly one task, and where and how it runs."""

    name: StepName = Field(description="Name of the step, a DNS label; also the name of its results directory.")
    dataset_convert: DatasetConvert | None = Field(default=None, description="Convert a COCO data set to TFRecords.")
    train: Train | None = Field(default=None, description="Train, or retrain a pruned model.")
    evaluate: Evaluate | None = Field(default=None, description="Evaluate a model with the COCO metrics.")
    prune: Prune | None = Field(default=None, description="Remove filters of a trained model.")
    inference: Inference | None = Field(default=None, description="Run a model on a directory of images.")
    export: Export | None = Field(default=None, description="Export a model for TensorRT.")
    nodes: int = Field(default=1, ge=1, le=MOST_NODES, description="Number of pods that train together; train only.")
    gpus_per_node: int = Field(default=0, ge=0, le=64, description="GPUs of each pod.")
    processes_per_node: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PROCESSES,
        description="Training processes of each pod; gpusPerNode when absent, else 1. Train only.",
    )
    threads_per_process: int | None = Field(
        default=None,
        ge=1,
        le=MOST_THREADS,
        description="CPU threads of a process; the pod's CPUs are divided when absent.",
    )
    resources: ResourceRequirements = Field(
        default=ResourceRequirements(), description="Compute resources of each pod."
    )
    image: str = Field(default="", max_length=1024, description="Trainer image of this step; spec.image when empty.")
    pod_overrides: StepPodOverrides | None = Field(
        default=None,
        description="Fields of spec.podOverrides that are different for this step. Maps and securityContext merge by "
        "key; env, imagePullSecrets and volumes by name; volumeMounts by mountPath; everything else replaces. The "
        "operator checks them, not the API server: a mistake is told as InvalidSpec.",
    )
    active_deadline_seconds: Seconds | None = Field(
        default=None,
        description="Fail the step after this time of running, of all its attempts together, in seconds; queue, "
        "suspension and back-off excluded. It counts from when the field is set.",
    )
    depends_on: tuple[StepName, ...] = Field(
        default=(), max_length=MAX_STEPS, description="Steps that must have succeeded before, beside data and model."
    )
    model_from: StepName | None = Field(
        default=None,
        description=f"Step whose model is used; the nearest {in_words(NEXT_MODEL_MAKERS)} step before when absent.",
    )
    model_path: AbsolutePath | None = Field(default=None, description="Model file that is used instead of a step's.")
    experiment: PartialExperimentSpec | None = Field(
        default=None, description="Fields of the experiment that are different for this step. Lists replace."
    )
    revision: str = Field(
        default="", max_length=256, description="Free text: change it to run this step again on purpose."
    )

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        given = [name.value for name in TaskName if getattr(self, name.attribute) is not None]
        if len(given) != 1:
            found = "none" if not given else " and ".join(given)
            raise ValueError(f"a step is exactly one task of {', '.join(TaskName)}: found {found}")
        return self

    @functools.cached_property
    def task_name(self) -> TaskName:
        """Which task the step is."""
        return next(name for name in TaskName if getattr(self, name.attribute) is not None)

    @property
    def kind(self) -> TaskKind[Any]:
        """Return the task's entry in the table of tasks."""
        return TASK_KINDS[self.task_name]

    @property
    def task(self) -> TaskOptions:
        """The task's own fields."""
        task: TaskOptions = getattr(self, self.task_name.attribute)
        return task

    @property
    def records(self) -> Records | None:
        """Return the TFRecords that it writes, None where its task writes none."""
        return self.kind.records(self.task) if self.kind.records else None

    @property
    def files(self) -> tuple[str, ...]:
        """Return the fields of ``dataConfig`` whose files it reads, by their names in Python."""
        return self.kind.files(self.task) if self.kind.files else ()

    @property
    def processes_on_node(self) -> int:
        """Processes that one pod starts; 1 for a task that doesn't run in several."""
        if self.task_name not in SEVERAL_PROCESSES:
            return 1
        return self.processes_per_node or max(1, self.gpus_per_node)

    @property
    def processes(self) -> int:
        """Processes of all nodes together."""
        return self.nodes * self.processes_on_node


class ExperimentBody(ApiModel):
    """What the user wants."""

    suspend: bool = Field(
        default=False,
        description="Stop after a checkpoint; back to false resumes where it stopped and tries failed steps again.",
    )
    image: str = Field(default="", max_length=1024, description="Trainer image; the operator's default when empty.")
    workspace: Workspace = Field(description="Mounted at /workspace in every step.")
    encryption_key_secret_ref: SecretKeyReference | None = Field(
        default=None, description="Key that models are encrypted with; they are plain files when absent."
    )
    queue_name: Literal[""] | ObjectName = Field(
        default="", description="Kueue LocalQueue for every Job; none when empty."
    )
    active_deadline_seconds: Seconds | None = Field(
        default=None,
        description="Fail the experiment after this time of running steps, in seconds; never when absent. "
        "Queue, suspension and the start of pods (see preRunningDeadlineSeconds) do not count.",
    )
    pre_running_deadline_seconds: Seconds | None = Field(
        default=None, description="Give up on a step whose newest attempt has never run after this time, in seconds."
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="Delete the experiment this time after it finished, in seconds; never when absent."
    )
    max_restarts: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Restarts of a failed step until it has a newer checkpoint, and 20 times as many in all; "
        "disruptions are not counted.",
    )
    pod_overrides: PodOverrides = Field(default=PodOverrides(), description="What the cluster wants of the pods.")
    experiment: ExperimentSpec = Field(description="The experiment specification, the same for all steps.")
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MAX_STEPS, description="What is done.")


class ObjectMeta(StatusModel):
    """The part of an object's metadata that matters here."""

    name: Annotated[
        str, StringConstraints(pattern=EXPERIMENT_NAME_PATTERN, min_length=1, max_length=EXPERIMENT_NAME_LENGTH)
    ] = Field(description="Name of the experiment: a DNS label that starts with a letter; also its directory's name.")
    namespace: str = Field(default="default", description="Namespace.")
    uid: str = Field(default="", description="Unique id, given by the API server.")
    resource_version: str = Field(default="", description="Version that a write must be based on.")
    generation: Size = Field(default=1, description="Number of changes of the spec.")
    creation_timestamp: Time | None = Field(default=None, description="When it was created.")
    deletion_timestamp: Time | None = Field(default=None, description="When its deletion was asked for.")
    labels: dict[str, str] = Field(default={}, description="Labels.")
    annotations: dict[str, str] = Field(default={}, description="Annotations.")


class MaskRCNNExperiment(ApiModel):
    """A Mask R-CNN experiment: conversion, training, evaluation, pruning, inference and export."""

    model_config = ConfigDict(title=KIND)

    api_version: Literal["maskrcnn.dev/v1alpha1"] = Field(default="maskrcnn.dev/v1alpha1", description=API_VERSION)
    kind: Literal["MaskRCNNExperiment"] = Field(default="MaskRCNNExperiment", description=KIND)
    metadata: ObjectMeta = Field(description="Name, labels and what the API server adds.")
    spec: ExperimentBody = Field(description="What the user wants.")
    status: ExperimentStatus = Field(default=ExperimentStatus(), description="What the operator has done.")

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name

    def step(self, name: str) -> Step:
        """The step called ``name``; KeyError where there is none."""
        for step in self.spec.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def image_of(self, step: Step) -> str:
        """The trainer image that the user names for a step; empty for the operator's default."""
        return step.image or self.spec.image

    def with_status(self, status: ExperimentStatus) -> MaskRCNNExperiment:
        """The same experiment with another status."""
        return self.model_copy(update={"status": status})

    def suspended(self, suspend: bool) -> MaskRCNNExperiment:
        """The same experiment with ``spec.suspend`` set."""
        return self.model_copy(update={"spec": self.spec.model_copy(update={"suspend": suspend})})
