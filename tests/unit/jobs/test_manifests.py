"""Complete Jobs and the Service of the nine-step experiment, and the fields that change them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.plan import Settings, StartRun
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import Run, RunState
from maskrcnn_operator.jobs.config import JobConfig, run_name
from maskrcnn_operator.jobs.defaults import JobDefaults
from maskrcnn_operator.jobs.manifests import job_manifest, service_manifest
from maskrcnn_trainer.spec.reading import load_spec

from .conftest import Make, at

GOLDEN = Path(__file__).with_name("golden")
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CONFIG = JobConfig(
    default_image="example.org/maskrcnn-trainer:0.1.0",
    report_url="https://maskrcnn-operator.maskrcnn.svc:8443/v1/report",
    report_ca=CA,
)
SETTINGS = Settings(default_image=CONFIG.default_image, run_name=run_name, owner_id="uid-of-the-namespace")
MODELS = {"train", "prune", "retrain", "export"}


def starts(experiment: MaskRCNNExperiment) -> dict[str, StartRun]:
    """Yield all attempts of an experiment whose steps succeed one after the other."""
    found: dict[str, StartRun] = {}
    runs: list[Run] = []
    for _ in range(20):
        plan = reconcile(experiment, runs, at(0), SETTINGS)
        experiment = experiment.with_status(plan.status)
        for start in plan.start:
            found[start.step] = start
            model = f"/workspace/nuclei/{start.step}/model.tlt" if start.step in MODELS else None
            result = TaskResult(0, start.fingerprint, start.attempt, model)
            run = Run(start.step, start.attempt, RunState.SUCCEEDED, start.fingerprint, result=result, ended=at(0))
            runs.append(run)
    return found


def container(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return found


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def the_job(experiment: MaskRCNNExperiment, step: str = "train", config: JobConfig = CONFIG) -> dict[str, Any]:
    return job_manifest(experiment, starts(experiment)[step], config)


def test_the_nine_jobs_and_the_service(make: Make) -> None:
    """Compare with the golden files; MASKRCNN_WRITE_GOLDEN=1 writes them again."""
    experiment = make()
    made = {f"{name}.yaml": job_manifest(experiment, start, CONFIG) for name, start in starts(experiment).items()}
    service = service_manifest(experiment, "train")
    assert service is not None
    made["train-service.yaml"] = service
    if os.environ.get("MASKRCNN_WRITE_GOLDEN"):
        for name, manifest in made.items():
            (GOLDEN / name).write_text(yaml.safe_dump(manifest, sort_keys=False, width=120))
    assert {file.name for file in GOLDEN.iterdir()} == set(made)
    for name, manifest in made.items():
        assert yaml.safe_load((GOLDEN / name).read_text()) == manifest, name


def test_spec_file_of_a_pod_is_readable_by_the_trainer(make: Make, tmp_path: Path) -> None:
    experiment = make()
    for name, start in starts(experiment).items():
        annotations = job_manifest(experiment, start, CONFIG)["spec"]["template"]["metadata"]["annotations"]
        if start.spec is None:
            assert name in ("convert-train", "convert-val", "prune")
            assert "maskrcnn.dev/spec" not in annotations
            continue
        file = tmp_path / f"{name}.yaml"
        file.write_text(annotations["maskrcnn.dev/spec"])
        assert load_spec(file) == start.spec


@pytest.mark.parametrize("given", [{}, {"nlayers": 50, "roiAligned": True, "testScoreThreshold": 0.0}])
def test_pod_gets_the_given_fields_alone(make: Make, given: dict[str, Any]) -> None:
    """A default would count as given, so the task would compare it with the model file."""
    experiment = make(lambda spec: spec["experiment"].update(maskrcnnConfig=given))
    for start in starts(experiment).values():
        if start.spec is not None:
            annotations = job_manifest(experiment, start, CONFIG)["spec"]["template"]["metadata"]["annotations"]
            assert yaml.safe_load(annotations["maskrcnn.dev/spec"])["maskrcnnConfig"] == given


def test_only_steps_on_several_nodes_have_a_service_and_an_index(make: Make) -> None:
    experiment = make(lambda spec: spec["steps"][2].update(nodes=1))
    assert service_manifest(experiment, "train") is None
    job = the_job(experiment)
    assert job["spec"]["completionMode"] == "NonIndexed"
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (1, 1)
    assert "subdomain" not in pod(job)
    assert "ports" not in container(job)
    arguments = container(job)["args"]
    assert arguments[:7] == ["launch", "--nodes", "1", "--node-rank", "0", "--processes-per-node", "8"]
    assert "--rendezvous" not in arguments
    assert arguments.index("--keep-logs") < arguments.index("--")


def test_disruption_fails_job_of_one_pod_and_of_worker_group(make: Make) -> None:
    group, single = the_job(make()), the_job(make(), "evaluate")
    for job in (group, single):
        rules = job["spec"]["podFailurePolicy"]["rules"]
        assert [rule["action"] for rule in rules] == ["FailJob", "FailJob"]
        assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        assert rules[1]["onExitCodes"] == {"containerName": "trainer", "operator": "In", "values": [64]}


def test_a_queue_suspends_the_job(make: Make) -> None:
    plain, queued = the_job(make()), the_job(make(lambda spec: spec.update(queueName="gpus")))
    assert plain["spec"]["suspend"] is False
    assert "kueue.x-k8s.io/queue-name" not in plain["metadata"]["labels"]
    assert queued["spec"]["suspend"] is True
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in queued["spec"]["template"]["metadata"]["labels"]


def test_encryption_key_comes_from_the_secret(make: Make) -> None:
    job = the_job(make(lambda spec: spec.update(encryptionKeySecretRef={"name": "model-key"})), "export")
    (key,) = [variable for variable in container(job)["env"] if variable["name"] == "MASKRCNN_KEY"]
    assert key == {"name": "MASKRCNN_KEY", "valueFrom": {"secretKeyRef": {"name": "model-key", "key": "key"}}}
    assert "/workspace/nuclei/export/model.etlt" in container(job)["args"]
    assert "MASKRCNN_KEY" not in {variable["name"] for variable in container(the_job(make()))["env"]}


def test_without_a_report_address_there_is_no_token(make: Make) -> None:
    job = the_job(make(), config=JobConfig(default_image="i"))
    names = {variable["name"] for variable in container(job)["env"]}
    assert not {name for name in names if name.startswith("MASKRCNN_REPORT")}
    assert "maskrcnn-token" not in {volume["name"] for volume in pod(job)["volumes"]}
    assert "maskrcnn.dev/report-ca" not in job["spec"]["template"]["metadata"]["annotations"]


def test_without_a_report_ca_no_certificate_file_is_mounted(make: Make) -> None:
    job = the_job(make(), "prune", replace(CONFIG, report_ca=None))
    names = {variable["name"] for variable in container(job)["env"]}
    assert {"MASKRCNN_REPORT_URL", "MASKRCNN_REPORT_TOKEN_FILE"} <= names
    assert "MASKRCNN_REPORT_CA_FILE" not in names
    assert "maskrcnn-files" not in {volume["name"] for volume in pod(job)["volumes"]}


def test_pod_overrides(make: Make) -> None:
    overrides = {
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "pull"}],
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "env": [
            {"name": "NCCL_DEBUG", "value": "INFO"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "labels": {"team": "vision"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "volumes": [{"name": "raw", "nfs": {"server": "nas", "path": "/raw"}}],
        "volumeMounts": [{"name": "raw", "mountPath": "/raw", "readOnly": True}],
        "terminationGracePeriodSeconds": 600,
        "securityContext": {"runAsUser": 4711, "fsGroup": 0, "supplementalGroups": [7]},
        "gpuResource": "amd.com/gpu",
    }
    # the pods of a worker group get additional tolerations
    job = the_job(make(lambda spec: spec.update(podOverrides=overrides), lambda spec: spec["steps"][2].update(nodes=1)))
    spec, template = pod(job), job["spec"]["template"]
    for name in (
        "nodeSelector",
        "tolerations",
        "affinity",
        "priorityClassName",
        "serviceAccountName",
        "imagePullSecrets",
        "runtimeClassName",
        "schedulerName",
        "terminationGracePeriodSeconds",
    ):
        assert spec[name] == overrides[name], name
    assert container(job)["env"][-2:] == overrides["env"]
    assert spec["volumes"][-1] == {"name": "raw", "nfs": {"server": "nas", "path": "/raw"}}
    assert container(job)["volumeMounts"][-1] == {"name": "raw", "mountPath": "/raw", "readOnly": True}
    assert template["metadata"]["labels"]["team"] == "vision"
    assert template["metadata"]["labels"]["maskrcnn.dev/step"] == "train"
    assert template["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert container(job)["resources"]["limits"] == {"amd.com/gpu": "8"}
    security = spec["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (4711, 1000, 0)
    assert security["supplementalGroups"] == [7]
    assert security["runAsNonRoot"] is True


def test_overrides_of_a_step_apply_to_its_pods_only(make: Make) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "TEAM", "value": "vision"}],
        }
        spec["steps"][0]["podOverrides"] = {
            "nodeSelector": {"gpu": "none", "pool": "cpu"},
            "tolerations": [],
            "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
            "volumes": [{"name": "raw", "emptyDir": {}}],
            "volumeMounts": [{"name": "raw", "mountPath": "/raw"}],
            "gpuResource": "amd.com/gpu",
            "securityContext": {"runAsUser": 4711},
        }
        spec["steps"][0]["gpusPerNode"] = 1

    experiment = make(change)
    job, other = the_job(experiment, "convert-train"), the_job(experiment)
    assert pod(job)["nodeSelector"] == {"gpu": "none", "pool": "cpu"}
    assert "tolerations" not in pod(job)
    assert container(job)["env"][-2:] == [
        {"name": "NCCL_DEBUG", "value": "WARN"},
        {"name": "TEAM", "value": "vision"},
    ]
    assert {"name": "MASKRCNN_GPUS", "value": "1"} in container(job)["env"]
    assert pod(job)["volumes"][-1] == {"name": "raw", "emptyDir": {}}
    assert container(job)["volumeMounts"][-1] == {"name": "raw", "mountPath": "/raw"}
    assert container(job)["resources"]["limits"] == {"amd.com/gpu": "1"}
    assert pod(job)["securityContext"]["runAsUser"] == 4711
    assert pod(other)["nodeSelector"] == {"gpu": "a100"}
    assert {"key": "gpu", "operator": "Exists"} in pod(other)["tolerations"]
    assert pod(other)["securityContext"]["runAsUser"] == 1000


def test_keys_of_kueue_are_set_where_kueue_reads_them(make: Make) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["queueName"] = "gpus"
        spec["podOverrides"] = {
            "labels": {"kueue.x-k8s.io/priority-class": "low", "team": "vision"},
            "annotations": {"provreq.kueue.x-k8s.io/maxRunDurationSeconds": "600", "example.com/note": "x"},
        }
        spec["steps"][2]["podOverrides"] = {
            "labels": {"kueue.x-k8s.io/priority-class": "high", "kueue.x-k8s.io/max-exec-time-seconds": "3600"},
            "annotations": {"kueue.x-k8s.io/podset-required-topology": "example.com/rack"},
        }

    experiment = make(change)
    job, other = the_job(experiment), the_job(experiment, "convert-train")
    labels, template = job["metadata"]["labels"], job["spec"]["template"]["metadata"]
    assert {key: value for key, value in labels.items() if key.startswith("kueue")} == {
        "kueue.x-k8s.io/queue-name": "gpus",
        "kueue.x-k8s.io/priority-class": "high",
        "kueue.x-k8s.io/max-exec-time-seconds": "3600",
    }
    assert job["metadata"]["annotations"]["provreq.kueue.x-k8s.io/maxRunDurationSeconds"] == "600"
    assert template["annotations"]["kueue.x-k8s.io/podset-required-topology"] == "example.com/rack"
    assert (template["labels"]["team"], template["annotations"]["example.com/note"]) == ("vision", "x")
    assert not [key for key in template["labels"] if "kueue" in key]
    assert not [key for key in template["annotations"] if key.startswith("provreq")]
    assert not {"team", "example.com/note"} & {*labels, *job["metadata"]["annotations"]}
    assert other["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "low"
    assert "kueue.x-k8s.io/podset-required-topology" not in other["spec"]["template"]["metadata"]["annotations"]


def test_users_labels_do_not_change_the_selector_labels_of_a_worker_group(make: Make) -> None:
    labels = {"app.kubernetes.io/managed-by": "somebody"}
    experiment = make(lambda spec: spec.update(podOverrides={"labels": labels}))
    service = service_manifest(experiment, "train")
    assert service is not None
    selected = service["spec"]["selector"].items()
    assert selected <= the_job(experiment)["spec"]["template"]["metadata"]["labels"].items()


def test_resources_and_gpus(make: Make) -> None:
    limits = {"requests": {"cpu": 4}, "limits": {"memory": "8Gi"}}
    job = the_job(make(lambda spec: spec["steps"][2].update(resources=limits)))
    assert container(job)["resources"] == {
        "requests": {"cpu": "4"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "8"},
    }
    assert container(the_job(make(), "prune"))["resources"] == {}


def environment(job: dict[str, Any]) -> dict[str, Any]:
    entries = container(job)["env"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry.get("value") for entry in entries}


def test_a_step_with_gpus_knows_their_number_and_its_image(make: Make) -> None:
    variables = environment(the_job(make()))
    assert (variables["MASKRCNN_GPUS"], variables["MASKRCNN_IMAGE"]) == ("8", container(the_job(make()))["image"])
    assert not {"NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"} & variables.keys()


def test_a_step_without_gpus_gets_none_whatever_its_image_sets(make: Make) -> None:
    variables = environment(the_job(make(), "prune"))
    assert (variables["NVIDIA_VISIBLE_DEVICES"], variables["CUDA_VISIBLE_DEVICES"]) == ("void", "-1")
    assert not {"MASKRCNN_GPUS", "MASKRCNN_IMAGE"} & variables.keys()


def test_overrides_can_give_gpus_to_a_step_that_requests_none(make: Make) -> None:
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}, {"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]
    variables = environment(the_job(make(lambda spec: spec.update(podOverrides={"env": env})), "prune"))
    assert (variables["NVIDIA_VISIBLE_DEVICES"], variables["CUDA_VISIBLE_DEVICES"]) == ("all", "0")


@pytest.mark.parametrize(
    ("resource", "amount", "hidden"),
    [
        ("nvidia.com/gpu", "1", False),
        ("nvidia.com/gpu", "0", True),
        ("example.com/gpu", "1", False),
        ("cpu", "1", True),
    ],
)
def test_gpus_among_the_resources_of_a_step_stay_visible(make: Make, resource: str, amount: str, hidden: bool) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"gpuResource": "example.com/gpu"}
        spec["steps"][4]["resources"] = {"limits": {resource: amount}}

    assert ("CUDA_VISIBLE_DEVICES" in environment(the_job(make(change), "prune"))) is hidden


def test_a_directory_inside_the_volume(make: Make) -> None:
    job = the_job(make(lambda spec: spec["workspace"].update(subPath="teams/vision")))
    assert container(job)["volumeMounts"][0] == {
        "name": "maskrcnn-workspace",
        "mountPath": "/workspace",
        "subPath": "teams/vision",
    }


def test_no_argument_is_expanded_by_the_kubelet(make: Make) -> None:
    experiment = make(lambda spec: spec["steps"][7]["inference"].update(imageDir="/workspace/$(HOME)/a$$b"))
    assert "/workspace/$$(HOME)/a$$$$b" in container(the_job(experiment, "inference"))["args"]
    assert "$(JOB_COMPLETION_INDEX)" in container(the_job(experiment))["args"]


def test_experiments_image_overrides_the_default(make: Make) -> None:
    job = the_job(
        make(lambda spec: spec.update(image="mine:2")),
        config=replace(CONFIG, defaults=JobDefaults(image_pull_policy="Always")),
    )
    assert (container(job)["image"], container(job)["imagePullPolicy"]) == ("mine:2", "Always")
    assert "imagePullPolicy" not in container(the_job(make()))


@pytest.mark.parametrize("step", ["convert-train", "train"])
def test_pods_meet_the_restricted_standard(make: Make, step: str) -> None:
    """Check the requirements of the restricted Pod Security Standard, field by field."""
    job = the_job(make(), step)
    spec, main = pod(job), container(job)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] != 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert main["securityContext"]["allowPrivilegeEscalation"] is False
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec)
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= allowed
    assert spec["automountServiceAccountToken"] is False


def test_children_are_garbage_collected_and_do_not_block_deletion(make: Make) -> None:
    experiment = make()
    service = service_manifest(experiment, "train")
    assert service is not None
    for child in (the_job(experiment), service):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == (
            "MaskRCNNExperiment",
            experiment.metadata.uid,
            True,
        )
        assert owner["blockOwnerDeletion"] is False
