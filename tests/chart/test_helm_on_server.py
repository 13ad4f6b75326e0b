"""Installation, upgrade, and removal of the chart by Helm on a real API server, without nodes."""

from __future__ import annotations

import base64
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.account import ACCOUNT, HOME, USER
from tests.apiserver.bed import Bed
from tests.apiserver.conftest import *  # noqa: F403 - the bed's fixtures
from tests.apiserver.rest import RestError
from tests.apiserver.runtime.running import IMAGE, RunningOperator, options_for
from tests.chart.conftest import CHART, Run

from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.progress_endpoint.authority_secret import SECRET_NAME

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

FIRST = Path(__file__).with_name("charts") / "before-named-secrets.tar.gz"
"""Chart of commit 716a67f, whose Role covered all Secrets and Leases of its namespace."""
RELEASE = ACCOUNT
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/{RELEASE}"
SECRET = f"/api/v1/namespaces/{HOME}/secrets/{SECRET_NAME}"
DEFINITION = "maskrcnnexperiments.maskrcnn.dev"

Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def installer(bed: Bed, helm: Run) -> Iterator[Helm]:
    """Return ``installer(*arguments, check=True)``, which runs helm on the bed; remove all releases after the test."""

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = helm(*arguments, "--kubeconfig", str(bed.kubeconfig))
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    yield run
    for line in run("list", "--all-namespaces", "--all", "--no-headers").stdout.splitlines():
        name, namespace = line.split()[:2]
        run("uninstall", name, "-n", namespace)
    bed.kubectl("delete", "crd", DEFINITION, "--ignore-not-found")
    for path in (LEASE, SECRET):
        try:
            bed.api("DELETE", path)
        except RestError as error:
            assert error.status == 404


@pytest.fixture(scope="session")
def first_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the chart in FIRST."""
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(FIRST) as archive:
        archive.extractall(folder, filter="data")
    return folder / "charts" / "maskrcnn-operator"


def can(bed: Bed, verb: str, target: str, namespace: str = HOME) -> bool:
    """Return whether the release's service account has a permission, by ``kubectl auth can-i``."""
    done = bed.kubectl("auth", "can-i", verb, target, "-n", namespace, "--as", USER, check=False)
    assert done.stdout.strip() in ("yes", "no"), done.stdout + done.stderr
    return done.stdout.strip() == "yes"


def lead_once(bed: Bed, namespace: str) -> None:
    """Run the operator as the release's service account until it holds its Lease and serves reports."""
    jobs = JobConfig(default_image=IMAGE, report_url="https://127.0.0.1:1/")
    own = {"lease_namespace": HOME, "lease_name": RELEASE, "report_port": 0, "jobs": jobs}
    with RunningOperator(options_for(bed.kubeconfig_for(ACCOUNT, HOME), namespace, **own)) as operator:
        operator.wait_leading()
        operator.port("reports")


def data(secret: dict[str, Any]) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def test_upgrade_keeps_the_secret_and_the_lease(bed: Bed, installer: Helm, first_chart: Path, namespace: str) -> None:
    installer("install", RELEASE, str(first_chart), "-n", HOME, "--create-namespace")
    bed.kubectl("create", "secret", "generic", "registry-password", "-n", HOME, "--from-literal=password=secret")
    lead_once(bed, namespace)
    assert can(bed, "get", "secrets/registry-password")
    authority, lease = bed.api("GET", SECRET), bed.api("GET", LEASE)

    installer("upgrade", RELEASE, str(CHART), "-n", HOME, "--reset-then-reuse-values")
    assert not can(bed, "get", "secrets/registry-password")
    lead_once(bed, namespace)
    assert data(bed.api("GET", SECRET)) == data(authority)
    after = bed.api("GET", LEASE)
    assert after["metadata"]["uid"] == lease["metadata"]["uid"]
    assert after["spec"]["leaseTransitions"] == lease["spec"]["leaseTransitions"] + 1
    bed.kubectl("delete", "secret", "registry-password", "-n", HOME)


def test_account_can_only_access_its_own_secret_and_lease(bed: Bed, installer: Helm, namespace: str) -> None:
    installer("install", RELEASE, str(CHART), "-n", HOME, "--create-namespace")
    lead_once(bed, namespace)
    for verb in ("get", "update"):
        assert can(bed, verb, f"secrets/{SECRET_NAME}")
        assert can(bed, verb, f"leases.coordination.k8s.io/{RELEASE}")
        assert not can(bed, verb, "secrets/other")
        assert not can(bed, verb, "leases.coordination.k8s.io/other")
    for verb in ("list", "watch", "delete", "patch"):
        assert not can(bed, verb, "secrets")
    assert not can(bed, "get", f"secrets/{SECRET_NAME}", "default")


def test_kept_definition_is_adopted_as_documented(bed: Bed, installer: Helm) -> None:
    installer("install", RELEASE, str(CHART), "-n", HOME, "--create-namespace")
    uid = bed.api("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}")["metadata"]["uid"]
    installer("uninstall", RELEASE, "-n", HOME)
    # the same release again
    installer("install", RELEASE, str(CHART), "-n", HOME)
    installer("uninstall", RELEASE, "-n", HOME)
    # a release of another name is refused without --take-ownership
    other = ("install", "other", str(CHART), "-n", "other", "--create-namespace")
    refused = installer(*other, check=False)
    assert refused.returncode != 0
    assert "meta.helm.sh/release-name" in refused.stderr
    assert DEFINITION in refused.stderr
    installer(*other, "--take-ownership")
    kept = bed.api("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}")
    assert kept["metadata"]["uid"] == uid
    assert kept["metadata"]["annotations"]["meta.helm.sh/release-name"] == "other"
