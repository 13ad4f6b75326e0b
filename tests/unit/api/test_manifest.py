from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_manifest, read_object
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_operator.api.tasks import Export, Prune
from maskrcnn_trainer.spec.task_name import TaskName

TEXT = (Path(__file__).parent.parent / "core" / "nine_steps.yaml").read_text()


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)
    return found


def problems(value: dict[str, Any] | str) -> dict[str, str]:
    with pytest.raises(ManifestError) as raised:
        read_manifest(value if isinstance(value, str) else yaml.safe_dump(value))
    return {problem.field: problem.message for problem in raised.value.problems}


def test_the_nine_steps() -> None:
    experiment = read_manifest(TEXT)
    assert [step.task_name for step in experiment.spec.steps] == [
        TaskName.DATASET_CONVERT,
        TaskName.DATASET_CONVERT,
        TaskName.TRAIN,
        TaskName.EVALUATE,
        TaskName.PRUNE,
        TaskName.TRAIN,
        TaskName.EVALUATE,
        TaskName.INFERENCE,
        TaskName.EXPORT,
    ]
    train = experiment.step("train")
    assert (train.processes_on_node, train.processes) == (8, 16)
    assert train.resources.requests == {"cpu": "32", "memory": "256Gi"}
    assert experiment.step("retrain").experiment is not None
    with pytest.raises(KeyError):
        experiment.step("nobody")


def test_written_object_is_read_back_unchanged() -> None:
    experiment = read_manifest(TEXT)
    assert read_object(experiment.to_json()) == experiment


def test_defaults() -> None:
    experiment = read_manifest(TEXT)
    spec = experiment.spec
    assert (spec.suspend, spec.image, spec.queue_name, spec.max_restarts) == (False, "", "", 3)
    assert spec.pod_overrides.gpu_resource == "nvidia.com/gpu"
    assert Prune().model_dump() == {
        "normalizer": "max",
        "equalization_criterion": "union",
        "pruning_granularity": 8,
        "pruning_threshold": 0.1,
        "min_num_filters": 16,
        "excluded_layers": (),
    }
    assert Export().model_dump(by_alias=True) == {
        "dataType": "fp32",
        "batchSize": 16,
        "maxBatchSize": 1,
        "maxWorkspaceSize": 2147483648,
        "preprocessing": False,
        "genDsConfig": False,
        "calibration": {"batches": 10, "imageDir": None},
        "engine": {"build": False},
    }


def test_a_steps_experiment_has_no_defaults() -> None:
    value = manifest()
    value["spec"]["steps"][5]["experiment"] = {"totalSteps": 5}
    step = read_manifest(yaml.safe_dump(value)).to_json()["spec"]["steps"][5]
    assert step["experiment"] == {"totalSteps": 5}


def test_processes() -> None:
    value = manifest()
    value["spec"]["steps"][2] = {"name": "train", "train": {}, "nodes": 2, "processesPerNode": 3, "gpusPerNode": 8}
    value["spec"]["steps"][3]["gpusPerNode"] = 4
    experiment = read_manifest(yaml.safe_dump(value))
    assert experiment.step("train").processes == 6
    assert experiment.step("evaluate").processes == 1
    assert experiment.step("retrain").processes == 1


