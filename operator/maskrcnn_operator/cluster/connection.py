"""Where the API server is and how to prove who we are: in a pod by its service account, else by a kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from maskrcnn_operator.cluster.errors import ApiError

POOL = 64
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def load_configuration(kubeconfig: Path | None = None) -> Configuration:
    """The settings of a connection: of ``kubeconfig``, else of the pod's service account, else by KUBECONFIG.

    Raises:
        ApiError: (status 0) there are none, or they cannot be used.
    """
    settings = Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            # the client has few types
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call] # the same
                config_file=str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config"),
                client_configuration=settings,
                persist_config=False,
            )
    except (config.ConfigException, OSError, RuntimeError) as error:
        raise ApiError(0, "NoConfiguration", f"neither a service account nor a kubeconfig: {error}") from error
    return settings


def connect(settings: Configuration) -> ApiClient:
    """A connection with at most ``POOL`` calls at a time; to be made inside the event loop that uses it."""
    settings.connection_pool_maxsize = POOL
    # else ~/.netrc is read for every call, by a thread; a proxy comes from the kubeconfig
    settings.client_session_kwargs = {"trust_env": False, "middlewares": (_refuse_redirects,)}
    return ApiClient(settings)


async def _refuse_redirects(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """Fail at a redirect: an API server sends none, and another host must get neither a write nor a token."""
    response = await send(request)
    if response.status in _REDIRECTS:
        response.close()
        raise aiohttp.ClientError(f"{request.method} {request.url.path} is redirected, which an API server never does")
    return response
