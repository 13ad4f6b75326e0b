"""The resource on a real API server: accepted manifests, messages for refused ones, and permitted changes."""

from __future__ import annotations

import copy
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from tests.apiserver.bed import Bed
from tests.apiserver.rest import RestError

from maskrcnn_operator.api.base import API_VERSION, KIND, PLURAL, VERSION
from maskrcnn_operator.api.crd import custom_resource_definition
from maskrcnn_operator.api.manifest import read_manifest, read_object
from maskrcnn_trainer.spec.importing import import_text

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("served")]

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(__file__).parents[1] / "manifests"
ACCEPTED = sorted((FOLDER / "accepted").glob("*.yaml"))
REFUSED = sorted((FOLDER / "refused").glob("*.yaml"))
STALLED = sorted((FOLDER / "stalled").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("*/experiment.yaml"))
RESOURCE = f"/apis/{API_VERSION}/namespaces/{{}}/maskrcnnexperiments"
SEED = Path(os.environ.get("MASKRCNN_SEED", ROOT.parent / "shared" / "seed"))

Kubectl = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def served(kubectl: Kubectl, crd: None) -> None:
    """Wait until kubectl finds the resource by its short name; its cached list of resources may be older."""
    deadline = time.monotonic() + 60
    while (done := kubectl("get", "mrx", "-A", check=False)).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shared_namespace(bed: Bed, served: None) -> Iterator[str]:
    """Create one namespace for dry runs, which leave nothing behind."""
    name = bed.create_namespace("manifests")
    yield name
    bed.delete_namespace(name)


@pytest.fixture(scope="module")
def refusals(kubectl: Kubectl, shared_namespace: str) -> dict[str, str]:
    """Return kubectl's errors for each refused manifest by file name, from one dry run of the whole folder."""
    done = kubectl("apply", "-n", shared_namespace, "--dry-run=server", "-f", str(FOLDER / "refused"), check=False)
    found: dict[str, str] = {}
    for part in re.split(r"(?m)^(?=Error from server|error: |The MaskRCNNExperiment |Warning: )", done.stderr):
        if name := re.search(r"([a-z0-9-]+\.yaml)\"", part):
            found[name[1]] = found.get(name[1], "") + part
        elif part.startswith("The MaskRCNNExperiment") and (kept := re.search(r'"([^"]+)" is invalid', part)):
            found[kept[1]] = found.get(kept[1], "") + part
    found[""] = done.stdout
    return found


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_refused(file: Path, refusals: dict[str, str]) -> None:
    text = file.read_text()
    name = yaml.safe_load(text)["metadata"]["name"]
    message = refusals.get(file.name, "") + refusals.get(name, "")
    for fragment in re.findall(r"(?m)^# refused: (.*)$", text):
        assert fragment in message, f"{message or 'accepted'}\n{refusals['']}"


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_accepted(file: Path, bed: Bed, kubectl: Kubectl, namespace: str) -> None:
    assert "created" in kubectl("apply", "-n", namespace, "-f", str(file)).stdout
    assert "unchanged" in kubectl("apply", "-n", namespace, "-f", str(file)).stdout
    kubectl("apply", "-n", namespace, "--server-side", "--field-manager=gitops", "-f", str(file))
    manifest = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", str(file)).stdout)
    live = bed.api("GET", f"{RESOURCE.format(namespace)}/{manifest['metadata']['name']}")
    assert live["metadata"]["generation"] == 1
    assert missing(manifest["spec"], live["spec"]) == []
    assert read_object(live).spec == read_manifest(file.read_text()).spec


@pytest.mark.parametrize("file", STALLED, ids=lambda file: file.stem)
def test_manifest_refused_at_reconciliation_is_accepted(file: Path, kubectl: Kubectl, shared_namespace: str) -> None:
    assert "created" in kubectl("apply", "-n", shared_namespace, "--dry-run=server", "-f", str(file)).stdout


