"""Pod template of a step: command line, environment, volumes, security."""

from __future__ import annotations

from typing import Any

import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.pod import PodOverrides
from maskrcnn_operator.api.reserved import Place, carried_by
from maskrcnn_operator.core.arguments import (
    ProcessPaths,
    launch_arguments,
    task_arguments,
    task_environment,
)
from maskrcnn_operator.core.merge import results_directory
from maskrcnn_operator.core.overrides import overrides_of
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.core.url_inputs import reads_stores
from maskrcnn_operator.core.workspace_paths import results_url
from maskrcnn_operator.jobs.config import RENDEZVOUS_PORT, TOKEN_AUDIENCE, JobConfig
from maskrcnn_operator.jobs.names import (
    ANNOTATION_EXPERIMENT_UID,
    ANNOTATION_REPORT_CA,
    ANNOTATION_SPEC,
    ANNOTATION_TEMPLATE,
    fingerprint_annotations,
    job_name,
    labels,
    service_name,
)
from maskrcnn_operator.jobs.store_parts import store_environment, store_mounts, store_volumes
from maskrcnn_operator.jobs.tolerations import with_worker_group_tolerations
from maskrcnn_operator.jobs.views import CONTAINER_NAME
from maskrcnn_operator.jobs.workspace_parts import (
    workspace_environment,
    workspace_mount,
    workspace_volume,
)
from maskrcnn_trainer.shared.variables import (
    GPUS_VARIABLE,
    IMAGE_VARIABLE,
    KEY_VARIABLE,
    NO_GPU_VARIABLES,
    REPORT_CA_FILE_VARIABLE,
    REPORT_TOKEN_FILE_VARIABLE,
    REPORT_URL_VARIABLE,
)

FILES_DIRECTORY = "/etc/maskrcnn"
SPEC_FILE = "spec.yaml"
REPORT_CA_FILE = "report-ca.crt"
TOKEN_DIRECTORY = "/var/run/secrets/maskrcnn"  # noqa: S105 - a directory
TOKEN_FILE = "token"  # noqa: S105 - a file name
HOME = "/home/maskrcnn"
TERMINATION_LOG = "/dev/termination-log"
NVIDIA_RESOURCES = "nvidia.com/"
"""Beginning of NVIDIA's extended resources, which a user can request in ``resources`` instead of gpusPerNode."""
GRACE_SECONDS = 120
"""Default of terminationGracePeriodSeconds: the time to write a checkpoint after SIGTERM."""

PodPart = dict[str, Any]
"""Pod template, or a part of it such as a container or a volume."""

# the C dumper writes the same text as yaml.safe_dump, whose Python code took most of the time of making a Job
_Dumper: type[yaml.SafeDumper] | type[yaml.CSafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def pod_template(experiment: MaskRCNNExperiment, start: StartRun, config: JobConfig) -> PodPart:
    """Return the pod template of an attempt's Job; it meets the restricted Pod Security Standard."""
    step = experiment.step(start.step)
    overrides = overrides_of(experiment, step)
    files = _files(start, config)
    metadata = {
        "labels": {
            **carried_by(Place.PODS, "labels", overrides.labels),
            **labels(experiment.name, start.step, start.attempt),
        },
        "annotations": {
            **carried_by(Place.PODS, "annotations", overrides.annotations),
            ANNOTATION_EXPERIMENT_UID: experiment.metadata.uid,
            **fingerprint_annotations(start.fingerprints),
            ANNOTATION_TEMPLATE: start.template,
            **dict(files.values()),
        },
    }
    security = _pod_security(overrides, config)
    volumes = _volumes(experiment, config, files)
    if reads_stores(experiment, step, start.spec):
        volumes += store_volumes(experiment.spec, has_group=security.get("fsGroup") is not None)
    requested = {**config.defaults.to_json(), **{field: value for field, value in overrides.to_json().items() if value}}
    spec: PodPart = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": overrides.termination_grace_period_seconds or GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "containers": [_container(experiment, overrides, start, config, files)],
        "volumes": [*volumes, *requested.get("volumes", ())],
    }
    if step.nodes > 1:
        requested["tolerations"] = with_worker_group_tolerations(requested.get("tolerations", ()))
        spec["subdomain"] = service_name(experiment.name, step.name, experiment.metadata.uid)
    for field in (
        "serviceAccountName",
        "nodeSelector",
        "tolerations",
        "affinity",
        "priorityClassName",
        "imagePullSecrets",
        "runtimeClassName",
        "schedulerName",
    ):
        if requested.get(field):
            spec[field] = requested[field]
    return {"metadata": metadata, "spec": spec}


