"""Place of an experiment's results in object storage, found in the cluster with a user's kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_operator.api.base import KIND, PLURAL
from maskrcnn_operator.api.pod_stores import size_problem
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.connection import NO_CREDENTIALS, connect, load_access
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.namespace_owners import uid_of_namespace
from maskrcnn_operator.cluster.parse import UNKNOWN_WORKSPACE, read_experiment
from maskrcnn_operator.cluster.resources import EXPERIMENTS, NAMESPACES, Object
from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.spec.object_stores import local_stores, stores_to_json
from maskrcnn_trainer.spec.store_config import read_store_config

_NOT_SERVED = "could not find the requested resource"
"""Part of the message of a 404 for a kind that the API server doesn't have."""
_MOST_OF_A_MESSAGE = 1000
_BY_URL = "use the URL of its workspace, without -n: `artifacts URL ACTION NAME`"
"""End of a message about a name that can't be resolved."""


@dataclass(frozen=True)
class ClusterFlags:
    """Flags of the command line that choose a namespace of a cluster.

    Attributes:
        namespace: None for that of the kubeconfig's context.
        kubeconfig: file; None for the files in KUBECONFIG, or for the pod's service account.
        context: of the kubeconfig; None for the current one.
    """

    namespace: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True)
class StoredResults:
    """Place of an experiment's results, and the way to it.

    Attributes:
        url: of the workspace.
        stores: value of MASKRCNN_OBJECT_STORES.
        namespace: of the experiment.
        owner_id: uid of the namespace; None if it wasn't read.
    """

    url: str
    stores: str
    namespace: str
    owner_id: str | None = None


async def find_results(
    name: str, flags: ClusterFlags, store_config: Path | None = None, *, with_owner: bool = False
) -> StoredResults:
    """Return the place of the results of an experiment of the cluster.

    Args:
        name: of the experiment.
        flags: of the command line.
        store_config: file of ``--store-config``; its entries replace those of the experiment with the same prefix.
        with_owner: whether to read the uid of the namespace.

    Raises:
        InvalidInput: no kubeconfig is found, the API server refuses, the experiment doesn't exist or is invalid, or its
            results aren't in object storage.
        TryAgain: the API server is unavailable.
    """
    try:
        access = await load_access(flags.kubeconfig, flags.context)
    except ApiError as error:
        raise _without_access(error, name) from None
    namespace = flags.namespace or access.namespace
    client = Client(connect(access.configuration))
    try:
        item = await _experiment(client, namespace, name)
        url, stores = results_of(item, store_config)
        owner_id = await _uid_of(client, namespace, name, url) if with_owner else None
    finally:
        await client.close()
    return StoredResults(url, stores, namespace, owner_id)


def results_of(item: Mapping[str, Any], store_config: Path | None = None) -> tuple[str, str]:
    """Return the URL of an experiment's workspace, and its stores as the value of MASKRCNN_OBJECT_STORES.

    Secrets of the stores are left out, so that a store is reached with the caller's own credentials.

    Args:
        item: the experiment, as the API server has it.
        store_config: file of ``--store-config``; its entries replace those of the experiment with the same prefix.

    Raises:
        InvalidInput: the experiment is invalid, its results are on a volume, or the file is invalid.
    """
    name = item["metadata"]["name"]
    # results of another release may be in the status, and aren't needed here
    experiment, problems = read_experiment({key: value for key, value in item.items() if key != "status"})
    if experiment is None or experiment.spec.workspace == UNKNOWN_WORKSPACE:
        problem = one_line(str(problems[0]), _MOST_OF_A_MESSAGE)
        raise InvalidInput(f"{KIND} {name} is invalid: {problem}; correct it, or {_BY_URL}")
    workspace = experiment.spec.workspace
    if workspace.url is None:
        raise InvalidInput(
            f"{KIND} {name} has its results on a volume (claim {workspace.claim_name}), not in object storage: "
            f"copy them from a pod that mounts the claim"
        )
    own = [store.model_copy(update={"secret_ref": None}) for store in experiment.spec.object_stores]
    stores = local_stores(own, read_store_config(store_config) if store_config is not None else ())
    if too_large := size_problem(stores):
        raise InvalidInput(f"spec.objectStores of {KIND} {name}: {too_large}")
    return workspace.url, stores_to_json(stores)


async def _experiment(client: Client, namespace: str, name: str) -> Object:
    try:
        return await client.get(EXPERIMENTS, namespace, name)
    except ApiError as error:
        if error.status == 404 and _NOT_SERVED in error.message:
            problem = f"the cluster doesn't serve {PLURAL}; give --context, or {_BY_URL}"
        elif error.status == 404:
            problem = (
                f"{KIND} {name} doesn't exist in namespace {namespace}; give another one with -n, or, if it was "
                f"deleted, {_BY_URL}"
            )
        elif _is_refused(error):
            problem = f"the API server refuses: {_shown(error)}; or {_BY_URL}"
        else:
            raise _unavailable(error, name) from None
    raise InvalidInput(f"NAME {name}: {problem}")


async def _uid_of(client: Client, namespace: str, name: str, url: str) -> str:
    """Return the uid of a namespace, which owns the results of its experiments."""
    try:
        return uid_of_namespace(await client.get(NAMESPACES, None, namespace))
    except ApiError as error:
        if not (_is_refused(error) or error.reason == UNDECODABLE):
            raise _unavailable(error, name) from None
        problem = _shown(error)
    except ValueError as error:
        problem = str(error)
    raise InvalidInput(
        f"NAME {name}: the uid of namespace {namespace}, the owner of its results, can't be read ({problem}): grant "
        f"get on this namespace, give --owner-id ID (the uid, or the chart's objectStorage.ownerId), or delete results "
        f"of any owner with `artifacts {url} delete {name}`, without -n"
    )


def _is_refused(error: ApiError) -> bool:
    return 400 <= error.status < 500 and error.status != 429


def _shown(error: ApiError) -> str:
    return one_line(error.message, _MOST_OF_A_MESSAGE)


def _without_access(error: ApiError, name: str) -> InvalidInput:
    way = "sign in again" if error.reason == NO_CREDENTIALS else "give --kubeconfig"
    return InvalidInput(f"NAME {name}: {_shown(error)}; {way}, or {_BY_URL}")


def _unavailable(error: ApiError, name: str) -> TryAgain:
    return TryAgain(f"NAME {name}: the API server is unavailable: {one_line(str(error), _MOST_OF_A_MESSAGE)}")