def missing(expected: Any, found: Any, path: str = "spec") -> list[str]:
    """Return the fields where the server's value differs from the manifest's."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [at for key, item in expected.items() for at in missing(item, found.get(key), f"{path}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [at for i, item in enumerate(expected) for at in missing(item, found[i], f"{path}[{i}]")]
    return [] if expected == found else [f"{path}: {expected!r} became {found!r}"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_the_examples_are_accepted(file: Path, kubectl: Kubectl, shared_namespace: str) -> None:
    assert "created" in kubectl("apply", "-n", shared_namespace, "--dry-run=server", "-f", str(file)).stdout


def test_the_sample_spec_of_the_documentation_is_accepted_once_imported(
    kubectl: Kubectl, shared_namespace: str
) -> None:
    pages = [page.read_text(encoding="utf-8") for page in sorted(SEED.glob("*.txt"))]
    page = next((text for text in pages if "\nseed: 123\n" in text), None)
    if page is None:
        pytest.skip(f"the documentation page of TAO Toolkit is not in {SEED}: set MASKRCNN_SEED")
    start = page.index("\nseed: 123\n") + 1
    imported = import_text(page[start : page.index("\n}\nField |", start) + 3], source="sample.txt")
    done = kubectl("apply", "-n", shared_namespace, "--dry-run=server", "-f", "-", input=imported.manifest)
    assert "sample created" in done.stdout


def example(name: str = "minimal") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "accepted" / f"{name}.yaml").read_text())
    return found


def test_one_overridden_field_comes_back_alone(bed: Bed, namespace: str) -> None:
    manifest = example("one-overridden-field")
    live = bed.api("POST", RESOURCE.format(namespace), manifest)
    steps = live["spec"]["steps"]
    assert "experiment" not in steps[0]
    assert steps[1]["experiment"] == {"totalSteps": 500}
    assert steps[2]["experiment"] == {"dataConfig": {"evalSamples": 100}, "maskrcnnConfig": {}}
    assert steps == manifest["spec"]["steps"]


def test_defaults_are_filled_in_outside_of_lists_and_of_the_experiment(bed: Bed, namespace: str) -> None:
    manifest = example()
    spec = bed.api("POST", RESOURCE.format(namespace), manifest)["spec"]
    assert (spec["maxRestarts"], spec["suspend"], spec["image"], spec["queueName"]) == (3, False, "", "")
    assert spec["podOverrides"] == {"gpuResource": "nvidia.com/gpu"}
    assert spec["workspace"] == {"persistentVolumeClaim": {"claimName": "data"}, "subPath": ""}
    assert spec["experiment"] == manifest["spec"]["experiment"]
    assert spec["steps"] == manifest["spec"]["steps"]


def test_the_definition_is_structural(bed: Bed) -> None:
    found = bed.api("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/maskrcnnexperiments.maskrcnn.dev")
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert (conditions["NamesAccepted"], conditions["Established"]) == ("True", "True")
    assert len(json.dumps(found["spec"])) < 200_000


def test_explain_shows_type_default_and_bounds(kubectl: Kubectl) -> None:
    text = kubectl("explain", "mrx.spec.experiment.dataConfig").stdout
    flat = " ".join(text.split())
    assert "imageSize <[]integer> -required- Size [height, width] in pixels" in flat
    assert "2 entries, each 128 to 8192." in flat
    assert (
        "maxNumInstances <integer> Maximum number of objects per image used in training; if there are more, the "
        "largest are kept. Default 200, 1 to 10000."
    ) in flat
    assert "numClasses <integer> -required-" in flat
    every = kubectl("explain", "mrx", "--recursive").stdout
    assert "freezeBlocks" in every
    for field in ("spec", "spec.steps", "spec.steps.experiment", "spec.podOverrides", "status", "status.steps"):
        assert "<no description>" not in kubectl("explain", f"mrx.{field}").stdout


def test_the_largest_experiment_is_within_the_cost_of_the_rules(bed: Bed, namespace: str) -> None:
    manifest = example()
    names = [f"step-of-names-{number:02}" for number in range(32)]
    manifest["spec"]["steps"] = [
        {"name": name, "evaluate": {}, "modelFrom": names[0], "dependsOn": [other for other in names if other != name]}
        for name in names
    ]
    manifest["spec"]["steps"][0] = {"name": names[0], "train": {}}
    patterns = ",".join(f"/workspace/{'x' * 200}/{number:03}-*.tfrecord" for number in range(280))
    manifest["spec"]["experiment"]["dataConfig"]["trainingFilePattern"] = patterns
    manifest["spec"]["objectStores"] = [
        {"prefix": f"s3://data/{number}{'/x' * 1000}", "endpoint": f"https://store.example.com{'/x' * 1000}"}
        for number in range(32)
    ]
    manifest["spec"]["experiment"] |= {
        "learningRateSteps": list(range(1, 65)),
        "learningRateDecayLevels": [0.5] * 64,
    }
    assert bed.api("POST", RESOURCE.format(namespace), manifest)["metadata"]["generation"] == 1


def test_a_generated_name_is_checked_too(bed: Bed, namespace: str) -> None:
    manifest = example()
    manifest["metadata"] = {"generateName": "nuclei-"}
    assert re.fullmatch("nuclei-[a-z0-9]{5}", bed.api("POST", RESOURCE.format(namespace), manifest)["metadata"]["name"])
    manifest["metadata"] = {"generateName": "a" * 28}
    with pytest.raises(RestError, match="at most 32 characters"):
        bed.api("POST", RESOURCE.format(namespace), manifest)


def condition(kind: str, status: str, reason: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }


RUNNING_CONDITIONS = [condition("Reconciling", "True", "Running"), condition("Ready", "False", "Running")]
STARTED = [{"name": "convert", "state": "Pending", "attempt": 0}, {"name": "train", "state": "Running", "attempt": 1}]
RUNNING = {"conditions": RUNNING_CONDITIONS, "steps": STARTED}
SUSPENDED = {
    "conditions": [condition("Suspended", "True", "Suspended"), condition("Ready", "True", "Suspended")],
    "steps": STARTED,
}
BEFORE_THE_FIRST_ATTEMPT: dict[str, dict[str, Any]] = {
    "no status": {},
    "seen": {"conditions": RUNNING_CONDITIONS},
    "waiting": {"conditions": RUNNING_CONDITIONS, "steps": [{**step, "attempt": 0} for step in STARTED]},
    "without a number": {"conditions": RUNNING_CONDITIONS, "steps": [{"name": "convert", "state": "Pending"}]},
}

ONLY_WHEN_NOTHING_RUNS = {
    "workspace": {"workspace": {"persistentVolumeClaim": {"claimName": "other"}}},
    "workspace.subPath": {"workspace": {"subPath": "elsewhere"}},
    "workspace to a bucket": {
        "workspace": {"persistentVolumeClaim": None, "objectStorage": {"url": "s3://b/p", "takeOverFrom": "a/1"}}
    },
    "key added": {"encryptionKeySecretRef": {"name": "model-key"}},
    "queueName": {"queueName": "team-b"},
}
AT_ANY_TIME = {
    "suspend": {"suspend": True},
    "image": {"image": "trainer:2"},
    "maxRestarts": {"maxRestarts": 9},
    "deadlines": {"activeDeadlineSeconds": 60, "preRunningDeadlineSeconds": 60, "ttlSecondsAfterFinished": 60},
    "podOverrides": {"podOverrides": {"priorityClassName": "high"}},
    "objectStores": {"objectStores": [{"prefix": "s3://data"}]},
    "cache": {"cache": {"sizeLimit": "50Gi"}},
    "experiment": {"experiment": {"totalSteps": 5}},
    "steps": {"steps": [{"name": "other", "train": {}, "gpusPerNode": 1, "resources": {"requests": {"cpu": 1}}}]},
}


def edited(bed: Bed, namespace: str, *, suspend: bool, status: dict[str, Any], change: dict[str, Any]) -> Any:
    """Change the spec of an experiment with this status; return the server's answer."""
    manifest = example()
    manifest["spec"]["suspend"] = suspend
    path = f"{RESOURCE.format(namespace)}/{manifest['metadata']['name']}"
    bed.api("POST", RESOURCE.format(namespace), manifest)
    bed.api("PATCH", f"{path}/status", {"status": status})
    return bed.api("PATCH", path, {"spec": change})


