"""Pages and files install one release into one namespace, and agree on what the operator needs and makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver import account
from tests.cluster import installation

from maskrcnn_operator.metrics.experiments import SERIES

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "maskrcnn-operator"
RELEASE, NAMESPACE = "maskrcnn", "maskrcnn-system"
OTHERS = {"argocd", "flux-system", "research"}
"""Namespaces of GitOps engines and of a team, which are in the examples, too."""
SUFFIXES = {".md", ".yaml", ".yml", ".sh", ".txt", ".tpl", ""}
NUMBERS = {6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}

HELM = r"(?<![\w-])helm (?:install|upgrade|rollback|uninstall|test|status|get \w+|template)(?: -[-\w=]+)* "


def files() -> list[Path]:
    folders = ("docs", "charts", "deploy", "scripts", "images", "examples", "benchmarks", "crds")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile", *sorted(p for p in found if p.is_file())]


def matches(pattern: str) -> dict[str, set[str]]:
    """Return what the only group of a pattern finds, by file; continued lines are one."""
    found: dict[str, set[str]] = {}
    for path in files():
        text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        for value in re.findall(pattern, text, re.MULTILINE):
            found.setdefault(value, set()).add(str(path.relative_to(ROOT)))
    return found


def documents(path: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all((ROOT / path).read_text(encoding="utf-8")) if item]


def test_helm_names_one_release() -> None:
    named = matches(HELM + r"([a-z{][\w{-]*)")
    assert named.keys() <= {RELEASE, "{{"}, named
    assert {"docs/how-to/install.md", "docs/how-to/upgrade.md"} <= named[RELEASE]


def test_commands_name_one_namespace() -> None:
    named = matches(r"(?:helm|kubectl) [^\n]*?(?<![\w-])(?:-n|--namespace)[ =]([a-z][\w-]*)")
    assert named.keys() <= {NAMESPACE, *OTHERS}, named
    assert {"docs/how-to/install.md", "docs/how-to/alerts.md"} <= named[NAMESPACE]


def test_installations_make_their_namespace() -> None:
    commands = matches(rf"({HELM}{RELEASE} charts/[^\n]*)")
    made = [command for command in commands if " install " in command or "--install " in command]
    assert len(made) > 3
    assert [command for command in made if "--create-namespace" not in command] == []


def test_upgrades_take_new_defaults() -> None:
    """With ``--reuse-values`` the values that only the newer chart has would be absent."""
    commands = matches(rf"({HELM}{RELEASE} charts/[^\n]*)")
    upgrades = [command for command in commands if "helm upgrade " in command]
    assert upgrades
    assert [command for command in upgrades if "--reset-then-reuse-values" not in command] == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"kubernetes\.io/metadata\.name: ([a-z][\w-]*)",
        r"^\s*-?\s*namespace: ([a-z][\w-]*)",
        r"[{,] *namespace: ([a-z][\w-]*)",
        r"targetNamespace: ([a-z][\w-]*)",
        r"system:serviceaccount:([A-Za-z][\w-]*):",
    ],
)
def test_manifests_and_selectors_name_one_namespace(pattern: str) -> None:
    named = matches(pattern)
    assert named.keys() <= {NAMESPACE, *OTHERS}, named
    assert NAMESPACE in named


def test_gitops_installs_the_same_release() -> None:
    (application,) = documents("docs/gitops/layout/argocd/operator.yaml")
    (chart,) = [source for source in application["spec"]["sources"] if "helm" in source]
    assert chart["helm"]["releaseName"] == RELEASE, "Argo CD's release is named after the Application by default"
    assert application["spec"]["destination"]["namespace"] == NAMESPACE
    (release,) = [item for item in documents("docs/gitops/layout/flux/operator.yaml") if item["kind"] == "HelmRelease"]
    assert (release["spec"]["releaseName"], release["spec"]["targetNamespace"]) == (RELEASE, NAMESPACE)


def test_tests_and_plain_manifests_install_the_same() -> None:
    assert (installation.RELEASE, installation.NAMESPACE) == (RELEASE, NAMESPACE)
    assert (account.ACCOUNT, account.HOME) == (RELEASE, NAMESPACE)
    accounts = [item["metadata"] for item in documents("deploy/rbac.yaml") if item["kind"] == "ServiceAccount"]
    assert accounts == [{"name": RELEASE, "namespace": NAMESPACE}]


def test_the_network_policy_to_copy_is_the_charts() -> None:
    page = (ROOT / "docs" / "how-to" / "network.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    (copied,) = [block for block in blocks if block.get("metadata", {}).get("name") == "maskrcnn-gangs"]
    golden = yaml.safe_load_all((ROOT / "tests" / "chart" / "golden" / "namespaced.yaml").read_text(encoding="utf-8"))
    made = [item["spec"] for item in golden if item["metadata"]["name"] == copied["metadata"]["name"]]

    def comparable(spec: dict[str, Any]) -> dict[str, Any]:
        # the page has object stores in a policy of its own
        rules = [rule for rule in spec["egress"] if not any("ipBlock" in place for place in rule.get("to", ()))]
        ports = [{**rule, "ports": sorted(map(str, rule.get("ports", ())))} for rule in rules]
        return {**spec, "egress": ports}

    assert made
    for spec in made:
        assert comparable(copied["spec"]) == comparable(spec)


def test_pages_name_the_charts_minimum_of_kubernetes() -> None:
    required = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["kubeVersion"]
    minimum = re.fullmatch(r">=(\d+\.\d+)\.0-0", required)
    assert minimum
    named = matches(r"Kubernetes (\d+\.\d+) or later")
    assert named.keys() == {minimum[1]}
    assert "docs/how-to/install.md" in named[minimum[1]]


def test_pages_count_the_series_of_an_experiment_as_the_code_makes_them() -> None:
    words = "|".join(NUMBERS.values())
    named = matches(rf"\b({words})(?: series)?(?: for)? each\b")
    assert named.keys() == {NUMBERS[len(SERIES)]}, named
    assert {"docs/how-to/monitoring.md", "charts/maskrcnn-operator/values.yaml"} <= named[NUMBERS[len(SERIES)]]
