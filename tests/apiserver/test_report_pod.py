"""Pod of docs/how-to/inspect-and-resume.md through which a report is copied, under the standard ``restricted``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.apiserver.bed import Bed

pytestmark = pytest.mark.apiserver

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "inspect-and-resume.md"


def pod() -> str:
    """Return the manifest on the page."""
    [block] = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(block)


def test_pod_for_reports_is_accepted_by_the_restricted_standard(bed: Bed, namespace: str) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    bed.api("PATCH", f"/api/v1/namespaces/{namespace}", label)
    apply = ("apply", "-n", namespace, "--dry-run=server", "-f", "-")
    done = bed.kubectl(*apply, input=pod(), check=False)
    assert done.stdout == "pod/report created (server dry run)\n", done.stderr
    relaxed = yaml.safe_load(pod())
    del relaxed["spec"]["containers"][0]["securityContext"]
    done = bed.kubectl(*apply, input=yaml.safe_dump(relaxed), check=False)
    assert 'violates PodSecurity "restricted:latest"' in done.stderr
