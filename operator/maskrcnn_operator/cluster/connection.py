"""Where the API server is and how to prove who we are: in a pod by its service account, else by a kubeconfig."""

from __future__ import annotations

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration


async def connect(*, pool: int = 64) -> ApiClient:
    """A connection by the pod's service account, or by KUBECONFIG or ~/.kube/config.

    Args:
        pool: connections at a time.

    Raises:
        kubernetes.aio.config.ConfigException: there is neither, or it cannot be used.
    """
    configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration, persist_config=False)
    configuration.connection_pool_maxsize = pool
    return ApiClient(configuration)