def edited_in_a_bucket(bed: Bed, namespace: str, status: dict[str, Any], change: dict[str, Any]) -> Any:
    manifest = example("workspace-in-object-storage")
    path = f"{RESOURCE.format(namespace)}/{manifest['metadata']['name']}"
    bed.api("POST", RESOURCE.format(namespace), manifest)
    bed.api("PATCH", f"{path}/status", {"status": status})
    return bed.api("PATCH", path, {"spec": {"workspace": {"objectStorage": change}}})


@pytest.mark.parametrize(
    "change",
    [{"takeOverFrom": "other/4"}, {"takeOverFrom": None}, {"scratch": {"sizeLimit": "1Gi"}}, {"scratch": None}],
)
def test_owner_to_take_over_and_scratch_may_change_while_running(
    bed: Bed, namespace: str, change: dict[str, Any]
) -> None:
    assert edited_in_a_bucket(bed, namespace, RUNNING, change)["metadata"]["generation"] == 2


def test_url_of_the_workspace_may_not_change_while_running(bed: Bed, namespace: str) -> None:
    with pytest.raises(RestError, match="spec.workspace can change until the first attempt of a step has started, or"):
        edited_in_a_bucket(bed, namespace, RUNNING, {"url": "s3://other"})


@pytest.mark.parametrize("change", AT_ANY_TIME.values(), ids=AT_ANY_TIME)
def test_may_change_while_running(bed: Bed, namespace: str, change: dict[str, Any]) -> None:
    assert edited(bed, namespace, suspend=False, status=RUNNING, change=change)["metadata"]["generation"] == 2