@pytest.mark.parametrize(
    ("path", "value", "field", "message"),
    [
        ("metadata.name", "9lives", "metadata.name", "lowercase letters"),
        ("metadata.name", "x" * 33, "metadata.name", "32"),
        ("spec.steps.0.name", "x" * 17, "spec.steps[0].name", "16"),
        ("spec.steps.0.name", "Convert", "spec.steps[0].name", "lowercase letters"),
        ("spec.steps", [], "spec.steps", "at least 1"),
        ("spec.steps.3.evaluate", None, "spec.steps[3]", "found none"),
        ("spec.steps.3.train", {}, "spec.steps[3]", "found train and evaluate"),
        ("spec.steps.2.nodes", 1000, "spec.steps[2].nodes", "999"),
        ("spec.steps.2.train.output", "worst", "spec.steps[2].train.output", "'last' or 'best'"),
        ("spec.steps.0.datasetConvert.numShards", 0, "spec.steps[0].datasetConvert.numShards", "must be at least 1"),
        ("spec.steps.0.datasetConvert.numShards", "8", "spec.steps[0].datasetConvert.numShards", "a whole number"),
        ("spec.steps.0.datasetConvert.imageDir", "raw", "spec.steps[0].datasetConvert.imageDir", "absolute path"),
        ("spec.steps.0.datasetConvert.imageDir", None, "spec.steps[0].datasetConvert.imageDir", "is required"),
        ("spec.steps.0.datasetConvert.shards", 8, "spec.steps[0].datasetConvert.shards", "did you mean numShards?"),
        ("spec.steps.0.datasetConvert.tag", "a*", "spec.steps[0].datasetConvert.tag", "must match"),
        ("spec.steps.7.inference.threshold", 1.0, "spec.steps[7].inference.threshold", "less than 1"),
        ("spec.steps.8.export.dataType", "int4", "spec.steps[8].export.dataType", "int4"),
        ("spec.steps.5.experiment.totalStep", 4, "spec.steps[5].experiment.totalStep", "did you mean totalSteps?"),
        ("spec.steps.5.experiment.totalSteps", "4", "spec.steps[5].experiment.totalSteps", "must be a whole number"),
        ("spec.workspace", None, "spec.workspace", "is required"),
        ("spec.workspace.subPath", "../x", "spec.workspace.subPath", "'..'"),
        ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds", "must be at least 1"),
        ("spec.experiment.dataConfig.numClasses", None, "spec.experiment.dataConfig.numClasses", "is required"),
        ("spec.experiment.dataConfig.imageSize", [100, 1344], "spec.experiment.dataConfig.imageSize[0]", "128"),
        ("spec.experiment.learningRateSteps", [1], "spec.experiment.learningRateDecayLevels", "same length"),
        ("spec.experiment.dataConfig.imageSize", [832, 1000], "spec.experiment.dataConfig.imageSize", "multiple"),
        ("spec.podOverrides", {"labels": {"maskrcnn.dev/x": "1"}}, "spec.podOverrides.labels", "belong to controllers"),
        (
            "spec.podOverrides",
            {"annotations": {"batch.kubernetes.io/x": "1"}},
            "spec.podOverrides.annotations",
            "belong to controllers",
        ),
        ("spec.podOverrides", {"env": [{"name": "MASKRCNN_KEY"}]}, "spec.podOverrides.env[0].name", "for the operator"),
        (
            "spec.steps.2.podOverrides",
            {"env": [{"name": "MASKRCNN_KEY"}]},
            "spec.steps[2].podOverrides.env[0].name",
            "for the operator",
        ),
        ("spec.steps.2.podOverrides", {"nodeSelecter": {}}, "spec.steps[2].podOverrides.nodeSelecter", "nodeSelector?"),
        (
            "spec.steps.2.podOverrides",
            {"securityContext": {"runAsUser": 0}},
            "spec.steps[2].podOverrides.securityContext.runAsUser",
            "must be at least 1",
        ),
        ("spec.steps.2.podOverrides", {"volumes": "x"}, "spec.steps[2].podOverrides.volumes", "list"),
        ("spec.steps.2.image", "x" * 1025, "spec.steps[2].image", "1024"),
        ("spec.steps.2.activeDeadlineSeconds", 0, "spec.steps[2].activeDeadlineSeconds", "must be at least 1"),
        (
            "spec.podOverrides",
            {"securityContext": {"runAsUser": 0}},
            "spec.podOverrides.securityContext.runAsUser",
            "must be at least 1",
        ),
        ("apiVersion", "maskrcnn.dev/v9", "apiVersion", "v1alpha1"),
        ("kind", "Pod", "kind", "found Pod"),
    ],
)
def test_problems_name_the_field(path: str, value: object, field: str, message: str) -> None:
    changed = manifest()
    *parents, last = path.split(".")
    target: Any = changed
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    target[last] = value
    found = problems(changed)
    at = next((name for name in found if name.startswith(field)), None)
    assert at is not None, found
    assert message in found[at]


