"""Connection to the API server, configured by the pod's service account or by a kubeconfig."""

from __future__ import annotations

import ast
import logging
import os
import re
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
NO_CREDENTIALS = "NoCredentials"
"""Reason of the error for a kubeconfig whose credential plugin has failed."""
_DEFAULT_NAMESPACE = "default"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LOADER_LOG = logging.getLogger("kubernetes.aio.config.kube_config")
_PLUGIN_OUTPUT = re.compile(r"""(?<=\. )b(?:'.*'|".*")$""")
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
        ApiError: (status 0) there are no settings, they are invalid, or the credential plugin of the kubeconfig failed.
    """
    settings = Configuration()
    problems = _LoggedProblems()
    # the library logs a plugin's failure, and continues without credentials
    _LOADER_LOG.addFilter(problems)
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
        cause = problems.messages[0] if problems.messages else error
        raise ApiError(0, NO_CONFIGURATION, f"no usable service account or kubeconfig: {cause}") from error
    finally:
        _LOADER_LOG.removeFilter(problems)
    if problems.messages:
        raise ApiError(0, NO_CREDENTIALS, f"the kubeconfig's credential plugin failed: {problems.messages[0]}")
    return ClusterAccess(settings, str(chosen or _DEFAULT_NAMESPACE))


async def load_configuration(kubeconfig: Path | None = None) -> Configuration:
    """Return the settings of a connection, as :func:`load_access`, without the namespace.

    Raises:
        ApiError: (status 0) there are no settings, they are invalid, or the credential plugin of the kubeconfig failed.
    """
    return (await load_access(kubeconfig)).configuration


class _LoggedProblems(logging.Filter):
    """Filter that takes warnings and errors out of a log.

    Attributes:
        messages: that were taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        if record.levelno < logging.WARNING:
            return True
        self.messages.append(_with_text(record.getMessage()))
        return False


def _with_text(message: str) -> str:
    """Return a message of the library, which shows the output of a plugin as a literal of bytes, with its text."""
    literal = _PLUGIN_OUTPUT.search(message)
    if literal is None:
        return message
    output: bytes = ast.literal_eval(literal.group())
    return message[: literal.start()] + output.decode("utf-8", "replace")


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