@pytest.mark.parametrize("change", ONLY_WHEN_NOTHING_RUNS.values(), ids=ONLY_WHEN_NOTHING_RUNS)
def test_may_not_change_while_running(bed: Bed, namespace: str, change: dict[str, Any]) -> None:
    field = next(iter(change))
    with pytest.raises(RestError, match=f"spec.{field} can change until the first attempt of a step has started, or"):
        edited(bed, namespace, suspend=False, status=RUNNING, change=change)


@pytest.mark.parametrize("status", BEFORE_THE_FIRST_ATTEMPT.values(), ids=BEFORE_THE_FIRST_ATTEMPT)
@pytest.mark.parametrize("change", ONLY_WHEN_NOTHING_RUNS.values(), ids=ONLY_WHEN_NOTHING_RUNS)
def test_may_change_until_the_first_attempt_has_started(
    bed: Bed, namespace: str, change: dict[str, Any], status: dict[str, Any]
) -> None:
    assert edited(bed, namespace, suspend=False, status=status, change=change)["metadata"]["generation"] == 2


def test_may_not_change_once_one_of_many_steps_has_started(bed: Bed, namespace: str) -> None:
    steps = [{"name": f"step-{index}", "attempt": int(index == 31)} for index in range(32)]
    with pytest.raises(RestError, match="spec.workspace can change until"):
        edited(bed, namespace, suspend=False, status={"steps": steps}, change=ONLY_WHEN_NOTHING_RUNS["workspace"])


@pytest.mark.parametrize("change", ONLY_WHEN_NOTHING_RUNS.values(), ids=ONLY_WHEN_NOTHING_RUNS)
def test_may_not_change_before_the_operator_has_suspended_it(bed: Bed, namespace: str, change: dict[str, Any]) -> None:
    with pytest.raises(RestError, match="set spec.suspend to true and wait for it before"):
        edited(bed, namespace, suspend=True, status=RUNNING, change=change)