def test_all_problems_at_once() -> None:
    changed = manifest()
    changed["spec"]["maxRestarts"] = -1
    changed["spec"]["steps"][2]["train"]["output"] = "worst"
    changed["spec"]["experiment"]["seed"] = "x"
    assert set(problems(changed)) == {"spec.maxRestarts", "spec.steps[2].train.output", "spec.experiment.seed"}


def test_pod_overrides_in_full() -> None:
    changed = manifest()
    overrides = {
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "registry"}],
        "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
        "labels": {"team": "a"},
        "annotations": {"note": "2026-11-22"},
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "terminationGracePeriodSeconds": 600,
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [5]},
        "gpuResource": "amd.com/gpu",
    }
    changed["spec"]["podOverrides"] = overrides
    assert read_manifest(yaml.safe_dump(changed)).to_json()["spec"]["podOverrides"] == overrides


@pytest.mark.parametrize(
    ("field", "place", "wrong", "right"),
    [
        ("spec.experiment", "totalSteps", "total_steps", "totalSteps"),
        ("spec.experiment.dataConfig", "numClasses", "num_classes", "numClasses"),
        ("spec.experiment", "dataConfig", "data_config", "dataConfig"),
        ("spec.steps.0", "datasetConvert", "dataset_convert", "datasetConvert"),
        ("spec.steps.0.datasetConvert", "imageDir", "image_dir", "imageDir"),
        ("spec.steps.2", "processesPerNode", "processes_per_node", "processesPerNode"),
        ("spec.experiment", "totalSteps", "totalStep", "totalSteps"),
        ("spec", "experiment", "experimnt", "experiment"),
    ],
)
def test_a_name_in_snake_case_or_misspelled_is_one_problem_with_the_right_name(
    field: str, place: str, wrong: str, right: str
) -> None:
    changed = manifest()
    target: Any = changed
    for part in field.split("."):
        target = target[int(part)] if isinstance(target, list) else target[part]
    target[wrong] = target.pop(place, 1)
    ((found, message),) = problems(changed).items()
    assert found.endswith(f".{wrong}")
    assert message.startswith(("unknown field", "is not a field"))
    assert message.endswith(f"; did you mean {right}?")


@pytest.mark.parametrize(
    ("place", "name", "wrong_place", "message"),
    [
        ("spec.experiment.dataConfig", "imageSize", "spec.experiment", "it belongs in spec.experiment.dataConfig"),
        ("spec.experiment", "initLearningRate", "spec.experiment.dataConfig", "it belongs at the top level"),
        ("spec.experiment", "dataConfig", "spec", "it belongs in spec.experiment"),
        ("spec", "steps", "", "it belongs in spec"),
    ],
)
def test_required_field_in_another_place_is_one_problem(place: str, name: str, wrong_place: str, message: str) -> None:
    changed = manifest()

    def part(path: str) -> Any:
        return functools.reduce(lambda node, key: node[key], path.split(".") if path else [], changed)

    part(wrong_place)[name] = part(place).pop(name)
    ((found, told),) = problems(changed).items()
    assert found == f"{wrong_place}.{name}".removeprefix(".")
    assert told.endswith(f"; {message}")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("resources", {"requests": {"cpu": "two"}}, "must be a Kubernetes quantity, such as 4, 500m, or 16Gi")],
)
def test_no_regular_expression_is_shown(field: str, value: object, words: str) -> None:
    changed = manifest()
    changed["spec"]["steps"][2][field] = value
    ((found, message),) = problems(changed).items()
    assert found == "spec.steps[2].resources.requests.cpu"
    assert message == f'found "two"; it {words}'


def test_experiment_spec_is_refused_with_the_command_that_converts_it() -> None:
    prototxt = 'seed: 1\ndata_config {\n  image_size: "(128, 128)"\n}\n'
    for text in (prototxt, "totalSteps: 5\ninitLearningRate: 0.1\n", "total_steps: 5\n"):
        ((field, message),) = problems(text).items()
        assert field == ""
        assert "convert it with: maskrcnn spec import FILE > manifest.yaml" in message


