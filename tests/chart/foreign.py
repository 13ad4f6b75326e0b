"""CustomResourceDefinitions of other projects for the chart's objects, from the Go modules that publish them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.apiserver.binaries import cache_folder, say_on_screen
from tests.apiserver.go_build import find_go

MODULE = Path(__file__).with_name("crds")
FILES = {
    "github.com/cert-manager/cert-manager": ("deploy/crds/crd-certificates.yaml", "deploy/crds/crd-issuers.yaml"),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}


def definitions() -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions; their modules are downloaded once and their checksums verified."""
    go = find_go(cache_folder(), say_on_screen)
    found = []
    for module, files in FILES.items():
        done = subprocess.run(
            [str(go), "mod", "download", "-json", module], cwd=MODULE, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        folder = Path(json.loads(done.stdout)["Dir"])
        for file in files:
            # those of cert-manager are templates of a chart, in which only conditions around labels aren't YAML
            lines = [line for line in (folder / file).read_text().splitlines() if "{{" not in line]
            found += [item for item in yaml.safe_load_all("\n".join(lines)) if item]
    return found