@pytest.mark.parametrize("change", ONLY_WHEN_NOTHING_RUNS.values(), ids=ONLY_WHEN_NOTHING_RUNS)
def test_may_change_while_suspended(bed: Bed, namespace: str, change: dict[str, Any]) -> None:
    assert edited(bed, namespace, suspend=True, status=SUSPENDED, change=change)["metadata"]["generation"] == 2


def test_may_change_and_resume_at_once(bed: Bed, namespace: str) -> None:
    change = {**ONLY_WHEN_NOTHING_RUNS["workspace"], "suspend": False}
    assert edited(bed, namespace, suspend=True, status=SUSPENDED, change=change)["metadata"]["generation"] == 2


def test_may_not_change_once_resumed_although_the_condition_is_still_true(bed: Bed, namespace: str) -> None:
    with pytest.raises(RestError, match="spec.workspace can change until"):
        edited(bed, namespace, suspend=False, status=SUSPENDED, change=ONLY_WHEN_NOTHING_RUNS["workspace"])


@pytest.mark.parametrize("change", [{"encryptionKeySecretRef": None}, {"encryptionKeySecretRef": {"key": "other"}}])
def test_a_key_may_be_changed_or_removed_only_while_suspended(bed: Bed, namespace: str, change: dict[str, Any]) -> None:
    manifest = example()
    manifest["spec"] |= {"encryptionKeySecretRef": {"name": "model-key"}, "suspend": True}
    path = f"{RESOURCE.format(namespace)}/{manifest['metadata']['name']}"
    assert bed.api("POST", RESOURCE.format(namespace), manifest)["spec"]["encryptionKeySecretRef"]["key"] == "key"
    bed.api("PATCH", f"{path}/status", {"status": RUNNING})
    with pytest.raises(RestError, match="spec.encryptionKeySecretRef can change until"):
        bed.api("PATCH", path, {"spec": change})
    bed.api("PATCH", f"{path}/status", {"status": SUSPENDED})
    assert bed.api("PATCH", path, {"spec": change})["metadata"]["generation"] == 2


def test_spec_and_status_are_written_separately(bed: Bed, namespace: str) -> None:
    manifest = example()
    path = f"{RESOURCE.format(namespace)}/{manifest['metadata']['name']}"
    live = bed.api("POST", RESOURCE.format(namespace), {**manifest, "status": RUNNING})
    assert "status" not in live
    live = bed.api("PATCH", f"{path}/status", {"spec": {"image": "other"}, "status": RUNNING})
    assert (live["spec"]["image"], live["metadata"]["generation"]) == ("", 1)
    assert live["status"] == RUNNING  # the server fills in no defaults


def applied(bed: Bed, namespace: str, manager: str, status: dict[str, Any]) -> dict[str, Any]:
    name = example()["metadata"]["name"]
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "status": status}
    path = f"{RESOURCE.format(namespace)}/{name}/status?fieldManager={manager}&force=true"
    found: dict[str, Any] = bed.api("PATCH", path, body, "application/apply-patch+yaml")["status"]
    return found


def test_two_managers_of_the_status(bed: Bed, namespace: str) -> None:
    bed.api("POST", RESOURCE.format(namespace), example())
    box, mask = {"name": "AP", "value": "0.3"}, {"name": "mask_AP", "value": "0.2"}
    steps = [{"name": "train", "state": "Running", "metrics": [box, mask]}, {"name": "evaluate", "state": "Pending"}]
    status = {**RUNNING, "steps": steps, "metrics": [box, mask], "currentStep": "train"}
    progress = {
        "progress": {"step": "train", "iteration": 5, "percentage": 50, "metrics": [{"name": "loss", "value": "1"}]}
    }
    assert applied(bed, namespace, "one", status) == status
    assert applied(bed, namespace, "two", progress) == {**status, **progress}
    fewer = copy.deepcopy(status)
    fewer["metrics"], fewer["steps"] = [mask], list(reversed(steps))
    fewer["conditions"] = [condition("Ready", "True", "Succeeded")]
    del fewer["currentStep"]
    assert applied(bed, namespace, "one", fewer) == {**fewer, **progress}
    assert applied(bed, namespace, "two", {}) == fewer


