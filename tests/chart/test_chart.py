"""The chart's rendered objects: lint, golden files, values that are refused, and minimal permissions."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.conftest import CHART, VALUES, Run
from tests.monitoring import vocabulary

from maskrcnn_operator.cli import build_parser
from maskrcnn_operator.jobs.defaults import JobDefaults, PodIds, read_job_defaults
from maskrcnn_operator.progress_endpoint.authority_secret import SECRET_NAME
from maskrcnn_operator.progress_endpoint.certificates import AUTHORITY_LIFETIME, AUTHORITY_MARGIN

ROOT = CHART.parents[1]
GOLDEN = Path(__file__).with_name("golden")
SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))

Render = Callable[[str], list[dict[str, Any]]]


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


def operator_pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of_kind(objects, "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def job_defaults(objects: list[dict[str, Any]]) -> JobDefaults:
    (found,) = [item["data"]["job-defaults.yaml"] for item in objects if "job-defaults.yaml" in item.get("data", {})]
    return read_job_defaults(found, "job-defaults.yaml")


def without_included_files(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Remove the content of files that the chart includes unchanged, which have their own tests, from objects."""
    for item in objects:
        if item["kind"] == "CustomResourceDefinition":
            item["spec"] = "..."
        if item["kind"] == "PrometheusRule":
            item["spec"] = {"groups": [group["name"] for group in item["spec"]["groups"]]}
        if item["metadata"]["name"].endswith("-dashboard"):
            item["data"] = sorted(item["data"])
    return objects