def _files(start: StartRun, config: JobConfig) -> dict[str, tuple[str, str]]:
    """Return the files that the pod gets through annotations: by file name, the annotation and its content."""
    files = {}
    if start.spec is not None:
        content = start.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        files[SPEC_FILE] = (ANNOTATION_SPEC, yaml.dump(content, Dumper=_Dumper, sort_keys=False))
    if config.report_url and config.report_ca:
        files[REPORT_CA_FILE] = (ANNOTATION_REPORT_CA, config.report_ca)
    return files


def _container(
    experiment: MaskRCNNExperiment,
    overrides: PodOverrides,
    start: StartRun,
    config: JobConfig,
    files: dict[str, tuple[str, str]],
) -> PodPart:
    step, encrypted = experiment.step(start.step), experiment.spec.encryption_key_secret_ref is not None
    paths = ProcessPaths(
        results_dir=results_url(experiment, step.name) or results_directory(experiment.name, step.name),
        spec_file=f"{FILES_DIRECTORY}/{SPEC_FILE}" if start.spec is not None else None,
        model_path=start.model_path,
        termination_log=TERMINATION_LOG,
        encrypted=encrypted,
    )
    mounts = _mounts(experiment, config, files)
    if reads_stores(experiment, step, start.spec):
        mounts += store_mounts(experiment.spec)
    container: PodPart = {
        "name": CONTAINER_NAME,
        "image": start.image or config.default_image or "",
        "command": ["maskrcnn"],
        "args": _arguments(experiment, step, start, paths),
        "workingDir": HOME,
        "env": [
            *_environment(experiment, start, config, paths, files),
            *_without_gpus(overrides, step),
            *(each.to_json() for each in overrides.env),
        ],
        "resources": _resources(overrides, step),
        "volumeMounts": [*mounts, *map(dict, overrides.volume_mounts)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG,
        # a task that runs on another node than index 0, or is killed, leaves no message: the end of its log replaces it
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if config.defaults.image_pull_policy:
        container["imagePullPolicy"] = config.defaults.image_pull_policy
    if step.nodes > 1:
        container["ports"] = [{"name": "rendezvous", "containerPort": RENDEZVOUS_PORT}]
    return container


def _arguments(experiment: MaskRCNNExperiment, step: Step, start: StartRun, paths: ProcessPaths) -> list[str]:
    task = tuple(_literal(argument) for argument in task_arguments(step, paths))
    uid = experiment.metadata.uid
    is_group = step.nodes > 1
    first = f"{job_name(experiment.name, step.name, start.attempt, uid)}-0"
    return list(
        launch_arguments(
            step,
            task,
            nodes=step.nodes,
            processes_per_node=step.processes_on_node,
            node_rank="$(JOB_COMPLETION_INDEX)" if is_group else "0",
            rendezvous=f"{first}.{service_name(experiment.name, step.name, uid)}:{RENDEZVOUS_PORT}"
            if is_group
            else None,
            keep_logs=True,
        )
    )


def _literal(text: str) -> str:
    """Escape an argument or the value of a variable: the kubelet expands $(NAME), and reads $$ as $."""
    return text.replace("$", "$$")


def _environment(
    experiment: MaskRCNNExperiment,
    start: StartRun,
    config: JobConfig,
    paths: ProcessPaths,
    files: dict[str, tuple[str, str]],
) -> list[PodPart]:
    values = task_environment(
        paths,
        fingerprints=start.fingerprints,
        attempt=start.attempt,
        experiment_uid=experiment.metadata.uid,
        created=experiment.metadata.creation_timestamp,
    )
    values |= workspace_environment(experiment, start, config.owner_id)
    values = {name: _literal(value) for name, value in values.items()}
    step = experiment.step(start.step)
    if reads_stores(experiment, step, start.spec):
        values |= store_environment(experiment.spec)
    if gpus := step.gpus_per_node:
        # a task that finds fewer GPUs fails, instead of training slowly on the CPU, and names its image
        values[GPUS_VARIABLE] = str(gpus)
        values[IMAGE_VARIABLE] = start.image or config.default_image or ""
    if config.report_url:
        values[REPORT_URL_VARIABLE] = config.report_url
        values[REPORT_TOKEN_FILE_VARIABLE] = f"{TOKEN_DIRECTORY}/{TOKEN_FILE}"
    if REPORT_CA_FILE in files:
        values[REPORT_CA_FILE_VARIABLE] = f"{FILES_DIRECTORY}/{REPORT_CA_FILE}"
    # neither is set for a user id without a passwd entry
    values |= {"HOME": HOME, "USER": "maskrcnn"}
    found: list[PodPart] = [{"name": name, "value": value} for name, value in values.items()]
    secret = experiment.spec.encryption_key_secret_ref
    if secret is not None:
        reference = {"name": secret.name, "key": secret.key}
        found.append({"name": KEY_VARIABLE, "valueFrom": {"secretKeyRef": reference}})
    return found


def _without_gpus(overrides: PodOverrides, step: Step) -> list[PodPart]:
    """Return the variables that keep GPUs from a step that requests none, whatever its image sets."""
    amounts = {**step.resources.requests, **step.resources.limits}
    own_gpus = (name for name in amounts if name.startswith(NVIDIA_RESOURCES) or name == overrides.gpu_resource)
    if step.gpus_per_node or any(amounts[name] != "0" for name in own_gpus):
        return []
    own = {each.name for each in overrides.env}
    return [{"name": name, "value": value} for name, value in NO_GPU_VARIABLES.items() if name not in own]


def _resources(overrides: PodOverrides, step: Step) -> PodPart:
    found: PodPart = step.resources.to_json()
    if step.gpus_per_node:
        # Kubernetes uses the limit of an extended resource as its request, too
        found["limits"] = {**found.get("limits", {}), overrides.gpu_resource: str(step.gpus_per_node)}
    return {name: amounts for name, amounts in found.items() if amounts}


def _pod_security(overrides: PodOverrides, config: JobConfig) -> PodPart:
    given = overrides.security_context.to_json() if overrides.security_context else {}
    given = {name: value for name, value in given.items() if value != []}
    return {
        "runAsNonRoot": True,
        **config.defaults.security_context.to_json(),
        **given,
        # do not change the owner of millions of files in a workspace at every start
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _volumes(experiment: MaskRCNNExperiment, config: JobConfig, files: dict[str, tuple[str, str]]) -> list[PodPart]:
    volumes: list[PodPart] = [
        workspace_volume(experiment.spec.workspace),
        {"name": "maskrcnn-shm", "emptyDir": {"medium": "Memory"}},
        {"name": "maskrcnn-home", "emptyDir": {}},
        {"name": "maskrcnn-tmp", "emptyDir": {}},
    ]
    if files:
        items = [
            {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}
            for name, (annotation, _) in files.items()
        ]
        volumes.append({"name": "maskrcnn-files", "downwardAPI": {"items": items}})
    if config.report_url:
        token = {"audience": TOKEN_AUDIENCE, "expirationSeconds": config.token_seconds, "path": TOKEN_FILE}
        volumes.append({"name": "maskrcnn-token", "projected": {"sources": [{"serviceAccountToken": token}]}})
    return volumes


def _mounts(experiment: MaskRCNNExperiment, config: JobConfig, files: dict[str, tuple[str, str]]) -> list[PodPart]:
    mounts: list[PodPart] = [
        workspace_mount(experiment.spec.workspace),
        {"name": "maskrcnn-shm", "mountPath": "/dev/shm"},  # noqa: S108 - of the pod alone
        {"name": "maskrcnn-home", "mountPath": HOME},
        {"name": "maskrcnn-tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod alone
    ]
    if files:
        mounts.append({"name": "maskrcnn-files", "mountPath": FILES_DIRECTORY, "readOnly": True})
    if config.report_url:
        mounts.append({"name": "maskrcnn-token", "mountPath": TOKEN_DIRECTORY, "readOnly": True})
    return mounts
