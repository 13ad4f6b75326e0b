"""The monitoring tier: rules and dashboard on paper, then on a real Prometheus that scrapes the operator.

The control plane is that of the apiserver tier, whose fixtures are taken over.
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
