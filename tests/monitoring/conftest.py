"""Fixtures of the monitoring tier, which checks rules and dashboard as files and with a real Prometheus server.

The control plane is that of the apiserver tier, whose fixtures are imported.
"""

from __future__ import annotations

from tests.apiserver.conftest import (  # noqa: F401 - fixtures and the hook that gets the binaries before the first test
    bed,
    binaries,
    crd,
    kubelet,
    namespace,
    pytest_collection_finish,
)
from tests.apiserver.runtime.conftest import account, cluster, home  # noqa: F401 - fixtures