def test_columns_and_names(bed: Bed, kubectl: Kubectl, namespace: str) -> None:
    bed.api("POST", RESOURCE.format(namespace), example())
    path = f"{RESOURCE.format(namespace)}/minimal/status"
    status = {
        **RUNNING,
        "currentStep": "train",
        "restarts": 2,
        "metrics": [
            {"name": "AP50", "value": "0.5"},
            {"name": "AP", "value": "0.377"},
            {"name": "mask_AP", "value": "0.342"},
        ],
        "modelPath": "/workspace/minimal/train/model.step-50.tlt",
        "progress": {"step": "train", "percentage": 42, "eta": "2:32:00"},
    }
    bed.api("PATCH", path, {"status": status})
    head, row = kubectl("get", "mrx", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert head.split() == ["NAME", "STATE", "STEP", "PROGRESS", "ETA", "AP", "MASK-AP", "AGE", "RESTARTS", "MODEL"]
    *shown, _age, restarts, model = row.split()
    assert shown == ["minimal", "Running", "train", "42", "2:32:00", "0.377", "0.342"]
    assert (restarts, model) == ("2", status["modelPath"])
    assert kubectl("get", "mrx", "-n", namespace).stdout.split()[:8] == head.split()[:8]
    assert "maskrcnnexperiment.maskrcnn.dev/minimal" in kubectl("get", "all", "-n", namespace, "-o", "name").stdout
    done = {"conditions": [condition("Succeeded", "True", "Succeeded"), condition("Ready", "True", "Succeeded")]}
    bed.api("PATCH", path, {"status": done})
    kubectl("wait", "-n", namespace, "mrx/minimal", "--for=condition=Succeeded", "--timeout=60s")


def without_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without bounds and rules, as in an older release."""
    gone = ("maxLength", "maxItems", "maxProperties", "maximum", "minimum", "pattern", "x-kubernetes-validations")
    found = {key: value for key, value in schema.items() if key not in gone}
    if "items" in found:
        found["items"] = without_bounds(found["items"])
    if "additionalProperties" in found:
        found["additionalProperties"] = without_bounds(found["additionalProperties"])
    if "properties" in found:
        found["properties"] = {name: without_bounds(value) for name, value in found["properties"].items()}
    return found


def older_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of an older release: without bounds and rules, and with steps in the status merged by name."""
    found = without_bounds(schema)
    found["properties"]["status"]["properties"]["steps"] |= {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    return found


@pytest.fixture
def older_definition(bed: Bed) -> Iterator[tuple[str, Callable[[], None]]]:
    """Create a definition without bounds; yield its group, and a function that upgrades it to this release."""
    group = "older.example.com"
    definition = custom_resource_definition()
    definition["metadata"]["name"] = f"{PLURAL}.{group}"
    definition["spec"] |= {"group": group}
    definition["spec"]["names"] |= {"shortNames": [], "categories": []}
    schema = definition["spec"]["versions"][0]["schema"]
    newer, schema["openAPIV3Schema"] = schema["openAPIV3Schema"], older_schema(schema["openAPIV3Schema"])
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    bed.api("POST", definitions, definition)
    deadline = time.monotonic() + 60
    while True:  # kubectl wait fails as long as the definition has no conditions
        conditions = bed.api("GET", f"{definitions}/{PLURAL}.{group}").get("status", {}).get("conditions") or ()
        if any((found["type"], found["status"]) == ("Established", "True") for found in conditions):
            break
        assert time.monotonic() < deadline, conditions
        time.sleep(0.1)

    def upgrade() -> None:
        spec = {"versions": [{**definition["spec"]["versions"][0], "schema": {"openAPIV3Schema": newer}}]}
        bed.api("PATCH", f"{definitions}/{PLURAL}.{group}", {"spec": spec})

    yield group, upgrade
    bed.api("DELETE", f"{definitions}/{PLURAL}.{group}")
    deadline = time.monotonic() + 60
    while any(found["metadata"]["name"] == f"{PLURAL}.{group}" for found in bed.api("GET", definitions)["items"]):
        assert time.monotonic() < deadline, "the definition is still there"
        time.sleep(0.1)


def test_object_older_than_the_bounds_accepts_status_writes(
    bed: Bed, namespace: str, older_definition: tuple[str, Callable[[], None]]
) -> None:
    group, upgrade = older_definition
    path = f"/apis/{group}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    manifest = {**example(), "apiVersion": f"{group}/{VERSION}"}
    many = {str(number): {} for number in range(100)}
    manifest["spec"]["podOverrides"] = {
        "affinity": many,
        "volumes": [many] * 40,
        "annotations": {f"maskrcnn.dev/{'x' * 400}": "x" * 70_000},
        "env": [{"name": "MASKRCNN_KEY", "valueFrom": many}, {"name": "9", "value": "x" * 140_000}],
        "gpuResource": "nvidia.com/mig-3g.40gb",
    }
    manifest["spec"]["steps"][0] |= {
        "gpusPerNode": 2,
        "processesPerNode": 3,
        "resources": {"requests": {"x" * 400: "1"}},
        "podOverrides": {"affinity": {"nodeAffinity": {}}},
    }
    bed.api("POST", path, manifest)
    upgrade()
    manifest["metadata"]["name"] = "another"
    deadline = time.monotonic() + 60
    while True:
        try:
            bed.api("POST", f"{path}?dryRun=All", manifest)
        except RestError as error:
            assert "must have at most 16 items" in str(error)
            break
        assert time.monotonic() < deadline, "the bounds are not in force"
        time.sleep(0.1)
    body = {"apiVersion": f"{group}/{VERSION}", "kind": KIND, "metadata": {"name": "minimal"}, "status": RUNNING}
    written = f"{path}/minimal/status?fieldManager=one&force=true"
    assert bed.api("PATCH", written, body, "application/apply-patch+yaml")["status"] == RUNNING
    stalled = {"conditions": [condition("Stalled", "True", "InvalidSpec")]}
    answer = bed.api("PATCH", f"{path}/minimal/status", {"status": stalled})
    assert answer["status"]["conditions"] == stalled["conditions"]
    # a change of the spec is refused until the whole spec is valid
    with pytest.raises(RestError, match="affinity: Too many"):
        bed.api("PATCH", f"{path}/minimal", {"spec": {"suspend": True}})
    corrected = {"podOverrides": None, "steps": example()["spec"]["steps"]}
    assert bed.api("PATCH", f"{path}/minimal", {"spec": corrected})["metadata"]["generation"] == 2


def test_an_older_status_whose_steps_were_merged_by_name_is_replaced(
    bed: Bed, namespace: str, older_definition: tuple[str, Callable[[], None]]
) -> None:
    group, upgrade = older_definition
    path = f"/apis/{group}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    bed.api("POST", path, {**example(), "apiVersion": f"{group}/{VERSION}"})

    def apply(*steps: str) -> Any:
        body = {
            "apiVersion": f"{group}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": "minimal"},
            "status": {**RUNNING, "steps": [{"name": name, "state": "Pending"} for name in steps]},
        }
        query = "fieldManager=one&force=true"
        return bed.api("PATCH", f"{path}/minimal/status?{query}", body, "application/apply-patch+yaml")

    def owned(live: Any) -> Any:
        [entry] = [entry for entry in live["metadata"]["managedFields"] if entry["manager"] == "one"]
        return entry["fieldsV1"]["f:status"]["f:steps"]

    before = apply("train", "evaluate")
    assert 'k:{"name":"train"}' in owned(before)
    upgrade()
    deadline = time.monotonic() + 60
    while owned(after := apply("evaluate")) != {}:
        assert time.monotonic() < deadline, "the newer definition is not in force"
        time.sleep(0.1)
    assert [step["name"] for step in after["status"]["steps"]] == ["evaluate"]
