"""Example repository: its paths exist, and the API server accepts its experiments."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.apiserver.bed import Bed
from tests.gitops.conftest import ROOT

LAYOUT = ROOT / "docs" / "gitops" / "layout"
RESEARCH = LAYOUT / "environments" / "research"


def documents(name: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all((LAYOUT / name).read_text()) if item]


def test_paths_in_the_example_exist() -> None:
    applications = [item for name in ("operator", "experiments") for item in documents(f"argocd/{name}.yaml")]
    flux = [item for name in ("operator", "experiments") for item in documents(f"flux/{name}.yaml")]
    paths = [item["spec"]["source"]["path"] for item in applications if "source" in item["spec"]]
    paths += [item["spec"]["path"] for item in flux if item["kind"] == "Kustomization"]
    assert len(paths) == 3
    assert all((LAYOUT / path).is_dir() for path in paths)
    charts = [item["spec"]["chart"]["spec"]["chart"] for item in flux if item["kind"] == "HelmRelease"]
    charts += [
        source["path"] for item in applications for source in item["spec"].get("sources", ()) if "path" in source
    ]
    assert charts == ["charts/maskrcnn-operator"] * 2
    assert (ROOT / charts[0] / "Chart.yaml").is_file()
    for folder in ("operator", "experiments"):
        listed = yaml.safe_load((RESEARCH / folder / "kustomization.yaml").read_text())
        named = [*listed.get("resources", ()), *(listed.get("configMapGenerator") or [{"files": []}])[0]["files"]]
        assert sorted(named) == sorted(
            path.name for path in (RESEARCH / folder).iterdir() if path.name != "kustomization.yaml"
        )


@pytest.mark.parametrize("engine", ["argocd", "flux"])
def test_namespaces_of_the_release_are_created(engine: str) -> None:
    watched = yaml.safe_load((RESEARCH / "operator" / "values.yaml").read_text())["namespaces"]
    made = [item["metadata"]["name"] for item in documents(f"{engine}/namespace.yaml") if item["kind"] == "Namespace"]
    assert made == watched


def test_failed_syncs_of_argo_cd_are_retried() -> None:
    for name in ("operator", "experiments"):
        (application,) = documents(f"argocd/{name}.yaml")
        assert application["spec"]["syncPolicy"]["retry"]["limit"] == -1


def test_experiments_of_flux_depend_on_the_release() -> None:
    (release,) = [item for item in documents("flux/operator.yaml") if item["kind"] == "HelmRelease"]
    kustomizations = {
        item["metadata"]["name"]: item["spec"]
        for item in documents("flux/experiments.yaml")
        if item["kind"] == "Kustomization"
    }
    (before,) = kustomizations["research-experiments"]["dependsOn"]
    (check,) = kustomizations[before["name"]]["healthChecks"]
    identity = {"apiVersion": release["apiVersion"], "kind": release["kind"], **release["metadata"]}
    assert check == identity


@pytest.mark.apiserver
def test_api_server_accepts_the_experiments(bed: Bed, crd: None, namespace: str) -> None:
    done = bed.kubectl(
        "apply", "-n", namespace, "--dry-run=server", "--validate=strict", "-k", str(RESEARCH / "experiments")
    )
    assert "maskrcnnexperiment.maskrcnn.dev/nuclei created" in done.stdout