def test_null_is_absent() -> None:
    changed = manifest()
    changed["spec"].update(activeDeadlineSeconds=None, encryptionKeySecretRef=None, maxRestarts=None)
    assert read_manifest(yaml.safe_dump(changed)).spec.max_restarts == 3


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("a: [1", "line 1", "invalid YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3", "duplicate key 'a' (first in line 1)"),
        ("", "kind", "found nothing"),
        ("- 1", "kind", "found a document that is a list, not a mapping"),
        (f"{TEXT}\n---\n{TEXT}", "kind", "MaskRCNNExperiment, MaskRCNNExperiment"),
    ],
)
def test_invalid_manifests_have_a_problem(text: str, field: str, message: str) -> None:
    found = problems(text)
    assert message in found[field]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("9" * 5_000, f'the number "{"9" * 36}... is too large'),
        ("0x" + "f" * 5_000, f'the number "0x{"f" * 34}... is too large'),
        ('!!int "x"', '"x" cannot be read as int'),
        ("!!bool x", '"x" cannot be read as bool'),
        ('!!timestamp "x"', '"x" cannot be read as timestamp'),
        (r'"\U00110000"', "an escaped character is not in Unicode"),
        (r'"\UFFFFFFFF"', "an escaped character is not in Unicode"),
        ("!!map [a]", "a list or mapping cannot be read as map"),
    ],
    ids=["digits", "hexadecimal", "int", "bool", "timestamp", "character", "character of 32 bits", "map"],
)
def test_value_that_yaml_cannot_convert_is_a_problem_with_its_line(value: str, message: str) -> None:
    assert problems(f"b: 1\na: {value}")["line 2"].startswith(f"invalid YAML: {message}")


def test_a_kind_that_cannot_be_printed_is_a_problem() -> None:
    message = problems(r'kind: "a\ud800\x07b"')["kind"]
    assert "found" in message
    assert message.encode().isascii() or "\ufffd" in message


def test_a_nul_character_is_a_problem_of_its_field() -> None:
    changed = manifest()
    changed["spec"]["steps"][0]["datasetConvert"]["imageDir"] = "/workspace/a\x00b"
    assert problems(yaml.safe_dump(changed)) == {
        "spec.steps[0].datasetConvert.imageDir": "has a NUL character, which is not allowed in paths and arguments"
    }


def test_other_documents_are_ignored() -> None:
    text = f"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: maskrcnn}}\n---\n{TEXT}"
    assert read_manifest(text).name == "nuclei"


def test_yaml_as_kubectl_reads_it() -> None:
    text = TEXT.replace("initLearningRate: 0.02", "initLearningRate: 2e-2")
    text = text.replace("metadata: {name: nuclei}", "metadata: {name: nuclei, labels: {day: 2026-11-22}}")
    experiment = read_manifest(text)
    assert experiment.spec.experiment.init_learning_rate == 0.02
    assert experiment.metadata.labels == {"day": "2026-11-22"}


def test_a_servers_object_is_read_with_its_metadata_and_status() -> None:
    value = copy.deepcopy(manifest())
    value["metadata"] |= {
        "uid": "u",
        "generation": 4,
        "managedFields": [{}],
        "creationTimestamp": "2026-11-22T12:00:00Z",
    }
    value["status"] = {"observedGeneration": 3, "steps": [{"name": "train", "state": "Running"}], "later": 1}
    experiment = read_object(value)
    assert (experiment.metadata.uid, experiment.metadata.generation) == ("u", 4)
    assert experiment.status.observed_generation == 3
    step = experiment.status.step("train")
    assert step is not None
    assert (step.state, step.attempt) == ("Running", 0)


def test_every_field_is_described() -> None:
    def check(model: Any, path: str) -> None:
        for name, field in model.model_fields.items():
            assert field.description, f"{path}.{name}"
            for inner in nested(field.annotation):
                check(inner, f"{path}.{name}")

    def nested(annotation: Any) -> list[Any]:
        if isinstance(annotation, type):
            return [annotation] if hasattr(annotation, "model_fields") else []
        return [inner for part in getattr(annotation, "__args__", ()) for inner in nested(part)]

    check(MaskRCNNExperiment, "")


