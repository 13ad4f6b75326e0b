"""Resource ``MaskRCNNExperiment``: its metadata, spec, and steps."""

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
from maskrcnn_operator.api.pod import (
    InputCache,
    PodOverrides,
    ResourceRequirements,
    SecretKeyReference,
)
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
    DatasetConvert,
    Evaluate,
    Export,
    Inference,
    PathOrUrl,
    Prune,
    TaskOptions,
    Train,
)
from maskrcnn_operator.api.workspace import ObjectName, Workspace
from maskrcnn_trainer.shared.worker_group import MOST_NODES, MOST_PROCESSES, MOST_THREADS
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.object_stores import MOST_STORES, ObjectStore
from maskrcnn_trainer.spec.partial import PartialExperimentSpec
from maskrcnn_trainer.spec.task_name import TaskName

StepName = Annotated[str, StringConstraints(pattern=STEP_NAME_PATTERN, min_length=1, max_length=STEP_NAME_LENGTH)]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
MAX_STEPS = 32
StepPodOverrides = Annotated[
    PodOverrides,
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": len(PodOverrides.model_fields),
            "properties": {
                "gpuResource": {
                    "type": "string",
                    "maxLength": 253,
                    "description": PodOverrides.model_fields["gpu_resource"].description,
                }
            },
        }
    ),
]
"""In the definition, an object with any fields: a second copy of the type would add 11 KB to it.

``gpuResource`` is there because a CEL rule can't read a field that isn't.
"""


class Step(ApiModel):
    """One step: a name, exactly one task, and the pods that run it."""

    name: StepName = Field(description="Name of the step, a DNS label; also the name of its results directory.")
    dataset_convert: DatasetConvert | None = Field(default=None, description="Convert a COCO data set to TFRecords.")
    train: Train | None = Field(default=None, description="Train, or retrain a pruned model.")
    evaluate: Evaluate | None = Field(default=None, description="Evaluate a model with the COCO metrics.")
    prune: Prune | None = Field(default=None, description="Remove filters with small weights from a model.")
    inference: Inference | None = Field(default=None, description="Run a model on a directory of images.")
    export: Export | None = Field(default=None, description="Export a model to ONNX for TensorRT.")
    nodes: int = Field(
        default=1, ge=1, le=MOST_NODES, description="Number of pods that train together. For train steps only."
    )
    gpus_per_node: int = Field(default=0, ge=0, le=64, description="Number of GPUs in each pod.")
    processes_per_node: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PROCESSES,
        description="Number of training processes in each pod; when absent, gpusPerNode, or 1 without GPUs. "
        "For train steps only.",
    )
    threads_per_process: int | None = Field(
        default=None,
        ge=1,
        le=MOST_THREADS,
        description="Number of CPU threads of each process; when absent, the processes share the pod's CPUs equally.",
    )
    resources: ResourceRequirements = Field(
        default=ResourceRequirements(), description="Compute resources of each pod."
    )
    image: str = Field(default="", max_length=1024, description="Trainer image of this step; spec.image when empty.")
    pod_overrides: StepPodOverrides | None = Field(
        default=None,
        description="Fields of spec.podOverrides that differ for this step. Maps and securityContext merge by key; "
        "env, imagePullSecrets, and volumes merge by name; volumeMounts merge by mountPath; other fields replace. The "
        "operator checks these fields, not the API server, and reports errors with the reason InvalidSpec.",
    )
    active_deadline_seconds: Seconds | None = Field(
        default=None,
        description="Maximum time that all attempts of the step may run together, in seconds; then the step fails. "
        "Time in a queue, while suspended, or between attempts does not count, nor does time before the field is set. "
        "No limit when absent.",
    )
    depends_on: tuple[StepName, ...] = Field(
        default=(),
        max_length=MAX_STEPS,
        description="Names of steps that must succeed first, in addition to those that make its data and model.",
    )
    model_from: StepName | None = Field(
        default=None,
        description=f"Name of the step whose model is used; when absent, the nearest {in_words(NEXT_MODEL_MAKERS)} "
        "step before this one.",
    )
    model_path: PathOrUrl | None = Field(default=None, description="Model file to use instead of a step's model.")
    experiment: PartialExperimentSpec | None = Field(
        default=None, description="Fields of spec.experiment that differ for this step. Lists replace."
    )
    revision: str = Field(
        default="",
        max_length=256,
        description="Free text; change it to run this step again although nothing else has changed.",
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
        """Return the name of the task that the step runs."""
        return next(name for name in TaskName if getattr(self, name.attribute) is not None)

    @property
    def kind(self) -> TaskKind[Any]:
        """Return the task's entry in the table of tasks."""
        return TASK_KINDS[self.task_name]

    @property
    def task(self) -> TaskOptions:
        """Return the options of the task."""
        task: TaskOptions = getattr(self, self.task_name.attribute)
        return task

    @property
    def records(self) -> Records | None:
        """Return the TFRecords that the step writes; None if its task writes none."""
        return self.kind.records(self.task) if self.kind.records else None

    @property
    def files(self) -> tuple[str, ...]:
        """Return the fields of ``dataConfig`` whose files the step reads, by their Python names."""
        return self.kind.files(self.task) if self.kind.files else ()

    @property
    def processes_on_node(self) -> int:
        """Return the number of processes in each pod; 1 for a task that runs in a single process."""
        if self.task_name not in SEVERAL_PROCESSES:
            return 1
        return self.processes_per_node or max(1, self.gpus_per_node)

    @property
    def processes(self) -> int:
        """Return the number of processes on all nodes together."""
        return self.nodes * self.processes_on_node


class ExperimentBody(ApiModel):
    """Desired state of an experiment."""

    suspend: bool = Field(
        default=False,
        description="If true, running steps write a checkpoint and stop. Setting it back to false resumes them and "
        "retries failed steps.",
    )
    image: str = Field(
        default="", max_length=1024, description="Trainer image of all steps; the operator's default when empty."
    )
    workspace: Workspace = Field(
        description="Place of data, models, and results, which every step reads and writes as /workspace/..."
    )
    object_stores: tuple[ObjectStore, ...] = Field(
        default=(),
        max_length=MOST_STORES,
        description="How object stores are reached: those of inputs given by URL, and of a workspace by URL.",
    )
    cache: InputCache | None = Field(
        default=None,
        description="Place for copies of inputs given by URL; an emptyDir of each pod without a limit when absent.",
    )
    encryption_key_secret_ref: SecretKeyReference | None = Field(
        default=None, description="Key that encrypts model files; they are not encrypted when absent."
    )
    queue_name: Literal[""] | ObjectName = Field(
        default="", description="Kueue LocalQueue of every Job; when empty, the operator's default queue if it has one."
    )
    active_deadline_seconds: Seconds | None = Field(
        default=None,
        description="Maximum time that steps may run, in seconds; then the experiment fails. Time in a queue, while "
        "suspended, or while pods start (see preRunningDeadlineSeconds) does not count. No limit when absent.",
    )
    pre_running_deadline_seconds: Seconds | None = Field(
        default=None,
        description="Maximum time from the start of an attempt until its pods run, in seconds; then the step fails. "
        "No limit when absent.",
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None,
        description="Time after which a finished experiment is deleted, in seconds; it is kept when absent.",
    )
    max_restarts: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Maximum number of restarts of a failed step without a newer checkpoint; 20 times as many are "
        "allowed in all. Disruptions do not count.",
    )
    pod_overrides: PodOverrides = Field(
        default=PodOverrides(), description="Overrides for the pod template of all steps."
    )
    experiment: ExperimentSpec = Field(description="Experiment specification of all steps.")
    steps: tuple[Step, ...] = Field(
        min_length=1, max_length=MAX_STEPS, description="Steps of the experiment, in order."
    )


