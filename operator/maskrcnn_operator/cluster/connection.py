"""Connection to the API server, configured by the pod's service account or by a kubeconfig."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from maskrcnn_operator.cluster.errors import ApiError

POOL = 64
NO_CONFIGURATION = "NoConfiguration"
"""Reason of the error without a usable service account or kubeconfig."""
_DEFAULT_NAMESPACE = "default"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class ClusterAccess:
    """Settings of a connection to a cluster.

    Attributes:
        configuration: of the official client.
        namespace: of the pod, or of the kubeconfig's context; "default" if neither has one.
    """

    configuration: Configuration
    namespace: str


async def load_access(kubeconfig: Path | None = None, context: str | None = None) -> ClusterAccess:
    """Return the settings of a connection: from ``kubeconfig``, else the pod's service account, else KUBECONFIG.

    Args:
        kubeconfig: file; None for the pod's service account, or else the files in KUBECONFIG.
        context: of the kubeconfig; None for the current one. With one, a pod's service account isn't used.

    Raises:
        ApiError: (status 0) there are no settings, or they are invalid.
    """
    settings = Configuration()
    try:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # it has no types
            return ClusterAccess(settings, _namespace_of_the_pod() or _DEFAULT_NAMESPACE)
        loader = await config.load_kube_config(  # type: ignore[no-untyped-call]  # it has no types
            config_file=str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config"),
            context=context,
            client_configuration=settings,
            persist_config=False,
        )
        chosen = loader.current_context["context"].get("namespace")
    except (config.ConfigException, OSError, RuntimeError) as error:
        raise ApiError(0, NO_CONFIGURATION, f"no usable service account or kubeconfig: {error}") from error
    return ClusterAccess(settings, str(chosen or _DEFAULT_NAMESPACE))


async def load_configuration(kubeconfig: Path | None = None) -> Configuration:
    """Return the settings of a connection, as :func:`load_access`, without the namespace.

    Raises:
        ApiError: (status 0) there are no settings, or they are invalid.
    """
    return (await load_access(kubeconfig)).configuration


def _namespace_of_the_pod() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def connect(settings: Configuration) -> ApiClient:
    """Return a connection for at most ``POOL`` concurrent calls; call it inside the event loop that uses it."""
    settings.connection_pool_maxsize = POOL
    # with trust_env, a thread would read ~/.netrc at every call; a proxy comes from the kubeconfig
    settings.client_session_kwargs = {"trust_env": False, "middlewares": (_refuse_redirects,)}
    return ApiClient(settings)


async def _refuse_redirects(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """Fail at a redirect: an API server sends none, and no other host may receive our writes or token."""
    response = await send(request)
    if response.status in _REDIRECTS:
        response.close()
        raise aiohttp.ClientError(f"{request.method} {request.url.path} was redirected, which an API server never does")
    return response