def nested(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = {"a": found}
    return found


def with_overrides(**overrides: Any) -> dict[str, Any]:
    value = manifest()
    value["spec"]["podOverrides"] = overrides
    return value


def problems_of_object(value: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ManifestError) as raised:
        read_object(value)
    return {problem.field: problem.message for problem in raised.value.problems}


def test_opaque_parts_may_be_a_hundred_levels_deep() -> None:
    part = nested(100)
    read_object(
        with_overrides(
            affinity=part, volumes=[part], volumeMounts=[part], env=[{"name": "A", "valueFrom": part}, {"name": "B"}]
        )
    )


@pytest.mark.parametrize("levels", [101, 250, 900, 9_000])
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("affinity", lambda part: {"affinity": part}),
        ("volumes[1]", lambda part: {"volumes": [{"name": "x"}, part]}),
        ("volumeMounts[0]", lambda part: {"volumeMounts": [part]}),
        ("env[1].valueFrom", lambda part: {"env": [{"name": "A"}, {"name": "B", "valueFrom": part}]}),
    ],
)
def test_a_part_that_is_nested_too_deeply_is_named(field: str, make: Any, levels: int) -> None:
    said = problems_of_object(with_overrides(**make(nested(levels))))
    assert said == {f"spec.podOverrides.{field}": "is nested too deeply: at most 100 levels"}


@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("affinity", {"affinity": {"nodeAffinity": "x" * 66_000}}),
        ("volumes", {"volumes": [{"name": "x" * 3_000}] * 30}),
        ("volumeMounts", {"volumeMounts": [{"name": "x" * 3_000}] * 30}),
        ("env", {"env": [{"name": f"A{index}", "valueFrom": {"x": "y" * 3_000}} for index in range(30)]}),
    ],
)
def test_a_part_that_is_too_large_is_named(field: str, overrides: dict[str, Any]) -> None:
    (said,) = problems_of_object(with_overrides(**overrides)).items()
    assert said[0] == f"spec.podOverrides.{field}"
    assert "at most 65536" in said[1]


@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("affinity", {"affinity": {str(number): {} for number in range(17)}}),
        ("volumes[0]", {"volumes": [{str(number): {} for number in range(17)}]}),
    ],
)
def test_a_part_with_too_many_fields_is_named(field: str, overrides: dict[str, Any]) -> None:
    assert list(problems_of_object(with_overrides(**overrides))) == [f"spec.podOverrides.{field}"]


def test_overrides_of_a_step_are_bounded_as_a_whole() -> None:
    value = manifest()
    value["spec"]["steps"][2]["podOverrides"] = {
        "env": [{"name": f"A{index}", "value": "x" * 9_000} for index in range(8)]
    }
    (said,) = problems_of_object(value).items()
    assert said[0] == "spec.steps[2].podOverrides"
    assert "at most 65536" in said[1]
    value["spec"]["steps"][2]["podOverrides"] = {"affinity": nested(100)}
    assert problems_of_object(value) == {"spec.steps[2].podOverrides": "is nested too deeply: at most 100 levels"}
    value["spec"]["steps"][2]["podOverrides"] = {"affinity": nested(99)}
    read_object(value)


def test_annotations_too_large_for_a_pod_are_refused() -> None:
    said = problems_of_object(with_overrides(annotations={f"note-{number}": "x" * 60_000 for number in range(4)}))
    assert list(said) == ["spec.podOverrides.annotations"]
    assert "at most 196608" in said["spec.podOverrides.annotations"]
    read_object(with_overrides(annotations={f"note-{number}": "x" * 60_000 for number in range(3)}))


@pytest.mark.parametrize(
    "change",
    [
        {"apiVersion": nested(9_000)},
        {"spec": nested(9_000)},
        {"metadata": {"name": "x", "labels": nested(9_000)}},
        {"status": nested(9_000)},
        {"spec": {"maxRestarts": 10**5_000}},
        {"spec": {"image": "\udce9"}},
        {"spec": {(1, 2): "x"}},
    ],
)
def test_invalid_object_has_a_problem(change: dict[str, Any]) -> None:
    assert problems_of_object({**manifest(), **change})


def test_deeply_nested_yaml_has_a_problem() -> None:
    assert problems("[" * 2_000) == {"": "is nested too deeply"}