class ObjectMeta(StatusModel):
    """Metadata of an object, as far as the operator reads it."""

    name: Annotated[
        str, StringConstraints(pattern=EXPERIMENT_NAME_PATTERN, min_length=1, max_length=EXPERIMENT_NAME_LENGTH)
    ] = Field(description="Name of the experiment: a DNS label that starts with a letter; also its directory's name.")
    namespace: str = Field(default="default", description="Namespace of the experiment.")
    uid: str = Field(default="", description="Unique ID, assigned by the API server.")
    resource_version: str = Field(default="", description="Version of the object on which a write must be based.")
    generation: Size = Field(default=1, description="Number of the spec's version; each change increases it by 1.")
    creation_timestamp: Time | None = Field(default=None, description="Time of creation.")
    deletion_timestamp: Time | None = Field(default=None, description="Time at which deletion was requested.")
    labels: dict[str, str] = Field(default={}, description="Labels.")
    annotations: dict[str, str] = Field(default={}, description="Annotations.")


class MaskRCNNExperiment(ApiModel):
    """Mask R-CNN experiment: data conversion, training, evaluation, pruning, inference, and export."""

    model_config = ConfigDict(title=KIND)

    api_version: Literal["maskrcnn.dev/v1alpha1"] = Field(default="maskrcnn.dev/v1alpha1", description=API_VERSION)
    kind: Literal["MaskRCNNExperiment"] = Field(default="MaskRCNNExperiment", description=KIND)
    metadata: ObjectMeta = Field(description="Metadata of the experiment.")
    spec: ExperimentBody = Field(description="Desired state of the experiment.")
    status: ExperimentStatus = Field(default=ExperimentStatus(), description="Observed state of the experiment.")

    @property
    def name(self) -> str:
        """Return ``metadata.name``."""
        return self.metadata.name

    def step(self, name: str) -> Step:
        """Return the step called ``name``.

        Raises:
            KeyError: the experiment has no such step.
        """
        for step in self.spec.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def image_of(self, step: Step) -> str:
        """Return the trainer image that the spec names for a step; empty for the operator's default."""
        return step.image or self.spec.image

    def with_status(self, status: ExperimentStatus) -> MaskRCNNExperiment:
        """Return the same experiment with another status."""
        return self.model_copy(update={"status": status})

    def suspended(self, suspend: bool) -> MaskRCNNExperiment:
        """Return the same experiment with ``spec.suspend`` set."""
        return self.model_copy(update={"spec": self.spec.model_copy(update={"suspend": suspend})})

    def without_workspace(self) -> MaskRCNNExperiment:
        """Return the same experiment with neither a claim nor a URL as its workspace, as a local run has it."""
        return self.model_copy(update={"spec": self.spec.model_copy(update={"workspace": Workspace.model_construct()})})