def test_lint(helm: Run) -> None:
    for name in SETS:
        done = helm("lint", "--strict", str(CHART), "-f", str(VALUES / f"{name}.yaml"))
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SETS)
def test_rendered_objects_are_those_of_the_golden_file(render: Render, name: str) -> None:
    """Run with MASKRCNN_WRITE_GOLDEN=1 to rewrite the files, then read the difference."""
    objects = without_included_files(render(name))
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("MASKRCNN_WRITE_GOLDEN"):
        file.write_text(yaml.safe_dump_all(objects, sort_keys=False, width=120))
    assert list(yaml.safe_load_all(file.read_text())) == objects


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("replicas=0", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("trainer.imagePullPolicy=Sometimes", "imagePullPolicy"),
        ("replicaCount=2", "replicaCount"),
        ("namespaces={UPPER}", "namespaces"),
        ("metrics.port=70000", "port"),
        ("reports.certManager.duration=soon", "duration"),
        ("logFormat=xml", "logFormat"),
        ("image.digest=latest", "digest"),
        ("networkPolicy.apiServerPorts={}", "apiServerPorts"),
        ("podSecurityContext.runAsUser=0", "runAsUser"),
        ("podDisruptionBudget.unhealthyPodEvictionPolicy=Never", "unhealthyPodEvictionPolicy"),
        ("extraArgs={--lease-name=other}", "fullnameOverride"),
        ("extraArgs={--lease-namespace,other}", "fullnameOverride"),
        ("logLevel=loud", "logLevel"),
        ("objectStorage.ownerId=a/1", "ownerId"),
        ("networkPolicy.apiServer={foo/24}", "apiServer"),
        ("networkPolicy.objectStores[0].cidr=203.0.113.0/24", "ports"),
        ("networkPolicy.objectStores[0].cidr=203.0.113.0/24,networkPolicy.objectStores[0].ports={}", "ports"),
        ("metrics.prometheusRule.runbookBaseUrl=docs", "runbookBaseUrl"),
    ],
)
def test_invalid_value_is_refused_by_name(helm: Run, setting: str, words: str) -> None:
    done = helm("template", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert words in done.stderr


def texts_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the paths and values of all fields whose name is one of a name, a namespace, or a label."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("labels", "matchLabels", "selector") and isinstance(inner, dict):
                yield from ((f"{path}.{key}.{label}", text) for label, text in inner.items() if label != "matchLabels")
            elif key.lower().endswith(("name", "namespace")) and not isinstance(inner, dict | list):
                yield f"{path}.{key}", inner
            yield from texts_of(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts_of(inner, f"{path}[{index}]")


@pytest.mark.parametrize("namespaces", ["null", '["789", "1e3"]'])
def test_names_of_digits_are_rendered_as_texts(helm: Run, namespaces: str) -> None:
    settings = (
        f"namespaces={namespaces}",
        'networkPolicy={"enabled": true, "apiServer": ["10.0.0.1/32"], "gangs": ["789"]}',
        'priorityClass={"name": "12"}',
        'metrics={"serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}}',
        'reports={"certManager": {"enabled": true}}',
    )
    flags = [flag for setting in settings for flag in ("--set-json", setting)]
    done = helm("template", "123", str(CHART), "-n", "456", *flags)
    assert done.returncode == 0, done.stderr
    objects = [item for item in yaml.safe_load_all(done.stdout) if item and item["kind"] != "CustomResourceDefinition"]
    found = [text for item in objects for text in texts_of(item)]
    assert {"123", "456"} <= {text for _, text in found}
    assert [(path, text) for path, text in found if not isinstance(text, str)] == []


@pytest.mark.parametrize(
    "cidr",
    ["203.0.113.7", "foo/24", "10.0.0.0/99", "256.0.0.0/8", "10.0.0/8", "010.0.0.0/8", "fd00::/129", "fd00::1::/64"],
)
def test_cidr_that_the_api_server_would_refuse_is_refused(helm: Run, cidr: str) -> None:
    store = f"networkPolicy.objectStores[0].cidr={cidr},networkPolicy.objectStores[0].ports={{443}}"
    done = helm("template", str(CHART), "--set", store)
    assert done.returncode != 0
    assert "cidr" in done.stderr


def test_cidrs_of_ipv4_and_ipv6_are_rendered_as_they_are_given(helm: Run) -> None:
    cidrs = [
        "0.0.0.0/0",
        "169.254.170.23/32",
        "10.255.0.0/16",
        "::/0",
        "::1/128",
        "fd00:ec2::23/128",
        "2001:DB8:1::/48",
    ]
    stores = [{"cidr": cidr, "ports": [443]} for cidr in cidrs]
    policy = {"enabled": True, "apiServer": cidrs, "gangs": ["research"], "objectStores": stores}
    done = helm("template", str(CHART), "--set-json", f"networkPolicy={json.dumps(policy)}")
    assert done.returncode == 0, done.stderr
    policies = of_kind([item for item in yaml.safe_load_all(done.stdout) if item], "NetworkPolicy")
    for found in policies:
        places = [place for rule in found["spec"]["egress"] for place in rule.get("to", ()) if "ipBlock" in place]
        assert [place["ipBlock"]["cidr"] for place in places] == cidrs
    assert len(policies) == 2


@pytest.mark.parametrize("name", SETS)
def test_operator_accepts_the_arguments_of_its_deployment(render: Render, name: str) -> None:
    objects = render(name)
    (container,) = operator_pod(objects)["containers"]
    parsed = build_parser().parse_args(container["args"])
    assert parsed.trainer_image
    job_defaults(objects)


def rules(objects: list[dict[str, Any]], kinds: tuple[str, ...] = ("Role", "ClusterRole")) -> set[tuple[str, ...]]:
    """Return group, resource, verb, and whether a rule has resourceNames ("named") or not ("any"), of all rules."""
    return {
        (group, resource, verb, "named" if rule.get("resourceNames") else "any")
        for item in objects
        if item["kind"] in kinds and "aggregat" not in str(item["metadata"].get("labels"))
        for rule in item.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_roles_are_those_of_deploy_rbac_yaml(render: Render) -> None:
    """Only the Lease differs, which the chart's arguments name."""

    def objects(documents: list[dict[str, Any]]) -> dict[tuple[str, str, str | None], dict[str, Any]]:
        return {
            (item["kind"], item["metadata"]["name"], item["metadata"].get("namespace")): {
                key: value for key, value in item.items() if key in ("rules", "roleRef", "subjects")
            }
            for item in documents
            if item["kind"] == "ServiceAccount"
            or (item["apiVersion"].startswith("rbac.") and "aggregat" not in str(item["metadata"].get("labels")))
        }

    tested = (ROOT / "deploy" / "rbac.yaml").read_text()
    lease = "resourceNames: [maskrcnn-operator]"
    assert lease in tested
    expected = list(yaml.safe_load_all(tested.replace(lease, "resourceNames: [maskrcnn]")))
    assert objects(render("defaults")) == objects(expected)


def test_with_a_list_of_namespaces_only_token_reviews_are_cluster_wide(render: Render) -> None:
    objects = render("namespaced")
    assert rules(objects, ("ClusterRole",)) == {("authentication.k8s.io", "tokenreviews", "create", "any")}
    roles = [item["metadata"]["namespace"] for item in objects if item["kind"] == "Role"]
    assert sorted(roles) == ["maskrcnn-system", "production", "research"]


def namespace_rules(objects: list[dict[str, Any]]) -> dict[tuple[str, str | None], list[dict[str, Any]]]:
    """Return the rules for namespaces of each role that has one, by kind and namespace of the role."""
    roles = [item for item in objects if item["kind"] in ("Role", "ClusterRole")]
    return {
        (role["kind"], role["metadata"].get("namespace")): found
        for role in roles
        if (found := [rule for rule in role.get("rules") or () if "namespaces" in rule["resources"]])
    }


def test_namespaces_are_read_by_name_with_a_list_of_them_and_else_by_the_cluster_role(render: Render) -> None:
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
    assert namespace_rules(render("namespaced")) == {
        ("Role", name): [{**rule, "resourceNames": [name]}] for name in ("research", "production")
    }
    assert namespace_rules(render("defaults")) == {("ClusterRole", None): [rule]}


def test_owner_id_of_the_installation_is_an_argument_and_no_namespace_is_read(render: Render) -> None:
    objects = render("important")
    (container,) = operator_pod(objects)["containers"]
    assert build_parser().parse_args(container["args"]).object_storage_owner_id == "fleet:2026"
    assert namespace_rules(objects) == {}
    (container,) = operator_pod(render("defaults"))["containers"]
    assert build_parser().parse_args(container["args"]).object_storage_owner_id is None


def test_values_of_an_earlier_release_have_no_owner_id(helm: Run) -> None:
    """``helm upgrade --reuse-values`` renders the chart with the values of the release before."""
    done = helm("template", "maskrcnn", str(CHART), "--set", "objectStorage=null,networkPolicy.objectStores=null")
    assert done.returncode == 0, done.stderr
    assert "--object-storage-owner-id" not in done.stdout
    assert namespace_rules([item for item in yaml.safe_load_all(done.stdout) if item])


def test_gangs_reach_the_listed_object_stores(render: Render) -> None:
    policies = [item for item in of_kind(render("important"), "NetworkPolicy") if "-gangs" in item["metadata"]["name"]]
    assert len(policies) == 2
    for policy in policies:
        assert policy["spec"]["egress"][-2:] == [
            {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]},
            {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [{"port": 80}, {"port": 988}]},
        ]


GANGS = "networkPolicy.gangs={research,production}"
STORES = "networkPolicy.objectStores[0].cidr=203.0.113.0/24,networkPolicy.objectStores[0].ports={443}"


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ((GANGS,), {"No step in research, production can reach a bucket"}),
        ((STORES,), {"networkPolicy.objectStores has no effect"}),
        ((GANGS, STORES), set()),
        ((), set()),
    ],
    ids=["gangs alone", "stores alone", "gangs and stores", "neither"],
)
def test_notes_warn_of_gangs_without_stores_and_of_stores_without_gangs(
    helm: Run, tmp_path: Path, settings: tuple[str, ...], warnings: set[str]
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    # only an installation prints NOTES.txt, but every file of the templates is rendered
    (chart / "templates" / "NOTES.txt").rename(chart / "notes.txt")
    (chart / "templates" / "notes.yaml").write_text('notes: {{ tpl (.Files.Get "notes.txt") . | quote }}\n')
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "maskrcnn", str(chart), "--show-only", "templates/notes.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    notes = " ".join(yaml.safe_load(done.stdout)["notes"].split())
    assert "kubectl apply -f experiment.yaml" in notes
    known = {"No step in research, production can reach a bucket", "networkPolicy.objectStores has no effect"}
    assert {warning for warning in known if warning in notes} == warnings


def test_definition_is_the_generated_one_and_is_kept_when_the_chart_is_uninstalled(render: Render) -> None:
    found = named(render("defaults"), "CustomResourceDefinition", "maskrcnnexperiments.maskrcnn.dev")
    expected = yaml.safe_load((ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml").read_text())
    assert found["spec"] == expected["spec"]
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_role_only_covers_the_secret_and_the_lease_of_the_release(render: Render) -> None:
    role = named(render("defaults"), "Role", "maskrcnn")
    bounded = {rule["resources"][0]: rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule}
    assert bounded == {"leases": ["maskrcnn"], "secrets": [SECRET_NAME]}
    (container,) = operator_pod(render("defaults"))["containers"]
    assert "--lease-name=maskrcnn" in container["args"]
    assert {verb for rule in role["rules"] if "resourceNames" not in rule for verb in rule["verbs"]} == {"create"}


def test_certificate_of_the_report_endpoint_is_signed_by_a_ca_that_outlives_it(render: Render) -> None:
    objects = render("important")

    def issuer_of(certificate: dict[str, Any]) -> dict[str, Any]:
        return named(objects, certificate["spec"]["issuerRef"]["kind"], certificate["spec"]["issuerRef"]["name"])

    leaf = named(objects, "Certificate", "maskrcnn-reports")
    (authority,) = [
        item
        for item in of_kind(objects, "Certificate")
        if item["spec"]["secretName"] == issuer_of(leaf)["spec"]["ca"]["secretName"]
    ]
    assert authority["spec"]["isCA"] is True
    assert authority["spec"]["duration"] == f"{AUTHORITY_LIFETIME.days * 24}h"
    assert authority["spec"]["renewBefore"] == f"{AUTHORITY_MARGIN.days * 24}h"
    assert authority["spec"]["privateKey"]["rotationPolicy"] == "Never"
    assert issuer_of(authority)["spec"] == {"selfSigned": {}}


def test_existing_issuer_creates_no_ca(render: Render) -> None:
    objects = render("namespaced")
    assert [item["metadata"]["name"] for item in of_kind(objects, "Certificate")] == ["maskrcnn-reports"]
    assert of_kind(objects, "Issuer") == []


def test_null_ids_are_omitted_from_pods(render: Render) -> None:
    objects = render("openshift")
    pods = [operator_pod(objects), *(item["spec"] for item in of_kind(objects, "Pod"))]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert job_defaults(objects).security_context == PodIds(run_as_user=None, run_as_group=None, fs_group=None)
    assert job_defaults(render("defaults")) == JobDefaults()


def test_images_can_be_named_by_digest(render: Render) -> None:
    (container,) = operator_pod(render("openshift"))["containers"]
    assert re.fullmatch(r"registry\.example/maskrcnn-operator@sha256:[0-9a-f]{64}", container["image"])
    (trainer,) = [argument for argument in container["args"] if argument.startswith("--trainer-image=")]
    assert re.fullmatch(r"--trainer-image=registry\.example/maskrcnn-trainer@sha256:[0-9a-f]{64}", trainer)


def test_roles_and_service_account_can_be_omitted(render: Render) -> None:
    objects = render("openshift")
    assert not {item["kind"] for item in objects} & {
        *("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
    }
    assert operator_pod(objects)["serviceAccountName"] == "made-before"


def test_spread_constraint_selects_the_operators_pods(render: Render) -> None:
    objects = render("openshift")
    (deployment,) = of_kind(objects, "Deployment")
    (constraint,) = operator_pod(objects)["topologySpreadConstraints"]
    assert constraint["labelSelector"] == deployment["spec"]["selector"]
    assert constraint["topologyKey"] == "topology.kubernetes.io/zone"


@pytest.mark.parametrize("base", ["", "https://git.example.org/team/operator/blob/v1", "https://wiki.example.org/mrx/"])
def test_runbook_of_each_alert_exists(helm: Run, base: str) -> None:
    switches = ("metrics.prometheusRule.enabled=true", f"metrics.prometheusRule.runbookBaseUrl={base}")
    done = helm("template", str(CHART), "--set", ",".join(switches))
    assert done.returncode == 0, done.stderr
    [rules] = [item for item in yaml.safe_load_all(done.stdout) if item and item["kind"] == "PrometheusRule"]
    alerts = [alert for group in rules["spec"]["groups"] for alert in group["rules"]]
    assert len(alerts) == len(vocabulary.alerts())
    key, prefix = ("runbook_url", f"{base.rstrip('/')}/") if base else ("runbook", "")
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "description", key}
        address = alert["annotations"][key]
        assert address.startswith(prefix)
        page, _, anchor = address.removeprefix(prefix).partition("#")
        assert anchor in vocabulary.anchors(ROOT / page), address


def test_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert chart["version"] == chart["appVersion"]
    assert f'\nversion = "{chart["version"]}"\n' in project
